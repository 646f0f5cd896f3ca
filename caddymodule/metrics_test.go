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
		`caddy_firebreak_zone_maintenance{zone="z1"} 0`,
		`caddy_firebreak_zone_first_byte_seconds_bucket{zone="z1",le="1"} 2`,
		`caddy_firebreak_admissions_total 4`, // with the scrape itself
		`caddy_firebreak_directory_stores 6`,
		`caddy_firebreak_zone_checks_total{result="passed"} 0`,
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %q in the metrics:\n%s", want, text)
		}
	}
	if strings.Contains(string(text), "store=") {
		t.Error("a label from a store that is well")
	}
}
