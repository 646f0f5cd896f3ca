package caddymodule

import (
	"net/http"
	"slices"
	"strings"
)

// AdminRoutes are the patterns of the admin API with their methods, but HEAD.
func AdminRoutes() map[string][]string {
	routes := make(map[string][]string)
	for _, route := range adminRoutes() {
		methods := route.methods
		if strings.HasSuffix(route.pattern, "/{action}") {
			methods = actions // others are only let in to be told so
		}
		routes[route.pattern] = slices.DeleteFunc(slices.Clone(methods), func(m string) bool { return m == http.MethodHead })
	}
	return routes
}
