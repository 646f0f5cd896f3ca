package caddymodule_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/caddymodule"
	"github.com/firebreak-proxy/firebreak/incidents"
)

// incidentsOf asks for a page of incidents.
func (s *sidecar) incidentsOf(t *testing.T, query string) []incidents.Incident {
	t.Helper()
	resp, body := s.ask(t, "GET", "/firebreak/incidents"+query)
	var page struct{ Incidents []incidents.Incident }
	if err := json.Unmarshal([]byte(body), &page); err != nil || resp.StatusCode != 200 {
		t.Fatalf("%s: %v: %s", resp.Status, err, body)
	}
	return page.Incidents
}

// oneIncident is the only incident of a zone.
func (s *sidecar) oneIncident(t *testing.T, zone string) incidents.Incident {
	t.Helper()
	list := s.incidentsOf(t, "?zone="+zone)
	if len(list) != 1 {
		t.Fatalf("%d incidents of %s: %+v", len(list), zone, list)
	}
	return list[0]
}

// TestIncident: an episode, a reload in its middle, and its end are one record.
func TestIncident(t *testing.T) {
	s := startSidecar(t, smallApp, smallSite)
	guard := s.app(t).Guard()
	stuck := openZone(t, guard)
	hung := quarantine(t, guard, "z2", "e")
	eventually(t, "both zones have an incident", func() bool { return len(s.incidentsOf(t, "")) == 2 })
	if err := s.load(strings.Replace(smallApp, "max_inflight 4", "max_inflight 6", 1), smallSite); err != nil {
		t.Fatal(err)
	}
	going := s.incidentsOf(t, "?zone=z1")
	if len(going) != 1 || !going[0].Ongoing || going[0].Openings != 1 {
		t.Fatalf("after the reload: %+v", going)
	}
	// Switches of the incident keep it going; those set through the API are seen.
	if resp, body := s.send(t, "PUT", "/firebreak/maintenance/zones/z1", `{"reason": "damaged data", "by": "alice"}`); resp.StatusCode >= 300 {
		t.Fatal(resp.Status, body)
	}
	resp, body := s.get(t, "/search?key=a")
	if resp.Header.Get("Firebreak-Refusal") != "maintenance" {
		t.Fatal(resp.Status, body)
	}
	for _, slot := range append(stuck, hung...) {
		slot.End(breaker.OK)
	}
	guard.ResetZone("z1", "alice", "repaired")
	guard.ResetZone("z2", "alice", "")
	eventually(t, "the incident of z2 is over", func() bool { return !s.oneIncident(t, "z2").Ongoing })
	eventually(t, "maintenance counts", func() bool {
		return s.oneIncident(t, "z1").Refused["maintenance"] == 1
	})
	if !s.oneIncident(t, "z1").Ongoing {
		t.Error("the incident of z1 is over while its switch is in force")
	}
	if resp, body := s.ask(t, "DELETE", "/firebreak/maintenance/zones/z1"); resp.StatusCode >= 300 {
		t.Fatal(resp.Status, body)
	}
	eventually(t, "the incident of z1 is over", func() bool { return !s.oneIncident(t, "z1").Ongoing })
	s.checkIncident(t, going[0].ID)
	eventually(t, "both are on disk", func() bool { return len(s.records(t)) == 2 })
	id := going[0].ID
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := s.load(smallApp, smallSite); err != nil {
		t.Fatal(err)
	}
	if list := s.incidentsOf(t, ""); len(list) != 2 {
		t.Errorf("after a restart: %+v", list)
	}
	s.checkIncident(t, id)
}

// records are the files of incidents.
func (s *sidecar) records(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(caddy.AppDataDir(), "firebreak", "incidents", "*", "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// checkIncident asks for an incident in all its formats.
func (s *sidecar) checkIncident(t *testing.T, id string) {
	t.Helper()
	path := "/firebreak/incidents/" + id
	var i incidents.Incident
	_, body := s.ask(t, "GET", path)
	if err := json.Unmarshal([]byte(body), &i); err != nil || i.ID != id || len(i.Timeline) == 0 || i.Hung == 0 {
		t.Errorf("%v: %s", err, body)
	}
	if !strings.Contains(body, "zone z1 put into maintenance by alice: damaged data") || !strings.Contains(body, "maintenance of zone z1 is over") {
		t.Errorf("the switch is not in the timeline: %s", body)
	}
	for _, test := range []struct{ name, query, accept, media, want string }{
		{"markdown by query", "?format=markdown", "", "text/markdown", "# Zone z1, "},
		{"csv by query", "?format=csv", "text/markdown", "text/csv", "store,minutes_dark,zone,incident\n*,"},
		{"json by query", "?format=json", "text/csv", "application/json", `"id": "` + id},
		{"markdown by header", "", "text/html, text/markdown", "text/markdown", "## Timeline"},
		{"csv by header", "", "application/json;q=0.5, text/csv", "text/csv", "store,minutes_dark"},
		{"json by header", "", "application/json, text/csv;q=0.9", "application/json", `"timeline": [`},
		{"curl", "", "*/*", "application/json", `"timeline": [`},
		{"nothing that there is", "", "image/png", "application/json", `"timeline": [`},
	} {
		t.Run(test.name, func(t *testing.T) {
			resp, body := s.send(t, "GET", path+test.query, "", "Accept", test.accept)
			if media := resp.Header.Get("Content-Type"); !strings.HasPrefix(media, test.media) || !strings.Contains(body, test.want) {
				t.Errorf("%s: %s", media, body)
			}
		})
	}
}

func TestIncidentProblems(t *testing.T) {
	s := startSidecar(t, smallApp, smallSite)
	if list := s.incidentsOf(t, ""); list == nil || len(list) > 0 {
		t.Errorf("nothing has happened, and there is %v", list)
	}
	for path, want := range map[string]string{
		"/firebreak/incidents/nope":             "no incident",
		"/firebreak/incidents/..%2Fweb1":        "no incident",
		"/firebreak/incidents?limit=x":          "limit",
		"/firebreak/incidents?after=nope":       "begin anew",
		"/firebreak/incidents/nope?format=yaml": "unrecognized format 'yaml' (one of: csv, json, markdown)",
	} {
		if resp, body := s.ask(t, "GET", path); resp.StatusCode < 400 || !strings.Contains(body, want) {
			t.Errorf("%s: %s %s, want %s", path, resp.Status, body, want)
		}
	}
}

// TestIncidentsOff keeps nothing; turned on again it begins in the middle.
func TestIncidentsOff(t *testing.T) {
	s := startSidecar(t, smallApp+"\nincidents off", smallSite)
	openZone(t, s.app(t).Guard())
	if resp, body := s.ask(t, "GET", "/firebreak/incidents"); resp.StatusCode != 404 || !strings.Contains(body, "incidents off") {
		t.Errorf("%s %s", resp.Status, body)
	}
	if _, err := os.Stat(filepath.Join(caddy.AppDataDir(), "firebreak", "incidents")); err == nil {
		t.Error("a folder was made")
	}
	dir := filepath.Join(t.TempDir(), "elsewhere")
	if err := s.load(smallApp+"\ninstance web1\nincidents {\n\tkeep 7\n\tdir "+dir+"\n}", smallSite); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the record begins", func() bool { return len(s.incidentsOf(t, "")) == 1 })
	eventually(t, "it is on disk", func() bool {
		files, _ := filepath.Glob(filepath.Join(dir, "web1", "*-z1.json"))
		return len(files) == 1
	})
}

// TestValidateWritesNoIncidents: a configuration that is only looked at leaves
// no trace.
func TestValidateWritesNoIncidents(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", caddymodule.TempHome(t))
	t.Setenv("XDG_DATA_HOME", caddymodule.TempHome(t))
	dir := filepath.Join(t.TempDir(), "incidents")
	s := &sidecar{admin: freeAddress(t), site: freeAddress(t)}
	text, err := adapt(s.caddyfile(smallApp+"\nincidents {\n\tdir "+dir+"\n}", smallSite))
	if err != nil {
		t.Fatal(err)
	}
	var config caddy.Config
	if err := json.Unmarshal([]byte(text), &config); err != nil {
		t.Fatal(err)
	}
	if err := caddy.Validate(&config); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("validating made the folder of incidents")
	}
}

// TestIncidentsWithoutDisk: a disk that fails is told once and delays nothing.
func TestIncidentsWithoutDisk(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := startSidecar(t, smallApp, smallSite)
	log := loadLogged(t, s, smallApp+"\nincidents {\n\tdir "+file+"\n}", "")
	eventually(t, "it is logged", func() bool { return len(logLines(t, log, "incidents cannot be kept on disk")) == 1 })
	openZone(t, s.app(t).Guard())
	eventually(t, "the incident is in memory", func() bool { return len(s.incidentsOf(t, "")) == 1 })
	if _, body := s.ask(t, "GET", "/firebreak/incidents"); !strings.Contains(body, `"problem": "mkdir`) {
		t.Error(body)
	}
	if resp, body := s.get(t, "/search?key=e"); resp.StatusCode != 200 {
		t.Error(resp.Status, body)
	}
	if _, body := s.ask(t, "GET", "/metrics"); !strings.Contains(body, "caddy_firebreak_incident_write_failures_total 1") {
		t.Error("the metric does not say so")
	}
	time.Sleep(1200 * time.Millisecond)
	if n := len(logLines(t, log, "incidents cannot be kept on disk")); n != 1 {
		t.Errorf("logged %d times", n)
	}
}
