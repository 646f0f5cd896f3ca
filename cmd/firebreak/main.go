// Command firebreak is Caddy with its standard modules and firebreak built in.
package main

import (
	// Time zone names work on machines that ship no zone database.
	_ "time/tzdata"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/firebreak-proxy/firebreak"
)

func main() {
	caddycmd.Main()
}
