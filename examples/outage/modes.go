package main

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/firebreak-proxy/firebreak/examples/outage/api"
	"github.com/firebreak-proxy/firebreak/examples/outage/stores"
	"github.com/firebreak-proxy/firebreak/examples/outage/zone"
)

// bindPatience is how long a child tries to get its port: for a moment an
// outgoing connection may sit on it.
const bindPatience = 2 * time.Second

// zoneMode is the life of a zone database's process.
func zoneMode(args []string) error {
	fs := newFlags("zone", "-listen ADDR -control ADDR", "is one zone database (started by run and scenario).")
	listen := fs.String("listen", "", "address of the database")
	control := fs.String("control", "", "address for the faults, over HTTP")
	shortest := fs.Duration("min", 5*time.Millisecond, "shortest time of a query")
	longest := fs.Duration("max", 15*time.Millisecond, "longest time of a query")
	parallel := fs.Int("parallel", 4, "queries worked on at once")
	if _, err := parseFlags(fs, args); err != nil {
		return err
	}
	dieWithParent()
	server, err := patiently(func() (*zone.Server, error) {
		return zone.NewServer(zone.Config{
			Listen: *listen, MinService: *shortest, MaxService: *longest, Parallel: *parallel,
		})
	})
	if err != nil {
		return err
	}
	return serveControl(*control, server.Control())
}

// apiMode is the life of the API server's process.
func apiMode(args []string) error {
	fs := newFlags("api", "-listen ADDR -pool ADDR -stores FILE -zones z1=ADDR,…",
		"is the API server with its pool of workers (started by run and scenario).")
	listen := fs.String("listen", "", "address of the API")
	pool := fs.String("pool", "", "address of the side port that tells which workers are busy")
	workers := fs.Int("workers", 32, "size of the pool")
	backlog := fs.Int("backlog", 2048, "connections that may wait for a worker")
	killAfter := fs.Duration("kill-after", 0, "replace a worker that is stuck for so long; 0 = never")
	storesFile := fs.String("stores", "stores.csv", "CSV file store,zone")
	databases := fs.String("zones", "", "databases, as z1=127.0.0.1:5001,z2=…")
	if _, err := parseFlags(fs, args); err != nil {
		return err
	}
	dieWithParent()
	zoneOf, err := stores.ReadFile(*storesFile)
	if err != nil {
		return err
	}
	server, err := patiently(func() (*api.Server, error) {
		return api.NewServer(api.Config{
			Listen: *listen, Workers: *workers, Backlog: *backlog, KillAfter: *killAfter,
			ZoneOf: zoneOf, ZoneAddr: parseZones(*databases),
		})
	})
	if err != nil {
		return err
	}
	return serveControl(*pool, server.Pool().Handler())
}

func parseZones(list string) map[string]string {
	addrs := map[string]string{}
	for pair := range strings.SplitSeq(list, ",") {
		name, addr, _ := strings.Cut(pair, "=")
		addrs[name] = addr
	}
	return addrs
}

func serveControl(addr string, h http.Handler) error {
	listener, err := patiently(func() (net.Listener, error) { return net.Listen("tcp", addr) })
	if err != nil {
		return err
	}
	return http.Serve(listener, h)
}

// patiently tries again while something else holds the port.
func patiently[T any](open func() (T, error)) (T, error) {
	for until := time.Now().Add(bindPatience); ; time.Sleep(20 * time.Millisecond) {
		opened, err := open()
		if err == nil || time.Now().After(until) {
			return opened, err
		}
	}
}

// storesMode writes the table of stores.
func storesMode(args []string) error {
	fs := newFlags("stores", "[FILE]", "writes the table of all stores, by default into stores.csv.\n\nExample:\n  outage stores /tmp/stores.csv")
	zones := fs.Int("zones", 12, "number of zones, 100 stores each")
	rest, err := parseFlags(fs, args)
	if err != nil {
		return err
	}
	path := "stores.csv"
	if len(rest) > 0 {
		path = rest[0]
	}
	if err := stores.WriteFile(path, *zones); err != nil {
		return err
	}
	fmt.Printf("%s: %d stores in %d zones\n", path, *zones*stores.PerZone, *zones)
	return nil
}

// newFlags is a flag set whose help says what the subcommand does.
func newFlags(name, usage, what string) *flag.FlagSet {
	fs := flag.NewFlagSet(name, flag.ContinueOnError)
	fs.Usage = func() {
		fmt.Fprintf(fs.Output(), "Usage: outage %s %s\n\noutage %s %s\n\nFlags:\n", name, usage, name, what)
		fs.PrintDefaults()
	}
	return fs
}

// parseFlags returns the arguments that are no flags; flags may stand behind them.
func parseFlags(fs *flag.FlagSet, args []string) ([]string, error) {
	var rest []string
	for {
		if err := fs.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				return nil, err
			}
			return nil, errUsage
		}
		if fs.NArg() == 0 {
			return rest, nil
		}
		rest = append(rest, fs.Arg(0))
		args = fs.Args()[1:]
	}
}

// errUsage is a wrong flag that the flag package has already reported.
var errUsage = errors.New("wrong usage")
