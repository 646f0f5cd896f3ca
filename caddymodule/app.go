package caddymodule

import (
	"encoding/json"

	"github.com/caddyserver/caddy/v2"

	"github.com/firebreak-proxy/firebreak/config"
)

func init() {
	caddy.RegisterModule(App{})
}

// App is firebreak's app: the state of all stores and zones, shared by all
// firebreak handlers. Its state survives reloads of the configuration.
type App struct {
	config.App

	// Where stores live: a module of the namespace firebreak.directories.
	// Without one, every key is unknown.
	DirectoryRaw json.RawMessage `json:"directory,omitempty" caddy:"namespace=firebreak.directories inline_key=source"`
}

// CaddyModule returns the Caddy module information.
func (App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "firebreak",
		New: func() caddy.Module { return new(App) },
	}
}
