package cli_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// TestDoctor asks a running sidecar, without traffic and with some that misses a zone.
func TestDoctor(t *testing.T) {
	s := startSidecar(t)
	if r := s.run("doctor"); r.code != 0 || !strings.Contains(r.out, "no findings") {
		t.Fatalf("a fresh sidecar: exit code %d, %s%s", r.code, r.out, r.err)
	}
	for n := range 1500 {
		resp, err := http.Get(fmt.Sprintf("http://%s/?key=a%d", s.site, n%11+1))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	r := s.run("doctor")
	if r.code != 4 || !strings.Contains(r.out, "1. zones: no request for 1 zone: z12;") || !strings.Contains(r.out, "explain URL") {
		t.Errorf("exit code %d, %s%s", r.code, r.out, r.err)
	}
	r = s.run("doctor", "--json")
	var got struct {
		Requests float64
		Seconds  float64
		Findings []struct{ Check, Finding, Write string }
	}
	if err := json.Unmarshal([]byte(r.out), &got); err != nil || r.code != 4 || got.Requests != 1500 || got.Seconds <= 0 || len(got.Findings) != 1 || got.Findings[0].Check != "zones" || got.Findings[0].Write == "" {
		t.Errorf("%v, exit code %d, %s", err, r.code, r.out)
	}
	if r := s.run("doctor", "--sample", "50ms"); r.code != 0 || !strings.Contains(r.err, "measuring") {
		t.Errorf("a sample without traffic: exit code %d, %s%s", r.code, r.out, r.err)
	}
}
