package caddymodule

import (
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/firebreak-proxy/firebreak/globaloption"
)

func init() {
	httpcaddyfile.RegisterGlobalOption("firebreak", parseGlobalOption)
}

// parseGlobalOption reads the global option, which is the app.
func parseGlobalOption(d *caddyfile.Dispenser, existing any) (any, error) {
	if existing != nil {
		d.Next() // the option's name
		return nil, d.Err("global option 'firebreak' specified twice; put everything into one block")
	}
	read, err := globaloption.Parse(d)
	if err != nil {
		return nil, err
	}
	app := App{App: read.App, DirectoryRaw: read.Directory, StateRaw: read.State, Instance: read.Instance, Incidents: read.Incidents}
	return httpcaddyfile.App{Name: "firebreak", Value: caddyconfig.JSON(app, nil)}, nil
}
