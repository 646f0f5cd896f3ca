// Command minimal is Caddy with firebreak, without the packages mysql, postgres and redis.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/firebreak-proxy/firebreak/caddymodule"
	_ "github.com/firebreak-proxy/firebreak/cli"
)

func main() { caddycmd.Main() }
