package globaloption

import (
	"fmt"
	"strconv"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/internal/directive"
)

// serverCheckOptions are the options of the block behind "server_check ...".
var serverCheckOptions = directive.Options[config.ServerCheck]{Block: "firebreak server_check", Known: map[string]directive.Option[config.ServerCheck]{
	"every":   directive.Duration("every 1s", func(c *config.ServerCheck) *config.Duration { return &c.Every }),
	"timeout": directive.Duration("timeout 1s", func(c *config.ServerCheck) *config.Duration { return &c.Timeout }),
	"status":  {Usage: "status 200 204", Min: 1, Max: -1, Set: func(c *config.ServerCheck, args []string) error { return addStatuses(&c.Status, args) }},
	"header":  {Usage: "header Host api.example.com", Min: 2, Max: 2, Repeats: true, Set: func(c *config.ServerCheck, args []string) error { return addHeader(&c.Headers, args) }},
}}

// parseServerCheck reads
//
//	server_check <path or url> {
//	    every   <duration>
//	    timeout <duration>
//	    status  <code...>
//	    header  <name> <value>
//	}
func parseServerCheck(d *caddyfile.Dispenser, b *block) error {
	at := directive.NewBlock(d)
	args := d.RemainingArgs()
	if len(args) != 1 {
		return at.Errf("firebreak option 'server_check' needs a path or a URL, but has %s; write for example: server_check /healthz, or server_check http://{host}:8080/ping", directive.Values(len(args)))
	}
	c := &config.ServerCheck{URI: args[0]}
	b.app.ServerCheck = c
	if err := serverCheckOptions.ParseBlock(d, at, c); err != nil {
		return err
	}
	if err := c.Validate(); err != nil {
		return at.WrapErr(fmt.Errorf("firebreak option 'server_check': %w", err))
	}
	return nil
}

// addStatuses reads statuses of HTTP.
func addStatuses(to *[]int, args []string) error {
	for _, arg := range args {
		status, err := strconv.Atoi(arg)
		if err != nil || status < 100 || status > 599 {
			return fmt.Errorf("invalid status %q; write for example: status 200 204", arg)
		}
		*to = append(*to, status)
	}
	return nil
}

// addHeader reads a header's name and value.
func addHeader(to *map[string]string, args []string) error {
	if *to == nil {
		*to = make(map[string]string)
	}
	if _, twice := (*to)[args[0]]; twice {
		return fmt.Errorf("header %s specified twice", args[0])
	}
	(*to)[args[0]] = args[1]
	return nil
}
