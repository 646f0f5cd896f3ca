package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/firebreak-proxy/firebreak/examples/outage/stores"
)

// options are the flags of `outage scenario`.
type options struct {
	size
	rate               float64
	burst, retries     int
	clientTimeout      time.Duration
	calm, fault, after time.Duration
	sick               string
	sickIndex          int
	k                  int
	temperature        string
	delay              time.Duration
	bin, plainBin      string
	config             string
	only               string
	json, assert       bool
}

// scenario is a fault, how it is played and how it is ended.
type scenario struct {
	name string
	// what describes the fault in the head of the table.
	what func(o options) string
	// begin and end play and heal the fault.
	begin, end func(s *stage, o options) error
	// culprits are the stores that cause the fault, where these are some only.
	culprits func(o options) ([]string, error)
	// wholeAPI marks a fault that hits every zone alike.
	wholeAPI bool
	// surge marks a fault that is traffic: the culprit at 100x its usual rate.
	surge bool
}

const surgeFactor = 100

var scenarios = []scenario{
	{
		name:  "freeze",
		what:  func(o options) string { return "database of zone " + o.sick + " frozen (SIGSTOP)" },
		begin: func(s *stage, o options) error { return s.freeze(o.sick) },
		end:   healSick,
	},
	{
		name: "culprits",
		what: func(o options) string { return fmt.Sprintf("%d %s stores of zone %s hang", o.k, o.temperature, o.sick) },
		begin: func(s *stage, o options) error {
			ids, err := hanging(o)
			return errors.Join(err, s.hang(o.sick, ids))
		},
		end:      healSick,
		culprits: hanging,
	},
	{
		name:  "slow",
		what:  func(o options) string { return fmt.Sprintf("queries of zone %s slower by %v", o.sick, o.delay) },
		begin: func(s *stage, o options) error { return s.slow(o.sick, o.delay) },
		end:   healSick,
	},
	{
		name:  "refuse",
		what:  func(o options) string { return "database of zone " + o.sick + " refuses connections" },
		begin: func(s *stage, o options) error { return s.refuse(o.sick) },
		end:   healSick,
	},
	{
		name: "surge",
		what: func(o options) string {
			return fmt.Sprintf("store %s at %dx its usual traffic", stores.ID(o.sickIndex, 0), surgeFactor)
		},
		begin:    func(*stage, options) error { return nil },
		end:      func(*stage, options) error { return nil },
		culprits: func(o options) ([]string, error) { return []string{stores.ID(o.sickIndex, 0)}, nil },
		surge:    true,
	},
	{
		name:     "restart",
		what:     func(options) string { return "API server killed and started again" },
		begin:    func(s *stage, _ options) error { s.killAPI(); return nil },
		end:      func(s *stage, _ options) error { return s.startAPI() },
		wholeAPI: true,
	},
}

func healSick(s *stage, o options) error { return s.heal(o.sick) }

func hanging(o options) ([]string, error) { return culprits(o.sickIndex, o.k, o.temperature) }

// restartPause is how long the API server is away, unless -fault says else.
const restartPause = 3 * time.Second

// scenarioMode plays one scenario through both proxies.
func scenarioMode(args []string) error {
	sc, o, err := parseScenario(args)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	report := Report{
		Scenario: sc.name, Fault: sc.what(o), Zone: o.sick, Rate: o.rate, Workers: o.workers,
		FaultSeconds: o.fault.Seconds(), AfterSeconds: o.after.Seconds(), wholeAPI: sc.wholeAPI,
	}
	for _, which := range []side{plainCaddy, firebreak} {
		if o.only != "" && o.only != string(which) {
			continue
		}
		figures, err := playSide(ctx, sc, o, which)
		if err != nil {
			return fmt.Errorf("%s through %s: %w", sc.name, which.title(), err)
		}
		report.Sides = append(report.Sides, figures)
	}
	if o.json {
		err = json.NewEncoder(os.Stdout).Encode(report)
	} else {
		err = report.print(os.Stdout)
	}
	if err != nil || !o.assert {
		return err
	}
	return report.assert()
}

func parseScenario(args []string) (scenario, options, error) {
	var o options
	fs := newFlags("scenario", "NAME [flags]", "plays a fault through plain Caddy and through firebreak and compares.\n\n"+
		"NAME is one of "+scenarioNames()+".\n\n"+
		"Examples:\n  outage scenario freeze\n  outage scenario culprits -k 6 -temperature cold -kill-after 30s\n"+
		"  outage scenario freeze -rate 200 -fault 10s -json -assert")
	o.register(fs)
	rest, err := parseFlags(fs, args)
	if err != nil {
		return scenario{}, o, err
	}
	if len(rest) != 1 {
		fs.Usage()
		return scenario{}, o, errUsage
	}
	i := slices.IndexFunc(scenarios, func(sc scenario) bool { return sc.name == rest[0] })
	if i < 0 {
		return scenario{}, o, fmt.Errorf("no such scenario %q: want one of %s", rest[0], scenarioNames())
	}
	faultSet := false
	fs.Visit(func(f *flag.Flag) { faultSet = faultSet || f.Name == "fault" })
	if scenarios[i].wholeAPI && !faultSet {
		o.fault = restartPause
	}
	if o.plainBin == "" {
		o.plainBin = o.bin
	}
	o.sickIndex, err = zoneIndex(o.sick, o.zones)
	return scenarios[i], o, errors.Join(err, o.check())
}

func (o *options) register(fs *flag.FlagSet) {
	fs.Float64Var(&o.rate, "rate", 300, "requests per second, open loop")
	fs.IntVar(&o.burst, "burst", 1, "requests of one store sent at the same instant")
	fs.IntVar(&o.retries, "retries", 0, "how often an impatient client asks again after a timeout or 5xx")
	fs.DurationVar(&o.clientTimeout, "client-timeout", 10*time.Second, "how long a client waits")
	fs.DurationVar(&o.calm, "calm", 5*time.Second, "time before the fault")
	fs.DurationVar(&o.fault, "fault", 20*time.Second, "time of the fault (restart: 3s)")
	fs.DurationVar(&o.after, "after", 10*time.Second, "time after the heal")
	fs.IntVar(&o.zones, "zones", 12, "number of zones, 100 stores each")
	fs.IntVar(&o.workers, "workers", 32, "workers of the API server")
	fs.DurationVar(&o.killAfter, "kill-after", 0, "replace a worker that is stuck for so long; 0 = never")
	fs.StringVar(&o.sick, "sick", "z7", "the zone that falls ill")
	fs.IntVar(&o.k, "k", 3, "culprits: number of stores that hang")
	fs.StringVar(&o.temperature, "temperature", "mixed", "culprits: the busiest stores (hot), quiet ones (cold) or mixed")
	fs.DurationVar(&o.delay, "delay", 1500*time.Millisecond, "slow: added to each query")
	fs.StringVar(&o.bin, "firebreak", "bin/firebreak", "firebreak's binary")
	fs.StringVar(&o.plainBin, "caddy", "", "Caddy's binary for the other side (default: firebreak's with a Caddyfile without firebreak)")
	fs.StringVar(&o.config, "config", "", "Caddyfile of the firebreak side (default: one that is built in)")
	fs.StringVar(&o.only, "only", "", "play one side only: plain or firebreak")
	fs.BoolVar(&o.json, "json", false, "print JSON")
	fs.BoolVar(&o.assert, "assert", false, "exit with 1 if firebreak misses its promise")
}

func (o *options) check() error {
	switch {
	case o.rate <= 0 || o.calm <= 0 || o.fault <= 0 || o.after <= 0:
		return errors.New("-rate, -calm, -fault and -after must be greater than 0")
	case o.only != "" && o.only != string(plainCaddy) && o.only != string(firebreak):
		return fmt.Errorf("-only: want plain or firebreak, not %q", o.only)
	}
	return nil
}

func scenarioNames() string {
	var names []string
	for _, sc := range scenarios {
		names = append(names, sc.name)
	}
	return strings.Join(names, " ")
}
