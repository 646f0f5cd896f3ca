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

// UIFiles are the files of the dashboard, by path.
func UIFiles() map[string]string {
	files := make(map[string]string)
	for name, file := range theUI() {
		files[name] = string(file.data)
	}
	return files
}
