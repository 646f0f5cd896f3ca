// Package firebreak adds firebreak to a Caddy build: importing it registers
// all of its modules, as in
//
//	xcaddy build --with github.com/firebreak-proxy/firebreak
package firebreak

import (
	// Registers the app, the handler, the transport, the admin API, and the
	// directories and state backends that need nothing more.
	_ "github.com/firebreak-proxy/firebreak/caddymodule"
	// Registers the command "caddy firebreak".
	_ "github.com/firebreak-proxy/firebreak/cli"
	// Registers "directory mysql" and "check mysql".
	_ "github.com/firebreak-proxy/firebreak/mysql"
	// Registers "directory postgres" and "check postgres".
	_ "github.com/firebreak-proxy/firebreak/postgres"
	// Registers "state redis" and "check redis".
	_ "github.com/firebreak-proxy/firebreak/redis"
)
