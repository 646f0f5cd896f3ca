package cli_test

import (
	"encoding/csv"
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"time"
)

var incidentID = regexp.MustCompile(`\d{8}-\d{6}-z3`)

// TestIncidents: what an evening leaves behind.
func TestIncidents(t *testing.T) {
	s := startSidecar(t)
	if out := s.must("incidents"); out != "no incidents\n" {
		t.Errorf("nothing has happened, and it says %q", out)
	}
	if r := s.run("incident", "latest"); r.code != 3 || !strings.Contains(r.err, "there are no incidents yet") {
		t.Errorf("the latest of none: %+v", r)
	}
	s.must("isolate", "zone", "z3", "--reason", "disk-swap", "--yes")
	s.wait(func() bool { return strings.Contains(s.must("incidents"), "ongoing") })
	s.must("auto", "zone", "z3", "--yes")
	s.wait(func() bool { return !strings.Contains(s.must("incidents"), "ongoing") })
	list := s.must("incidents", "--zone", "z3")
	id := incidentID.FindString(list)
	if id == "" || !strings.HasPrefix(list, "ID") {
		t.Fatalf("the list: %s", list)
	}
	if out := s.must("incidents", "--zone", "z4"); out != "no incidents\n" {
		t.Errorf("of another zone: %q", out)
	}
	for _, args := range []string{"incident latest", "incident " + id, "incidents show latest"} {
		out := s.must(strings.Fields(args)...)
		for _, want := range []string{"incident of zone z3 is over", "isolated by hand by alice: disk-swap", "zone is handed back to its breaker", "--markdown"} {
			if !strings.Contains(out, want) {
				t.Errorf("%s does not say %q:\n%s", args, want, out)
			}
		}
	}
	if out := s.must("incident", "latest", "--markdown"); !strings.HasPrefix(out, "# Zone z3, ") {
		t.Errorf("markdown: %s", out)
	}
	rows, err := csv.NewReader(strings.NewReader(s.must("incident", id, "--csv"))).ReadAll()
	if err != nil || len(rows) != 2 || rows[1][0] != "*" || rows[1][3] != id {
		t.Errorf("csv: %v %q", err, rows)
	}
	for _, args := range []string{"incidents --json", "incident latest --json"} {
		if out := s.must(strings.Fields(args)...); !json.Valid([]byte(out)) || !strings.Contains(out, id) {
			t.Errorf("%s: %s", args, out)
		}
	}
	for args, want := range map[string]string{
		"incident nope": "no incident", "incident latest --csv --markdown": "give one of", "incident latest --json --csv": "give one of", "incidents --limit 0": "limit",
	} {
		if r := s.run(strings.Fields(args)...); r.code == 0 || !strings.Contains(r.err, want) || r.out != "" {
			t.Errorf("%s: %+v", args, r)
		}
	}
	for _, args := range []string{"incident", "incidents show"} {
		words := append([]string{"__complete"}, strings.Fields(args)...)
		if r := runProgram(t, s.dir, "", append(words, "--address", s.address, "")...); !strings.Contains(r.out, "latest\n"+id) {
			t.Errorf("completing %s: %+v", args, r)
		}
		if r := runProgram(t, t.TempDir(), "", append(strings.Fields(args), "--help")...); r.code != 0 || !strings.Contains(r.out, "Examples:\n  firebreak "+args+" latest") {
			t.Errorf("%s --help: %s", args, r.out)
		}
	}
}

func (s *sidecar) wait(ok func() bool) {
	s.t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatal("not within 10 s")
		}
	}
}
