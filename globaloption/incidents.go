package globaloption

import (
	"fmt"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/internal/directive"
)

// parseIncidents reads the option "incidents off", or its block.
func parseIncidents(d *caddyfile.Dispenser, b *block) error {
	b.app.Incidents = new(config.Incidents)
	at := directive.Here(d)
	switch args := d.RemainingArgs(); {
	case len(args) == 1 && args[0] == "off":
		b.app.Incidents.Off = true
		return directive.NoBlock(d, "firebreak option 'incidents off'")
	case len(args) > 0:
		return at.Errf("firebreak option 'incidents' takes a block, or the word off; write for example: incidents { keep 500 }")
	}
	return incidentOptions.Parse(d, b.app.Incidents)
}

var incidentOptions = directive.Options[config.Incidents]{Block: "firebreak incidents", Known: map[string]directive.Option[config.Incidents]{
	"keep": {Usage: "keep 500", Min: 1, Max: 1, Set: func(o *config.Incidents, args []string) (err error) {
		if o.Keep, err = directive.ParseCount(args[0], "keep 500", 1); err == nil && o.Keep > config.MostIncidents {
			err = fmt.Errorf("%d are too many: at most %d are kept", o.Keep, config.MostIncidents)
		}
		return err
	}},
	"dir": {Usage: "dir /var/lib/firebreak/incidents", Min: 1, Max: 1, Set: func(o *config.Incidents, args []string) error {
		o.Dir = args[0]
		return nil
	}},
}}
