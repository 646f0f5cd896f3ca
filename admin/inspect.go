package admin

import (
	"net/http"
	"slices"
	"strings"
)

// Endpoints returns the patterns of the admin API with their methods, but HEAD.
func Endpoints() map[string][]string {
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

// Files returns the files of the dashboard, by path.
func Files() map[string]string {
	files := make(map[string]string)
	for name, file := range theUI() {
		files[name] = string(file.data)
	}
	return files
}
