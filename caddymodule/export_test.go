package caddymodule

import (
	"os"
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

// Fleet is what sidecars tell each other; nil if they do not.
func (a *App) Fleet() *sharedFleet { return a.fleet }

// Running reports whether the fleet has begun and not ended.
func (f *sharedFleet) Running() bool {
	select {
	case <-f.done:
		return false
	default:
		return f.stop != nil
	}
}
