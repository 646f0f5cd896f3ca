// Command firebreak is Caddy with its standard modules and firebreak built in.
// Firebreak's commands are at its top level: "firebreak status".
package main

import (
	// Time zone names work on machines that ship no zone database.
	_ "time/tzdata"

	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/firebreak-proxy/firebreak"
	"github.com/firebreak-proxy/firebreak/cli"
)

func main() {
	cli.Main()
}
