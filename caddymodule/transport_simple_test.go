package caddymodule

import (
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// TestOptionsOfCaddysTransport: with which options all requests go through it, and
// with which the simple ones do not.
func TestOptionsOfCaddysTransport(t *testing.T) {
	for option, simple := range map[string]bool{
		"": true, "dial_timeout 1s": true, "keepalive 4s": true, "keepalive_idle_conns_per_host 5": true,
		"read_timeout 1m": true, "write_timeout 1m": true, "max_response_header 10KB": true, "compression off": true, "local_address 127.0.0.1": true,
		"keepalive off": false, "keepalive_idle_conns 5": false, "max_conns_per_host 5": false,
		"response_header_timeout 1m": false, "proxy_protocol v2": false, "versions h2c 2": false, "versions 2": false,
	} {
		t.Run(option, func(t *testing.T) {
			read := new(Transport)
			if err := read.UnmarshalCaddyfile(caddyfile.NewTestDispenser("firebreak {\n" + option + "\n}")); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
			defer cancel()
			transport := &Transport{ViaRaw: read.ViaRaw}
			if err := transport.Provision(ctx); err != nil {
				t.Fatal(err)
			}
			if got := transport.simple != nil; got != simple {
				t.Errorf("simple requests go directly: %t, want %t", got, simple)
			}
			if err := transport.Cleanup(); err != nil {
				t.Error(err)
			}
		})
	}
}
