package globaloption

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/internal/directive"
)

// zoneOptions are the options of "zone NAME { ... }".
var zoneOptions = directive.Options[config.Zone]{Block: "firebreak zone", Known: map[string]directive.Option[config.Zone]{
	"timeout":       directive.Duration("timeout 2s", func(z *config.Zone) *config.Duration { return &z.Timeout }),
	"slow_after":    directive.Duration("slow_after 1s", func(z *config.Zone) *config.Duration { return &z.SlowAfter }),
	"body_idle":     directive.Duration("body_idle 30s", func(z *config.Zone) *config.Duration { return &z.BodyIdle }),
	"window":        directive.Duration("window 10s", func(z *config.Zone) *config.Duration { return &z.Window }),
	"open_time":     directive.Duration("open_time 2s", func(z *config.Zone) *config.Duration { return &z.OpenTime }),
	"open_time_max": directive.Duration("open_time_max 60s", func(z *config.Zone) *config.Duration { return &z.OpenTimeMax }),
	"abandon_after": directive.Duration("abandon_after 5m", func(z *config.Zone) *config.Duration { return &z.AbandonAfter }),
	"hung_hold":     directive.Duration("hung_hold 60s", func(z *config.Zone) *config.Duration { return &z.HungHold }),
	"max_wait":      {Usage: "max_wait 100ms", Min: 1, Max: 1, Set: setMaxWait},

	"max_inflight":   directive.Amount("max_inflight 25%", func(z *config.Zone) *config.Amount { return &z.MaxInflight }),
	"max_streams":    directive.CountPtr("max_streams 1000", func(z *config.Zone) **int { return &z.MaxStreams }),
	"min_bad_stores": directive.Count("min_bad_stores 3", 1, func(z *config.Zone) *int { return &z.MinBadStores }),

	"mode": directive.Word("mode observe", func(z *config.Zone) *string { return &z.Mode },
		config.ModeEnforce, config.ModeObserve),
	"on_timeout": directive.Word("on_timeout cancel", func(z *config.Zone) *string { return &z.OnTimeout },
		config.OnTimeoutHold, config.OnTimeoutCancel),
	"fail_status": {Usage: "fail_status 500 502 503 504", Min: 1, Max: -1, Set: setFailStatus},
	"check":       {Block: parseCheck},
	"store_check": {Block: parseZoneStoreCheck},
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
		if len(arg) == 3 && strings.HasSuffix(strings.ToLower(arg), "xx") {
			return fmt.Errorf("%q stands for a hundred statuses: name the ones that the API server answers with when its database fails; write for example: fail_status 500 502 503 504", arg)
		}
		if err != nil || status < 400 || status > 599 {
			return fmt.Errorf("invalid status %q: only statuses from 400 to 599 can be failures; write for example: fail_status 500 502 503 504", arg)
		}
		z.FailStatus = append(z.FailStatus, status)
	}
	return nil
}

// checkOptions are the options of the block behind "check ...".
var checkOptions = directive.Options[config.Check]{Block: "firebreak check", Known: map[string]directive.Option[config.Check]{
	"every":   directive.Duration("every 1s", func(c *config.Check) *config.Duration { return &c.Every }),
	"timeout": directive.Duration("timeout 1s", func(c *config.Check) *config.Duration { return &c.Timeout }),

	"store_in":    {Usage: "store_in comment", Min: 1, Max: 1, Repeats: true, Set: setStoreIn},
	"store_probe": {Usage: `store_probe "SELECT 1 FROM products WHERE store = $1 LIMIT 1"`, Min: 1, Max: 1, Set: setStoreProbe},
	"on_hung":     {Block: parseOnHung},
}}

// onHungOptions are the options of the block behind "on_hung ...".
var onHungOptions = directive.Options[config.OnHung]{Block: "firebreak check on_hung", Known: map[string]directive.Option[config.OnHung]{
	"methods":    {Usage: "methods GET HEAD", Min: 1, Max: -1, Set: func(o *config.OnHung, args []string) error { o.Methods = args; return o.Check() }},
	"per_minute": directive.Count("per_minute 60", 1, func(o *config.OnHung) *int { return &o.PerMinute }),
	"max_share":  directive.Share("max_share 10%", func(o *config.OnHung) *float64 { return &o.MaxShare }),
}}

// parseOnHung reads
//
//	on_hung cancel_query {
//	    methods    <method...>
//	    per_minute <number>
//	    max_share  <percent>
//	}
func parseOnHung(d *caddyfile.Dispenser, c *config.Check) error {
	at := directive.Here(d)
	if err := c.CheckAsks("on_hung"); err != nil {
		return at.WrapErr(err)
	}
	if args := d.RemainingArgs(); len(args) != 1 || args[0] != config.CancelQuery {
		return at.Errf("firebreak check option 'on_hung' says what to do; write: on_hung cancel_query")
	}
	c.OnHung = &config.OnHung{Action: config.CancelQuery}
	return onHungOptions.Parse(d, c.OnHung)
}

func setStoreIn(c *config.Check, args []string) error {
	if err := c.CheckAsks("store_in"); err != nil {
		return err
	}
	c.StoreIn = append(c.StoreIn, args[0])
	return c.CheckStoreIn(args[0])
}

func setStoreProbe(c *config.Check, args []string) error {
	if err := c.CheckAsks("store_probe"); err != nil {
		return err
	}
	c.StoreProbe = args[0]
	return c.CheckStoreProbe(args[0])
}

// checkProtocols are the protocols of "check ..." of a zone.
var checkProtocols = []string{"http", "mysql", "postgres", "redis", "tcp"}

const checkUsage = "check tcp db7:6379 send PING\\r\\n expect PONG, check http http://db7:8008/health, check postgres postgres://firebreak@db7/shop, check mysql mysql://firebreak@db7/shop, or check redis db7:6379"

// parseCheck reads
//
//	check tcp      <address> [send <text>] [expect <text>] { ... }
//	check redis    <address> [send <command>] [expect <text>] { ... }
//	check http     <url> [expect <text>] { ... }
//	check postgres|mysql <dsn> {
//	    every       <duration>
//	    timeout     <duration>
//	    store_in    comment|application_name|<regexp>
//	    store_probe <statement>
//	    on_hung     cancel_query { ... }
//	}
func parseCheck(d *caddyfile.Dispenser, z *config.Zone) error {
	at := directive.Here(d)
	args := d.RemainingArgs()
	if len(args) < 2 {
		return at.Errf("firebreak zone option 'check' needs a protocol and an address; write for example: %s", checkUsage)
	}
	c := &config.Check{Protocol: args[0], Address: args[1]}
	if !slices.Contains(checkProtocols, c.Protocol) {
		return at.Err(directive.Unrecognized("firebreak check protocol", c.Protocol, checkProtocols))
	}
	for rest := args[2:]; len(rest) > 0; rest = rest[2:] {
		field := map[string]*string{"send": &c.Send, "expect": &c.Expect}[rest[0]]
		switch {
		case field == nil:
			return at.Err(directive.Unrecognized("firebreak check word", rest[0], []string{"expect", "send"}))
		case len(rest) < 2:
			return at.Errf("firebreak check: '%s' needs a text; write for example: %s", rest[0], checkUsage)
		case *field != "":
			return at.Errf("firebreak check word '%s' specified twice", rest[0])
		}
		*field = rest[1]
	}
	z.Check = c
	return checkOptions.Parse(d, c)
}

// storeOptions are the options of "store { ... }".
var storeOptions = directive.Options[config.Store]{Block: "firebreak store", Known: map[string]directive.Option[config.Store]{
	"open_time":     directive.Duration("open_time 5s", func(s *config.Store) *config.Duration { return &s.OpenTime }),
	"open_time_max": directive.Duration("open_time_max 60s", func(s *config.Store) *config.Duration { return &s.OpenTimeMax }),
	"records":       directive.Count("records 10000", 1, func(s *config.Store) *int { return &s.Records }),
}}
