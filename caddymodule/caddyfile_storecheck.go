package caddymodule

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/firebreak-proxy/firebreak/config"
)

// storeCheckOptions are the options of "check ..." of the app, and of
// "store_check ..." of a zone.
var storeCheckOptions = options[config.StoreCheck]{block: "firebreak store check", known: map[string]option[config.StoreCheck]{
	"to":       {usage: "to localhost:9000", min: 1, max: -1, set: setCheckTo},
	"times":    countOption("times 2", 1, func(c *config.StoreCheck) *int { return &c.Times }),
	"every":    {usage: "every 5s", min: 1, max: 1, set: setCheckEvery},
	"parallel": countOption("parallel 4", 1, func(c *config.StoreCheck) *int { return &c.Parallel }),
	"retries":  countPtrOption("retries 4", func(c *config.StoreCheck) **int { return &c.Retries }),
	"batch":    countOption("batch 50", 0, func(c *config.StoreCheck) *int { return &c.Batch }),
	"watch":    durationOption("watch 10s", func(c *config.StoreCheck) *config.Duration { return &c.Watch }),
	"timeout":  durationOption("timeout 2s", func(c *config.StoreCheck) *config.Duration { return &c.Timeout }),
	"status":   {usage: "status 200 204", min: 1, max: -1, set: setCheckStatus},
	"header":   {usage: "header X-Api-Key {store}", min: 2, max: 2, repeats: true, set: setCheckHeader},

	"body_contains": {usage: `body_contains "\"ok\":true"`, min: 1, max: 1, set: func(c *config.StoreCheck, args []string) error { c.BodyContains = args[0]; return nil }},
	"body_match":    {usage: `body_match "ok|fine"`, min: 1, max: 1, set: func(c *config.StoreCheck, args []string) error { c.BodyMatch = args[0]; return nil }},
	"ends_open":     {usage: "ends_open", max: 1, set: setEndsOpen},
}}

func setCheckTo(c *config.StoreCheck, args []string) error {
	for _, to := range args {
		if _, _, err := config.SplitTarget(to); err != nil {
			return err
		}
	}
	c.To = append(c.To, args...)
	return nil
}

func setCheckEvery(c *config.StoreCheck, args []string) error {
	d, err := config.ParseDuration(args[0])
	if err == nil && d < 0 {
		err = fmt.Errorf("%s is negative; write for example: every 5s", args[0])
	}
	c.Every = &d
	return err
}

func setCheckStatus(c *config.StoreCheck, args []string) error {
	for _, arg := range args {
		status, err := strconv.Atoi(arg)
		if err != nil || status < 100 || status > 599 {
			return fmt.Errorf("invalid status %q; write for example: status 200 204", arg)
		}
		c.Status = append(c.Status, status)
	}
	return nil
}

func setCheckHeader(c *config.StoreCheck, args []string) error {
	if c.Headers == nil {
		c.Headers = make(map[string]string)
	}
	if _, twice := c.Headers[args[0]]; twice {
		return fmt.Errorf("header %s specified twice", args[0])
	}
	c.Headers[args[0]] = args[1]
	return nil
}

func setEndsOpen(c *config.StoreCheck, args []string) error {
	on := true
	if len(args) == 1 {
		switch args[0] {
		case "on":
		case "off":
			on = false
		default:
			return fmt.Errorf("invalid value %q: write ends_open, ends_open on or ends_open off", args[0])
		}
	}
	c.EndsOpen = &on
	return nil
}

const storeCheckUsage = "check GET /internal/check?key={store} { to localhost:9000 }"

// parseStoreCheck reads
//
//	check <method> <path> {
//	    to            <address...>
//	    times         <number>
//	    every         <duration>
//	    parallel      <number>
//	    retries       <number>
//	    batch         <number>
//	    watch         <duration>
//	    timeout       <duration>
//	    status        <code...>
//	    header        <name> <value>
//	    body_contains <text>
//	    body_match    <regexp>
//	    ends_open     [on|off]
//	}
func parseStoreCheck(d *caddyfile.Dispenser, b *appBlock) error {
	b.checkAt = here(d)
	args := d.RemainingArgs()
	if len(args) != 2 {
		return b.checkAt.Errf("firebreak option 'check' needs a method and a path, but has %s; write for example: %s (a check of a zone's database is an option of the zone)", values(len(args)), storeCheckUsage)
	}
	if slices.Contains([]string{"http", "postgres", "tcp"}, args[0]) {
		return b.checkAt.Errf("firebreak option 'check' asks the API server about a store; the check of a zone's database (%s) is an option of the zone: zone z7 { check %[1]s %s }", args[0], args[1])
	}
	b.app.Check = &config.StoreCheck{Method: args[0], URI: args[1]}
	return storeCheckOptions.parse(d, b.app.Check)
}

// parseZoneStoreCheck reads the same block of a zone, where method and path may
// be left out:
//
//	store_check [<method> <path>] { ... }
func parseZoneStoreCheck(d *caddyfile.Dispenser, z *config.Zone) error {
	at := here(d)
	c := new(config.StoreCheck)
	switch args := d.RemainingArgs(); len(args) {
	case 0:
	case 2:
		c.Method, c.URI = args[0], args[1]
	default:
		return at.Errf("firebreak zone option 'store_check' needs a method and a path, or neither, but has %s; write for example: store_%s", values(len(args)), storeCheckUsage)
	}
	z.StoreCheck = c
	return storeCheckOptions.parse(d, c)
}
