package globaloption

import (
	"fmt"
	"slices"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/internal/directive"
)

// storeCheckOptions are the options of "check ..." of the app, and of
// "store_check ..." of a zone.
var storeCheckOptions = directive.Options[config.StoreCheck]{Block: "firebreak store check", Known: map[string]directive.Option[config.StoreCheck]{
	"to":       {Usage: "to localhost:9000", Min: 1, Max: -1, Set: setCheckTo},
	"times":    directive.Count("times 2", 1, func(c *config.StoreCheck) *int { return &c.Times }),
	"every":    {Usage: "every 5s", Min: 1, Max: 1, Set: setCheckEvery},
	"parallel": directive.Count("parallel 4", 1, func(c *config.StoreCheck) *int { return &c.Parallel }),
	"retries":  directive.CountPtr("retries 4", func(c *config.StoreCheck) **int { return &c.Retries }),
	"batch":    directive.Count("batch 50", 0, func(c *config.StoreCheck) *int { return &c.Batch }),
	"watch":    directive.Duration("watch 10s", func(c *config.StoreCheck) *config.Duration { return &c.Watch }),
	"timeout":  directive.Duration("timeout 2s", func(c *config.StoreCheck) *config.Duration { return &c.Timeout }),
	"status":   {Usage: "status 200 204", Min: 1, Max: -1, Set: func(c *config.StoreCheck, args []string) error { return addStatuses(&c.Status, args) }},
	"header":   {Usage: "header X-Api-Key {store}", Min: 2, Max: 2, Repeats: true, Set: func(c *config.StoreCheck, args []string) error { return addHeader(&c.Headers, args) }},

	"body_contains": {Usage: `body_contains "\"ok\":true"`, Min: 1, Max: 1, Set: func(c *config.StoreCheck, args []string) error { c.BodyContains = args[0]; return nil }},
	"body_match":    {Usage: `body_match "ok|fine"`, Min: 1, Max: 1, Set: func(c *config.StoreCheck, args []string) error { c.BodyMatch = args[0]; return nil }},
	"ends_open":     {Usage: "ends_open", Max: 1, Set: setEndsOpen},
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
func parseStoreCheck(d *caddyfile.Dispenser, b *block) error {
	b.checkAt = directive.Here(d)
	args := d.RemainingArgs()
	if len(args) != 2 {
		return b.checkAt.Errf("firebreak option 'check' needs a method and a path, but has %s; write for example: %s (a check of a zone's database is an option of the zone)", directive.Values(len(args)), storeCheckUsage)
	}
	if slices.Contains(checkProtocols, args[0]) {
		return b.checkAt.Errf("firebreak option 'check' asks the API server about a store; the check of a zone's database (%s) is an option of the zone: zone z7 { check %[1]s %s }", args[0], args[1])
	}
	b.app.Check = &config.StoreCheck{Method: args[0], URI: args[1]}
	return storeCheckOptions.Parse(d, b.app.Check)
}

// parseZoneStoreCheck reads the same block of a zone, where method and path may
// be left out:
//
//	store_check [<method> <path>] { ... }
func parseZoneStoreCheck(d *caddyfile.Dispenser, z *config.Zone) error {
	at := directive.Here(d)
	c := new(config.StoreCheck)
	switch args := d.RemainingArgs(); len(args) {
	case 0:
	case 2:
		c.Method, c.URI = args[0], args[1]
	default:
		return at.Errf("firebreak zone option 'store_check' needs a method and a path, or neither, but has %s; write for example: store_%s", directive.Values(len(args)), storeCheckUsage)
	}
	z.StoreCheck = c
	return storeCheckOptions.Parse(d, c)
}

// repairOptions are the options of "repair ..." of the app.
var repairOptions = directive.Options[config.Repair]{Block: "firebreak repair", Known: map[string]directive.Option[config.Repair]{
	"to":       {Usage: "to localhost:9100", Min: 1, Max: -1, Set: setRepairTo},
	"poll":     {Usage: "poll /repairs/{key}", Min: 1, Max: 1, Set: func(r *config.Repair, args []string) error { r.Poll = args[0]; return nil }},
	"every":    directive.Duration("every 2s", func(r *config.Repair) *config.Duration { return &r.Every }),
	"timeout":  directive.Duration("timeout 5m", func(r *config.Repair) *config.Duration { return &r.Timeout }),
	"parallel": directive.Count("parallel 2", 1, func(r *config.Repair) *int { return &r.Parallel }),
	"header":   {Usage: `header Authorization "Bearer {env.REPAIR_TOKEN}"`, Min: 2, Max: 2, Repeats: true, Set: setRepairHeader},
}}

func setRepairTo(r *config.Repair, args []string) error {
	c := config.StoreCheck{To: r.To}
	err := setCheckTo(&c, args)
	r.To = c.To
	return err
}

func setRepairHeader(r *config.Repair, args []string) error {
	c := config.StoreCheck{Headers: r.Headers}
	err := addHeader(&c.Headers, args)
	r.Headers = c.Headers
	return err
}

// parseRepair reads
//
//	repair <method> <path> {
//	    to       <address...>
//	    poll     <path>
//	    every    <duration>
//	    timeout  <duration>
//	    parallel <number>
//	    header   <name> <value>
//	}
func parseRepair(d *caddyfile.Dispenser, b *block) error {
	b.repairAt = directive.Here(d)
	args := d.RemainingArgs()
	if len(args) != 2 {
		return b.repairAt.Errf("firebreak option 'repair' needs a method and a path, but has %s; write for example: repair POST /repairs?store={store} { to localhost:9100 }", directive.Values(len(args)))
	}
	b.app.Repair = &config.Repair{Method: args[0], URI: args[1]}
	return repairOptions.Parse(d, b.app.Repair)
}
