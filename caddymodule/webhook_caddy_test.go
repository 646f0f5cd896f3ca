package caddymodule_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// TestWebhookInCaddy: the Caddyfile of docs/events.md, with a receiver that
// hangs beside one that is well, and a reload in between.
func TestWebhookInCaddy(t *testing.T) {
	posted := make(chan map[string]any, 100)
	well := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var event map[string]any
		body, _ := io.ReadAll(r.Body)
		if err := json.Unmarshal(body, &event); err != nil {
			t.Errorf("posted %q: %v", body, err)
		}
		posted <- event
	}))
	defer well.Close()
	end := make(chan struct{})
	hangs := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-end }))
	defer hangs.Close()
	defer close(end)
	s := startSidecar(t, smallApp, smallSite)
	options := "events {\non firebreak.zone_opened firebreak_webhook " + hangs.URL + "\non * firebreak_webhook " + well.URL + " {\ntimeout 2s\n}\n}\n"
	load := func() {
		t.Helper()
		file := strings.Replace(s.caddyfile(smallApp, smallSite), "{\n", "{\n"+options, 1)
		config, err := adapt(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := caddy.Load([]byte(config), true); err != nil {
			t.Fatal(err)
		}
	}
	load()
	openZone(t, s.app(t).Guard())
	seen := make(map[string]bool)
	wait := func(name string) {
		t.Helper()
		eventually(t, name+" is posted", func() bool {
			select {
			case event := <-posted:
				kind, _ := event["event"].(string)
				if !strings.HasPrefix(kind, "firebreak.") || event["message"] == "" || event["at"] == "" {
					t.Errorf("posted %v", event)
				}
				seen[kind] = true
			default:
			}
			return seen[name]
		})
	}
	wait("firebreak.zone_opened")
	load()
	s.app(t).Guard().ResetZone("z1", "test", "")
	wait("firebreak.zone_closed")
}

// TestMonitoringCaddyfile: the example is right.
func TestMonitoringCaddyfile(t *testing.T) {
	file, err := os.ReadFile("../examples/monitoring/Caddyfile")
	if err != nil {
		t.Fatal(err)
	}
	config, err := adapt(string(file))
	if err != nil {
		t.Fatal(err)
	}
	validates(t, config)
}
