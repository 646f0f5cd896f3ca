package upstream

import (
	"slices"
	"testing"
)

func TestAddress(t *testing.T) {
	for dial, want := range map[string]string{
		"10.0.0.7:9000":                "10.0.0.7:9000",
		"localhost:9000":               "localhost:9000",
		"[::1]:9000":                   "[::1]:9000",
		"tcp/10.0.0.7:9000":            "10.0.0.7:9000",
		"http://10.0.0.7:9000":         "10.0.0.7:9000",
		"unix//run/api.sock":           "unix//run/api.sock",
		"unix/@api":                    "unix/@api",
		"{env.API}:9000":               "",
		"unix/{http.request.uri.path}": "",
	} {
		if got := Address(dial); got != want {
			t.Errorf("%s: %q, want %q", dial, got, want)
		}
	}
	if got := Addresses([]string{"b:1", "{x}", "a:1", "tcp/b:1"}); !slices.Equal(got, []string{"a:1", "b:1"}) {
		t.Errorf("got %v", got)
	}
}
