package caddymodule_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/firebreak-proxy/firebreak/admin"
	"github.com/firebreak-proxy/firebreak/caddymodule"
)

// FuzzAdminJSON sends anything to any route of the admin API: no panic, no
// failure of the server's own, no long thought, and JSON as the answer.
func FuzzAdminJSON(f *testing.F) {
	for _, seed := range []struct{ method, target, body, match string }{
		{"GET", "/firebreak/status?fleet=1", "", ""},
		{"PUT", "/firebreak/maintenance/zones/z1", `{"reason": "x", "for": "1h", "mode": "read_only", "except": ["a", "b"]}`, "*"},
		{"PUT", "/firebreak/maintenance/stores/a%2Fb", `{"from": "2030-01-01T00:00:00Z", "until": "2031-01-01T00:00:00+02:00", "retry_after": 5}`, `"x-1", W/"y-2"`},
		{"PUT", "/firebreak/maintenance/all", `{"for": "-1h"}`, ""},
		{"DELETE", "/firebreak/maintenance/zones/z1?by=me&reason=%00", "", ""},
		{"POST", "/firebreak/maintenance/batch", `{"action": "on", "zones": ["z1"], "stores": ["a", "", "\ud800"], "dry_run": true}`, ""},
		{"POST", "/firebreak/maintenance/batch", `{"action": "off", "all": true} {}`, ""},
		{"POST", "/firebreak/zones/z1/isolate", `{"for": 9223372036854775807}`, ""},
		{"POST", "/firebreak/stores/a/auto", `[]`, ""},
		{"GET", "/firebreak/maintenance?limit=1&after=zone/z1&scope=zone", "", ""},
		{"GET", "/firebreak/explain?url=%2F%3Fkey%3Da&method=%20&header=a:b&body=%7B", "", ""},
		{"GET", "/firebreak/explain?url=http://[::1", "", ""},
	} {
		f.Add(seed.method, seed.target, []byte(seed.body), seed.match)
	}
	f.Setenv("XDG_DATA_HOME", caddymodule.TempHome(f))
	f.Setenv("XDG_CONFIG_HOME", caddymodule.TempHome(f))
	config := fmt.Sprintf(`{"admin": {"disabled": true, "config": {"persist": false}}, "logging": {"logs": {"default": {"level": "FATAL"}}},
		"storage": {"module": "file_system", "root": %q},
		"apps": {"firebreak": {"workers": 32, "directory": {"source": "hash", "zones": ["z1", "z2"]}},
			"http": {"servers": {"s": {"listen": ["127.0.0.1:0"], "routes": [{"handle": [{"handler": "firebreak", "keys": [{"from": "query", "name": "key"}, {"from": "json", "name": "key"}]}]}]}}}}}`, caddymodule.TempHome(f))
	if err := caddy.Load([]byte(config), true); err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = caddy.Stop() })
	mux := http.NewServeMux()
	for _, route := range (admin.Module{}).Routes() {
		mux.HandleFunc(route.Pattern, func(w http.ResponseWriter, r *http.Request) {
			if err := route.Handler.ServeHTTP(w, r); err != nil {
				panic(err) // every error is answered
			}
		})
	}
	f.Fuzz(func(t *testing.T, method, target string, body []byte, match string) {
		address, err := url.ParseRequestURI("/firebreak/" + strings.TrimPrefix(target, "/firebreak/"))
		if err != nil || strings.Trim(method, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" || method == "" || method == http.MethodConnect {
			return
		}
		r := httptest.NewRequestWithContext(t.Context(), method, "/", strings.NewReader(string(body)))
		r.URL = address
		if match != "" {
			r.Header.Set("If-Match", match)
			r.Header.Set("If-None-Match", match)
		}
		w := httptest.NewRecorder()
		began := time.Now()
		mux.ServeHTTP(w, r)
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("it took %s", took)
		}
		if w.Code >= 500 {
			t.Errorf("status %d: %s", w.Code, w.Body)
		}
		if w.Code >= 300 && w.Code < 400 {
			return // the path is cleaned
		}
		if !json.Valid(w.Body.Bytes()) {
			t.Errorf("status %d, no JSON: %s", w.Code, w.Body)
		}
	})
}
