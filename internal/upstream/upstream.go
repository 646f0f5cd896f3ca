// Package upstream names API servers.
package upstream

import (
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

// Address is an upstream's address as the guard and operators have it:
// "10.0.0.7:9000" or "unix//run/api.sock". It is "" if it is none, or is known
// only when a request comes.
func Address(dial string) string {
	if strings.Contains(dial, "{") {
		return ""
	}
	if !strings.Contains(dial, "/") {
		return dial
	}
	parsed, err := caddy.ParseNetworkAddress(strings.TrimPrefix(strings.TrimPrefix(dial, "http://"), "https://"))
	if err != nil {
		return ""
	}
	return parsed.String()
}

// Addresses are the addresses of upstreams, each once, in order, without those
// that are known only when a request comes.
func Addresses(dials []string) []string {
	var list []string
	for _, dial := range dials {
		if address := Address(dial); address != "" {
			list = append(list, address)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}
