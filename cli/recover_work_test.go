package cli_test

import (
	"strings"
	"testing"
)

// TestRecoverWork takes a damaged store through the work list.
func TestRecoverWork(t *testing.T) {
	s := startSidecar(t)
	if out := s.must("recover", "work"); !strings.Contains(out, "the work list is empty") {
		t.Errorf("an empty list: %s", out)
	}
	s.must("maintenance", "on", "zone", "z7", "--reason", "disk full")
	if r := s.run("recover", "zone", "z7", "--watch", "--retries", "0"); r.code != 4 || !strings.Contains(r.out, "1 store: ") || !strings.Contains(r.out, " recover work") {
		t.Fatalf("recovery: exit code %d, %s%s", r.code, r.out, r.err)
	}
	r := s.run("recover", "work", "--zone", "z7", "--exit-code")
	fields := strings.Fields(strings.SplitN(r.out, "\n", 3)[1])
	if r.code != 4 || len(fields) < 3 || fields[1] != "z7" || fields[2] != "open" || !strings.Contains(r.out, "status 500: damaged") {
		t.Fatalf("the list: exit code %d, %s", r.code, r.out)
	}
	store := fields[0]
	for _, tt := range []struct {
		args string
		code int
		says string
	}{
		{"claim " + store, 0, "claimed by alice"},
		{"claim " + store + " --by bob", 3, "claimed by alice"},
		{"note " + store + " damaged-row", 0, "claimed by alice"},
		{"handover " + store + " --to bob --note yours", 0, "claimed by bob"},
		{"handover " + store, 0, "open"},
		{"done " + store + " --note restored", 0, "marked as done by alice"},
		{"claim nothing", 3, "is not on the work list"},
		{"note " + store, 1, "accepts 2 arg"},
	} {
		r := s.run(append([]string{"recover", "work"}, strings.Fields(tt.args)...)...)
		if r.code != tt.code || !strings.Contains(r.out+r.err, tt.says) {
			t.Errorf("%s: exit code %d and %q%q, want %d and something with %q", tt.args, r.code, r.out, r.err, tt.code, tt.says)
		}
	}
	out := s.must("recover", "work", "--csv")
	if !strings.HasPrefix(out, "store,zone,state,claimed_by") || !strings.Contains(out, store+",z7,") {
		t.Errorf("as CSV: %s", out)
	}
	if out := s.must("recover", "work"); !strings.Contains(out, "damaged-row") {
		t.Errorf("the notes: %s", out)
	}
}
