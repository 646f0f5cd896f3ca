package caddymodule_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// TestMetrics: they are there after reloads and with two sites, and bounded.
func TestMetrics(t *testing.T) {
	s := startNext(t, "", "", status(200))
	site := "handle /metrics {\nmetrics\n}\n" + strings.Replace(guarded, "%s", "", 1)
	site = strings.Replace(site, "%s", "test_next", 1)
	app := strings.Replace(fastApp, "%s", "hung_hold 2s", 1)
	for range 2 {
		if err := s.load(app, site+"\n}\nhttp://"+freeAddress(t)+" {\n"+strings.Replace(strings.Replace(guarded, "%s", "", 1), "%s", "test_next", 1)); err != nil {
			t.Fatal(err)
		}
		s.get(t, "/?key=a")
	}
	s.get(t, "/?key=e")
	res, err := http.Get("http://" + s.site + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`caddy_firebreak_requests_total{outcome="ok",zone="z1"} 2`,
		`caddy_firebreak_zone_state{state="calm",zone="z1"} 1`,
		`caddy_firebreak_slots{kind="live",zone="z2"} 0`,
		`caddy_firebreak_workers 32`,
		`caddy_firebreak_pool_suspect 0`,
		`caddy_firebreak_panics_total `,
		`caddy_firebreak_request_duration_seconds_count `,
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %q in the metrics", want)
		}
	}
	zones, others := 0, 0
	for line := range strings.Lines(string(text)) {
		switch {
		case !strings.HasPrefix(line, "caddy_firebreak_"):
		case strings.Contains(line, `zone="z1"`):
			zones++
		case !strings.Contains(line, `zone="`):
			others++
		}
		if strings.Contains(line, "store=") {
			t.Errorf("a label from a store: %s", line)
		}
	}
	if zones != 20 || others > 40 {
		t.Errorf("%d series a zone and %d others, want 20 and at most 40", zones, others)
	}
}
