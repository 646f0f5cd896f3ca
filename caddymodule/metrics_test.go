package caddymodule_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/firebreak-proxy/firebreak/maintenance"
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
			t.Errorf("no %q in the metrics", want)
		}
	}
	if strings.Contains(string(text), "store=") {
		t.Error("a label from a store that is well")
	}
}

// scrapeSite makes the sidecar's site answer /metrics.
const scrapeSite = "handle /metrics {\nmetrics\n}\n"

func (s *sidecar) metrics(t *testing.T) string {
	t.Helper()
	res, text := s.get(t, "/metrics")
	if res.StatusCode != http.StatusOK {
		t.Fatalf("GET /metrics: %s\n%s", res.Status, text)
	}
	return text
}

// TestMetricsOverReloads: good and broken configurations, with one server, two
// servers and none that is guarded.
func TestMetricsOverReloads(t *testing.T) {
	s := startNext(t, "", "", status(200))
	app := strings.Replace(fastApp, "%s", "hung_hold 2s", 1)
	guardedSite := strings.Replace(strings.Replace(guarded, "%s", "", 1), "%s", "test_next", 1)
	second := "\n}\nhttp://" + freeAddress(t) + " {\n" + guardedSite
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	taken := "\n}\nhttp://" + listener.Addr().String() + " {\nbind 127.0.0.1\n" + guardedSite
	broken := strings.Replace(guardedSite, "test_next", "test_next\nreverse_proxy {\ntransport http {\ntls_client_auth nowhere.pem nowhere.key\n}\nto https://127.0.0.1:1\n}", 1)
	for i, next := range []struct {
		name, site string
		broken     bool
	}{
		{"one server", scrapeSite + guardedSite, false},
		{"two servers", scrapeSite + guardedSite + second, false},
		{"a broken configuration", scrapeSite + broken, true},
		{"an address that is taken", scrapeSite + guardedSite + taken, true},
		{"and again", scrapeSite + guardedSite + taken, true}, // apps start in no order
		{"and again", scrapeSite + guardedSite + taken, true},
		{"and again", scrapeSite + guardedSite + taken, true},
		{"two handlers", scrapeSite + "handle /bulk {\n" + guardedSite + "\n}\n" + guardedSite, false},
		{"again", scrapeSite + guardedSite, false},
	} {
		if err := s.load(app, next.site); (err != nil) != next.broken {
			t.Fatalf("%s: error %v", next.name, err)
		}
		s.get(t, "/?key=a")
		sw := maintenance.Switch{Target: maintenance.Target{Scope: maintenance.Store, Name: fmt.Sprint("other", i)}, Mode: maintenance.Full}
		if _, _, err := s.app(t).Board().Change(t.Context(), maintenance.Author{By: "test"}, &maintenance.Edit{Set: []maintenance.Switch{sw}}); err != nil {
			t.Fatal(err)
		}
		text := s.metrics(t)
		for _, want := range []string{
			fmt.Sprintf(`caddy_firebreak_requests_total{outcome="ok",zone="z1"} %d`, i+1),
			fmt.Sprintf(`caddy_firebreak_zone_first_byte_seconds_count{zone="z1"} %d`, i+1),
			`caddy_firebreak_directory_zones 2`,
			`caddy_firebreak_state_stale 0`,
			fmt.Sprintf(`caddy_firebreak_state_revision %d`, i+1), // of the board in force
		} {
			if !strings.Contains(text, want+"\n") {
				t.Errorf("%s: no %q", next.name, want)
			}
		}
		if n := strings.Count(text, "\ncaddy_firebreak_workers "); n != 1 {
			t.Errorf("%s: %d series for the size of the pool", next.name, n)
		}
	}
}

// TestMetricsInMaintenance: what operators desire and what firebreak observes
// are told apart, and so are the refusals.
func TestMetricsInMaintenance(t *testing.T) {
	s := startNext(t, "", "", status(200))
	app := strings.Replace(fastApp, "%s", "hung_hold 2s", 1)
	site := strings.Replace(strings.Replace(guarded, "%s", "", 1), "%s", "test_next", 1)
	if err := s.load(app, scrapeSite+site); err != nil {
		t.Fatal(err)
	}
	_, _, err := s.app(t).Board().Change(t.Context(), maintenance.Author{By: "test"}, &maintenance.Edit{Set: []maintenance.Switch{
		{Target: maintenance.Target{Scope: maintenance.Zone, Name: "z1"}, Mode: maintenance.Full},
		{Target: maintenance.Target{Scope: maintenance.Zone, Name: "z2"}, Mode: maintenance.ReadOnly},
	}})
	if err != nil {
		t.Fatal(err)
	}
	before := maintenanceRefusals(t, s.metrics(t)) // of other tests
	for range 3 {
		s.get(t, "/?key=a")
	}
	text := s.metrics(t)
	if got := maintenanceRefusals(t, text) - before; got != 3 {
		t.Errorf("%d refusals of maintenance, want 3", got)
	}
	for _, want := range []string{
		`caddy_firebreak_zone_maintenance{zone="z1"} 2`,
		`caddy_firebreak_zone_maintenance{zone="z2"} 1`,
		`caddy_firebreak_zone_state{state="calm",zone="z1"} 1`,
		`caddy_firebreak_refusals_total{reason="zone_open",zone="z1"} 0`,
		`caddy_firebreak_maintenance_switches{scope="zone"} 2`,
		`caddy_firebreak_state_revision 1`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("no %q", want)
		}
	}
}

func maintenanceRefusals(t *testing.T, text string) (n int) {
	t.Helper()
	_, rest, _ := strings.Cut(text, `caddy_firebreak_refusals_total{reason="maintenance",zone="z1"} `)
	if _, err := fmt.Sscanf(rest, "%d\n", &n); err != nil {
		t.Fatal(err)
	}
	return n
}
