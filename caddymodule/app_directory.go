package caddymodule

import "github.com/firebreak-proxy/firebreak/routing"

// noDirectory is the directory of an app that has none: every key is unknown.
type noDirectory struct{}

func (noDirectory) Lookup(string) (routing.Route, bool) { return routing.Route{}, false }
func (noDirectory) Zones() []string                     { return nil }
