package caddymodule

import (
	"fmt"
	"strconv"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/firebreak-proxy/firebreak/config"
)

// zoneOptions are the options of "zone NAME { ... }".
var zoneOptions = options[config.Zone]{block: "firebreak zone", known: map[string]option[config.Zone]{
	"timeout":       durationOption("timeout 2s", func(z *config.Zone) *config.Duration { return &z.Timeout }),
	"slow_after":    durationOption("slow_after 1s", func(z *config.Zone) *config.Duration { return &z.SlowAfter }),
	"body_idle":     durationOption("body_idle 30s", func(z *config.Zone) *config.Duration { return &z.BodyIdle }),
	"window":        durationOption("window 10s", func(z *config.Zone) *config.Duration { return &z.Window }),
	"open_time":     durationOption("open_time 5s", func(z *config.Zone) *config.Duration { return &z.OpenTime }),
	"open_time_max": durationOption("open_time_max 60s", func(z *config.Zone) *config.Duration { return &z.OpenTimeMax }),
	"abandon_after": durationOption("abandon_after 5m", func(z *config.Zone) *config.Duration { return &z.AbandonAfter }),
	"hung_hold":     durationOption("hung_hold 60s", func(z *config.Zone) *config.Duration { return &z.HungHold }),
	"max_wait":      {usage: "max_wait 100ms", min: 1, max: 1, set: setMaxWait},

	"max_inflight":   amountOption("max_inflight 25%", func(z *config.Zone) *config.Amount { return &z.MaxInflight }),
	"max_hung":       amountOption("max_hung 25%", func(z *config.Zone) *config.Amount { return &z.MaxHung }),
	"probe_slots":    countPtrOption("probe_slots 2", func(z *config.Zone) **int { return &z.ProbeSlots }),
	"max_streams":    countPtrOption("max_streams 1000", func(z *config.Zone) **int { return &z.MaxStreams }),
	"min_bad_stores": countOption("min_bad_stores 3", 1, func(z *config.Zone) *int { return &z.MinBadStores }),
	"bad_share":      shareOption("bad_share 50%", func(z *config.Zone) *float64 { return &z.BadShare }),
	"slow_share":     shareOption("slow_share 80%", func(z *config.Zone) *float64 { return &z.SlowShare }),

	"mode": wordOption("mode observe", func(z *config.Zone) *string { return &z.Mode },
		config.ModeEnforce, config.ModeObserve),
	"on_timeout": wordOption("on_timeout cancel", func(z *config.Zone) *string { return &z.OnTimeout },
		config.OnTimeoutHold, config.OnTimeoutCancel),
	"fail_status": {usage: "fail_status 500 502 503 504", min: 1, max: -1, set: setFailStatus},
	"check":       {block: parseCheck},
	"store_check": {block: parseZoneStoreCheck},
}}

func setMaxWait(z *config.Zone, args []string) error {
	d, err := config.ParseDuration(args[0])
	if err == nil && d < 0 {
		err = fmt.Errorf("%s is negative; write for example: max_wait 100ms", args[0])
	}
	z.MaxWait = &d
	return err
}

func setFailStatus(z *config.Zone, args []string) error {
	for _, arg := range args {
		status, err := strconv.Atoi(arg)
		if err != nil || status < 400 || status > 599 {
			return fmt.Errorf("invalid status %q: only statuses from 400 to 599 can be failures; write for example: fail_status 500 502 503 504", arg)
		}
		z.FailStatus = append(z.FailStatus, status)
	}
	return nil
}

// checkOptions are the options of the block behind "check ...".
var checkOptions = options[config.Check]{block: "firebreak check", known: map[string]option[config.Check]{
	"every":   durationOption("every 1s", func(c *config.Check) *config.Duration { return &c.Every }),
	"timeout": durationOption("timeout 1s", func(c *config.Check) *config.Duration { return &c.Timeout }),
}}

const checkUsage = "check tcp db7:6379 send PING\\r\\n expect PONG, check http http://db7:8008/health, or check postgres postgres://firebreak@db7/shop"

// parseCheck reads
//
//	check tcp      <address> [send <text>] [expect <text>] { ... }
//	check http     <url> [expect <text>] { ... }
//	check postgres <dsn> { ... }
func parseCheck(d *caddyfile.Dispenser, z *config.Zone) error {
	at := here(d)
	args := d.RemainingArgs()
	if len(args) < 2 {
		return at.Errf("firebreak zone option 'check' needs a protocol and an address; write for example: %s", checkUsage)
	}
	c := &config.Check{Protocol: args[0], Address: args[1]}
	if c.Protocol != "tcp" && c.Protocol != "http" && c.Protocol != "postgres" {
		return at.Err(unrecognized("firebreak check protocol", c.Protocol, []string{"http", "postgres", "tcp"}))
	}
	for rest := args[2:]; len(rest) > 0; rest = rest[2:] {
		field := map[string]*string{"send": &c.Send, "expect": &c.Expect}[rest[0]]
		switch {
		case field == nil:
			return at.Err(unrecognized("firebreak check word", rest[0], []string{"expect", "send"}))
		case len(rest) < 2:
			return at.Errf("firebreak check: '%s' needs a text; write for example: %s", rest[0], checkUsage)
		case *field != "":
			return at.Errf("firebreak check word '%s' specified twice", rest[0])
		}
		*field = rest[1]
	}
	z.Check = c
	return checkOptions.parse(d, c)
}

// storeOptions are the options of "store { ... }".
var storeOptions = options[config.Store]{block: "firebreak store", known: map[string]option[config.Store]{
	"max_inflight":  {usage: "max_inflight fair", min: 1, max: 1, set: setStoreMaxInflight},
	"max_hung":      countOption("max_hung 2", 1, func(s *config.Store) *int { return &s.MaxHung }),
	"bad_in_row":    countOption("bad_in_row 3", 1, func(s *config.Store) *int { return &s.BadInRow }),
	"bad_share":     shareOption("bad_share 50%", func(s *config.Store) *float64 { return &s.BadShare }),
	"min_requests":  countOption("min_requests 10", 1, func(s *config.Store) *int { return &s.MinRequests }),
	"open_time":     durationOption("open_time 5s", func(s *config.Store) *config.Duration { return &s.OpenTime }),
	"open_time_max": durationOption("open_time_max 60s", func(s *config.Store) *config.Duration { return &s.OpenTimeMax }),
	"records":       countOption("records 10000", 1, func(s *config.Store) *int { return &s.Records }),
}}

func setStoreMaxInflight(s *config.Store, args []string) error {
	if args[0] != config.FairShare {
		if n, err := strconv.Atoi(args[0]); err != nil || n < 1 {
			return fmt.Errorf("invalid limit %q: write fair, or a number of requests of at least 1", args[0])
		}
	}
	s.MaxInflight = args[0]
	return nil
}
