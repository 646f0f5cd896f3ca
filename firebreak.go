// Package firebreak adds firebreak to a Caddy build: importing it registers
// all of its modules, as in
//
//	xcaddy build --with github.com/firebreak-proxy/firebreak
package firebreak

import (
	// Registers the app, the handler, the transport, the directories, the state
	// backends and the admin API.
	_ "github.com/firebreak-proxy/firebreak/caddymodule"
	// Registers the command "caddy firebreak".
	_ "github.com/firebreak-proxy/firebreak/cli"
)
