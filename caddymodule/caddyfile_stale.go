package caddymodule

import (
	"fmt"
	"math"

	"github.com/dustin/go-humanize"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/internal/directive"
	"github.com/firebreak-proxy/firebreak/stale"
)

// staleOptions are the options of the block behind "stale".
var staleOptions = directive.Options[stale.Config]{Block: "firebreak stale", Known: map[string]directive.Option[stale.Config]{
	"max_size":      staleSize("max_size 64MiB", func(c *stale.Config) *int64 { return &c.MaxSize }),
	"max_entry":     staleSize("max_entry 64KiB", func(c *stale.Config) *int64 { return &c.MaxEntry }),
	"refresh":       directive.Duration("refresh 30s", func(c *stale.Config) *config.Duration { return &c.Refresh }),
	"authorization": {Usage: "authorization", Set: setStaleAuthorization},

	"ignore_headers": names("ignore_headers X-Device", func(c *stale.Config) *[]string { return &c.IgnoreHeaders }),
	"ignore_cookies": names("ignore_cookies _ga", func(c *stale.Config) *[]string { return &c.IgnoreCookies }),
}}

// staleSize reads a size in bytes.
func staleSize(usage string, field func(*stale.Config) *int64) directive.Option[stale.Config] {
	return directive.Option[stale.Config]{Usage: usage, Min: 1, Max: 1, Set: func(c *stale.Config, args []string) error {
		size, err := humanize.ParseBytes(args[0])
		if err != nil || size == 0 || size > math.MaxInt64 {
			return fmt.Errorf("invalid size %q: write for example: %s", args[0], usage)
		}
		*field(c) = int64(size)
		return nil
	}}
}

func setStaleAuthorization(c *stale.Config, _ []string) error {
	c.Authorization = true
	return nil
}

// names reads names.
func names(usage string, field func(*stale.Config) *[]string) directive.Option[stale.Config] {
	return directive.Option[stale.Config]{Usage: usage, Min: 1, Max: -1, Set: func(c *stale.Config, args []string) error {
		*field(c) = args
		return nil
	}}
}

// parseStale reads "stale [<duration>]" and its block.
func parseStale(d *caddyfile.Dispenser, b *handlerBlock) error {
	at := directive.Here(d)
	c := new(stale.Config)
	args := d.RemainingArgs()
	if len(args) > 1 {
		return at.Errf("firebreak option 'stale' needs at most 1 value, but has %d; write for example: stale 10m", len(args))
	}
	if len(args) == 1 {
		length, err := config.ParseDuration(args[0])
		if err == nil && length <= 0 {
			err = fmt.Errorf("%s is too short; write for example: stale 10m", args[0])
		}
		if err != nil {
			return at.WrapErr(fmt.Errorf("firebreak option 'stale': %w", err))
		}
		c.For = length
	}
	if err := staleOptions.Parse(d, c); err != nil {
		return err
	}
	if err := c.Check(); err != nil {
		return at.WrapErr(fmt.Errorf("firebreak option 'stale': %w", err))
	}
	b.handler.Stale = c
	return nil
}
