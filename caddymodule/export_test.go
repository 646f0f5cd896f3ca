package caddymodule

import (
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// TempHome is a folder that Caddy may write to. Caddy's own background work goes
// on for a moment after it was stopped, so that the folder may not be empty when
// it is removed: that must not fail the test, as TempDir's would.
func TempHome(tb testing.TB) string {
	tb.Helper()
	dir, err := os.MkdirTemp("", "firebreak-test-")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		for end := time.Now().Add(5 * time.Second); os.RemoveAll(dir) != nil && time.Now().Before(end); {
			time.Sleep(50 * time.Millisecond)
		}
	})
	return dir
}

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
