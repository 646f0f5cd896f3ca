package cli_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
)

var recoveryID = regexp.MustCompile(`\d{8}-\d{6}-[a-z0-9]{4}`)

// TestRecover brings a zone back of which one store is damaged.
func TestRecover(t *testing.T) {
	s := startSidecar(t)
	s.must("maintenance", "on", "zone", "z7", "--reason", "disk full")
	r := s.run("recover", "zone", "z7", "--dry-run", "--watch")
	if r.code != 4 || !strings.Contains(r.out, "1 passed, 1 failing, 0 remaining, of 2") {
		t.Errorf("dry run: exit code %d, %s%s", r.code, r.out, r.err)
	}
	r = s.run("recover", "zone", "z7", "--watch", "--reason", "repaired")
	for _, want := range []string{"of zone z7: done", "1 released, 1 failing, 0 remaining, of 2", "status 500: damaged", "alice", "repaired"} {
		if !strings.Contains(r.out, want) {
			t.Errorf("no %q in %s", want, r.out)
		}
	}
	if r.code != 4 || !strings.Contains(r.err, "of 2") {
		t.Errorf("exit code %d, progress %q", r.code, r.err)
	}
	if out := s.must("store", "a7"); strings.Contains(out, "disk full") {
		t.Errorf("store a7 is in maintenance still: %s", out)
	}
	out := s.must("recover", "list")
	if !strings.Contains(out, "zone z7 (dry run)") || !strings.Contains(out, "repaired") {
		t.Errorf("list: %s", out)
	}
	id := recoveryID.FindString(out)
	if r := s.run("recover", "show", id, "--exit-code"); r.code != 4 || !strings.Contains(r.out, "status 500: damaged") {
		t.Errorf("show: exit code %d, %s%s", r.code, r.out, r.err)
	}
	if r := s.run("recover", "resume", id); r.code != 3 || !strings.Contains(r.err, "is done") {
		t.Errorf("resume of what is done: exit code %d, %s", r.code, r.err)
	}
}

func TestRecoverSteered(t *testing.T) {
	s := startSidecar(t)
	var list strings.Builder
	for n := range 500 {
		fmt.Fprintf(&list, "s%05d\n", n)
	}
	r := s.runWith(list.String(), "maintenance", "on", "store", "--stores-file", "-", "--yes")
	if r.code != 0 {
		t.Fatal(r)
	}
	r = s.runWith(list.String(), "recover", "--stores-file", "-", "--every", "1h", "--parallel", "8")
	id := recoveryID.FindString(r.out)
	if r.code != 0 || id == "" || !strings.Contains(r.out, "500 stores, each must pass 2 checks in a row, 1h0m0s apart, 8 at a time") {
		t.Fatalf("begun: exit code %d, %s%s", r.code, r.out, r.err)
	}
	if out := s.must("recover", "pause", id, "--reason", "lunch"); !strings.Contains(out, "is paused") {
		t.Errorf("pause: %s", out)
	}
	if r := s.run("recover", "show", id, "--watch"); r.code != 4 || !strings.Contains(r.out, "paused by alice: lunch") {
		t.Errorf("watching what is paused: exit code %d, %s", r.code, r.out)
	}
	s.must("recover", "resume", id)
	var v struct{ State string }
	if err := json.Unmarshal([]byte(s.must("recover", "cancel", id, "--json")), &v); err != nil || v.State != "cancelled" {
		t.Errorf("cancel: %+v, %v", v, err)
	}
	for _, tt := range []struct {
		args string
		code int
		says string
	}{
		{"recover", 1, "it names nothing"},
		{"recover zone", 1, "one zone at a time"},
		{"recover z7", 1, `"z7" is neither zone nor store`},
		{"recover zone z77", 3, "did you mean z7?"},
		{"recover zone z8", 3, "none of 2 stores is in maintenance"},
		{"recover store nobody", 3, "nobody"},
		{"recover zone z7 --times 0", 1, "--times must be at least 1"},
		{"recover zone z7 --every -1s", 1, "--every must not be negative"},
		{"recover show nothing", 3, `no recovery "nothing"`},
		{"recover show", 1, "accepts 1 arg"},
	} {
		if r := s.run(strings.Fields(tt.args)...); r.code != tt.code || !strings.Contains(r.err, tt.says) {
			t.Errorf("%s: exit code %d and %q, want %d and something with %q", tt.args, r.code, r.err, tt.code, tt.says)
		}
	}
}
