package caddymodule_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// TestStartingConfigurations loads what newcomers start with: a browser may open
// the dashboard by its address, and calls of the admin endpoint fill no log.
func TestStartingConfigurations(t *testing.T) {
	sources := map[string]string{}
	for _, p := range allPages(t) {
		for _, b := range p.Blocks {
			if b.Page == "docs/getting-started.md" && b.Kind == "caddyfile" {
				sources[b.Page] = b.Text
			}
		}
	}
	for _, path := range []string{"Caddyfile", "examples/monitoring/Caddyfile"} {
		text, err := os.ReadFile(filepath.Join("..", path))
		if err != nil {
			t.Fatal(err)
		}
		sources[path] = string(text)
	}
	if len(sources) != 3 {
		t.Fatalf("found %d configurations, want 3", len(sources))
	}
	for name, source := range sources {
		t.Run(name, func(t *testing.T) {
			s := startSidecar(t, smallApp, smallSite)
			t.Setenv("FIREBREAK_ADMIN", s.admin)
			t.Chdir("testdata")
			text, err := adapt(strings.ReplaceAll(source, "localhost:2019", s.admin))
			if err != nil {
				t.Fatal(err)
			}
			log := filepath.Join(t.TempDir(), "caddy.log")
			var config map[string]any
			if err := json.Unmarshal([]byte(text), &config); err != nil {
				t.Fatal(err)
			}
			logging, _ := config["logging"].(map[string]any)
			logs, _ := logging["logs"].(map[string]any)
			main, _ := logs["default"].(map[string]any)
			if main == nil {
				t.Fatalf("no default log in %v", config["logging"])
			}
			main["writer"] = map[string]any{"output": "file", "filename": log}
			main["encoder"] = map[string]any{"format": "json"}
			delete(config["apps"].(map[string]any), "http") // its ports may be taken
			raw, err := json.Marshal(config)
			if err != nil {
				t.Fatal(err)
			}
			if err := caddy.Load(raw, true); err != nil {
				t.Fatal(err)
			}
			for range 20 {
				for _, path := range []string{"/firebreak/ui/", "/firebreak/status"} {
					r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.admin+path, nil)
					if err != nil {
						t.Fatal(err)
					}
					r.Header.Set("Sec-Fetch-Mode", "navigate") // as a browser whose address was typed in
					r.Header.Set("Sec-Fetch-Site", "none")
					res, err := http.DefaultClient.Do(r)
					if err != nil {
						t.Fatal(err)
					}
					res.Body.Close()
					if res.StatusCode != http.StatusOK {
						t.Fatalf("%s answers %s", path, res.Status)
					}
				}
			}
			for _, line := range logLines(t, log, "") {
				if line["logger"] == "admin.api" {
					t.Fatalf("logged: %v", line)
				}
			}
		})
	}
}
