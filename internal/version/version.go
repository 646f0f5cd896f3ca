// Package version tells which versions a program is made of.
package version

import (
	"runtime/debug"
	"sync"

	"github.com/caddyserver/caddy/v2"
)

// path is the module that firebreak is.
const path = "github.com/firebreak-proxy/firebreak"

// version is set by builds that know better than the build information:
//
//	go build -ldflags '-X github.com/firebreak-proxy/firebreak/internal/version.version=v1.2.3'
var version string

// Firebreak is firebreak's version: what the build has set, or that of the module
// in the build information, or "unknown".
var Firebreak = sync.OnceValue(func() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, module := range append([]*debug.Module{&info.Main}, info.Deps...) {
		if module.Path == path && module.Version != "" {
			return module.Version
		}
	}
	return "unknown"
})

// Caddy is Caddy's version.
func Caddy() string {
	simple, _ := caddy.Version()
	return simple
}
