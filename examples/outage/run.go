package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/firebreak-proxy/firebreak/examples/outage/load"
)

// runOptions are the flags of `outage run`.
type runOptions struct {
	addresses
	size
	control, bin, config string
	plain                bool
	rate                 float64
}

// runMode starts everything, says what to curl and waits for Ctrl-C.
func runMode(args []string) error {
	o, err := parseRun(args)
	if err != nil {
		return err
	}
	which := firebreak
	if o.plain {
		which = plainCaddy
	} else if err := hasFirebreak(o.bin); err != nil {
		return fmt.Errorf("%w; `outage run -plain` walks through plain Caddy", err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()

	listener, err := net.Listen("tcp", o.control)
	if err != nil {
		return fmt.Errorf("opening control port: %w", err)
	}
	s, err := openStage(o.size, o.addresses)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.startProxy(which, o.bin, o.config); err != nil {
		return err
	}
	go http.Serve(listener, s.control())
	walkThrough(os.Stdout, o, which)
	return s.attend(ctx, o.rate)
}

func parseRun(args []string) (runOptions, error) {
	var o runOptions
	fs := newFlags("run", "[flags]", "starts 12 zone databases, the API server and a proxy, and says what to curl.\n\n"+
		"Examples:\n  outage run -firebreak bin/firebreak -config Caddyfile\n  outage run -plain")
	fs.StringVar(&o.bin, "firebreak", "bin/firebreak", "firebreak's binary")
	fs.StringVar(&o.config, "config", "", "Caddyfile (default: one that is built in)")
	fs.BoolVar(&o.plain, "plain", false, "plain Caddy instead of firebreak, to see every store go down")
	fs.StringVar(&o.proxy, "proxy", "127.0.0.1:8080", "address of the proxy")
	fs.StringVar(&o.admin, "admin", "localhost:2019", "address of the proxy's admin endpoint")
	fs.StringVar(&o.api, "api", "127.0.0.1:9000", "address of the API server")
	fs.StringVar(&o.pool, "pool", "127.0.0.1:9001", "address of the API server's side port")
	fs.StringVar(&o.control, "control", defaultControl, "address for freeze, heal and the like")
	fs.Float64Var(&o.rate, "rate", 60, "requests per second of everyday traffic in the background; 0 = none")
	fs.IntVar(&o.zones, "zones", 12, "number of zones, 100 stores each")
	fs.IntVar(&o.workers, "workers", 32, "workers of the API server")
	fs.DurationVar(&o.killAfter, "kill-after", 0, "replace a worker that is stuck for so long, as gunicorn does; 0 = never")
	_, err := parseFlags(fs, args)
	if err == nil && o.zones < 7 {
		err = fmt.Errorf("the walk-through breaks z7: want at least 7 zones, not %d", o.zones)
	}
	return o, err
}

// attend keeps traffic coming until Ctrl-C or until a part of the stage dies.
func (s *stage) attend(ctx context.Context, rate float64) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if rate > 0 {
		go background(ctx, rate, s.size.zones, s.proxy)
	}
	select {
	case <-ctx.Done():
		fmt.Println("\nstopping")
		return nil
	case <-s.proxyS.done:
		return fmt.Errorf("the proxy ended:\n%s", s.proxyS.logTail())
	case <-s.apiSrv.done:
		return fmt.Errorf("the API server ended:\n%s", s.apiSrv.logTail())
	}
}

// background sends everyday traffic. One run follows the other without waiting
// for its answers, so that results do not pile up for hours.
func background(ctx context.Context, rate float64, zones int, proxy string) {
	const stretch = 10 * time.Second
	for seed := uint64(1); ctx.Err() == nil; seed++ {
		go load.Run(ctx, load.Plan{
			Rate: rate, Duration: stretch, Timeout: 10 * time.Second,
			Pick: everyday(zones, proxy, seed),
		})
		select {
		case <-ctx.Done():
		case <-time.After(stretch):
		}
	}
}

// walkThrough says what to try.
func walkThrough(w io.Writer, o runOptions, which side) {
	_, port, _ := net.SplitHostPort(o.proxy)
	address := "" // of the admin endpoint, where it is not the one that firebreak looks for
	if o.admin != "localhost:2019" && o.admin != "127.0.0.1:2019" {
		address = " --address " + o.admin
	}
	words := strings.NewReplacer(
		"{firebreak}", o.bin, "{address}", address,
		"{search}", "localhost:"+port+"/search?key=", "{admin}", o.admin, "{pool}", o.pool,
		"{control}", o.control, "{title}", which.title(), "{rate}", fmt.Sprint(o.rate),
		"{zones}", fmt.Sprint(o.zones), "{stores}", fmt.Sprint(o.zones*100), "{workers}", fmt.Sprint(o.workers),
	)
	text := walkFirebreak
	if which == plainCaddy {
		text = walkPlain
	}
	_, _ = words.WriteString(w, walkHead+text+walkTail)
}

const walkHead = `
{title} stands in front of an API server with {workers} workers;
{stores} stores live in {zones} zones (s0001 to s0100 in z1, … s0601 to s0700 in z7).
{rate} requests/s of everyday traffic run in the background.

  1. Ask two stores, one of z1 and one of z7:
       curl -i '{search}s0001'
       curl -i '{search}s0601'
  2. Freeze the database of z7:
       curl -X POST '{control}/freeze?zone=z7'
`

const walkFirebreak = `  3. See firebreak find out:
       {firebreak} zone z7{address}
  4. A store of z7 is refused at once, one of z1 works as before:
       curl -i '{search}s0601'
       curl -i '{search}s0001'
  5. Count the workers that z7 has taken, at the pool itself:
       curl {pool}/pool
  6. Tell the clients of z7, see it in curl and in a browser, take it back:
       {firebreak} maintenance on zone z7 --message 'Back at 15:00.'{address}
       curl -i '{search}s0601'
       {firebreak} maintenance off zone z7{address}
  7. Heal z7 and ask it again:
       curl -X POST '{control}/heal?zone=z7'
       curl -i '{search}s0601'
`

const walkPlain = `  3. See the workers go, at the pool itself:
       curl {pool}/pool
  4. After some seconds a store of z1 is as dead as one of z7:
       curl -i '{search}s0601'
       curl -i '{search}s0001'
  5. Heal z7 and ask again:
       curl -X POST '{control}/heal?zone=z7'
       curl -i '{search}s0001'
`

const walkTail = `
Other faults: hang?zone=z7&k=3  slow?zone=z7&delay=1.5s  refuse?zone=z7
Ctrl-C ends everything.
`
