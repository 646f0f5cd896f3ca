package cli_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSize runs the examples of the help: what is suggested must be a Caddyfile
// that the same program takes.
func TestSize(t *testing.T) {
	for args, wants := range map[string][]string{
		"--workers 32 --zones 12 --rate 300 --p99 400ms --kill-after 30s":                                      {"without firebreak every worker is stuck after", "timeout 2s", "guessed; say it with --p50"},
		"--cores 8 --workers-per-core 4 --zones 12 --rate 300 --p50 20ms --p99 400ms":                          {"of 32 workers are busy", "nothing replaces a stuck worker"},
		"--workers 32 --zones 12 --rate 300 --p99 400ms --kill-after 10m":                                      {"hung_hold 13m20s"},
		"--workers 2 --zones 3 --rate 5 --p99 100ms":                                                           {"workers 2"},
		"--workers 1 --zones 1 --rate 0.1 --p99 10ms":                                                          {"one zone only"},
		"--workers 32 --zones 12 --rate 300 --p99 12s":                                                         {"too small for its load"},
		"--workers 32 --zones 12 --rate 300 --p99 400ms --max-inflight 3":                                      {"less than the busiest zone needs"},
		"--workers 400 --zones 40 --rate 9000 --p50 8ms --p99 90ms --burst 20 --kill-after 60s --busiest 10":   {"workers 400", "hung_hold 1m20s"},
		"--workers 32 --zones 12 --rate 300 --p99 400ms --zone-timeout 4s --slow-after 500ms --max-wait 250ms": {"timeout 4s", "slow_after 500ms", "max_wait 250ms"},
		"--servers 4 --workers-per-server 8 --zones 12 --rate 300 --p50 20ms --p99 400ms":                      {"if one of 4 servers freezes", "about 5 requests are lost; it is avoided after", "the 24 workers of the others are busy for 57 %", "workers 8 per_server"},
		"--servers 2 --workers 32 --zones 12 --rate 320 --p50 20ms --p99 400ms":                                {"with one server frozen, or restarted, the 16 workers of the others would be busy for 9"},
		"--workers 32 --zones 12 --rate 300 --p99 400ms --zone-timeout 4s --window 20s --burst 100":            {"window 20s"},
	} {
		t.Run(args, func(t *testing.T) {
			dir := t.TempDir()
			r := runProgram(t, dir, "", append([]string{"size"}, strings.Fields(args)...)...)
			if r.code != 0 || r.err != "" {
				t.Fatalf("exit code %d, %s", r.code, r.err)
			}
			for _, want := range wants {
				if !strings.Contains(r.out, want) {
					t.Errorf("no %q in\n%s", want, r.out)
				}
			}
			_, block, found := strings.Cut(r.out, "\n{\n")
			if !found {
				t.Fatalf("no Caddyfile in\n%s", r.out)
			}
			wantAdapted(t, dir, "{\n"+block)
		})
	}
}

// wantAdapted lets the program adapt and validate a Caddyfile.
func wantAdapted(t *testing.T, dir, block string) {
	t.Helper()
	site := "\n:8080 {\n\tfirebreak {\n\t\tkey query key\n\t}\n\treverse_proxy localhost:9000 {\n\t\ttransport firebreak\n\t}\n}\n"
	if err := os.WriteFile(filepath.Join(dir, "Caddyfile"), []byte(block+site), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "stores.csv"), []byte("store,zone\na,z1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := runProgram(t, dir, "", "adapt", "--validate"); r.code != 0 {
		t.Errorf("the suggestion does not adapt: %s\n%s", r.err, block)
	}
}

func TestSizeErrors(t *testing.T) {
	for args, want := range map[string]string{
		"":                         "--workers 32",
		"--workers 32":             "--zones 12",
		"--workers 32 --zones 12":  "--rate 300",
		"--workers 8 --cores 2":    "either --workers, or --cores",
		"--workers -3 --zones 12":  "--workers -3: it must not be negative",
		"--workers 4 --zone 12":    "unknown flag: --zone",
		"--from localhost:1 --p9":  "unknown flag: --p9",
		"--workers 8 --zones x":    "invalid argument",
		"--from nowhere.invalid:1": "cannot be reached",
	} {
		r := runProgram(t, t.TempDir(), "", append([]string{"size"}, strings.Fields(args)...)...)
		if r.code == 0 || !strings.Contains(r.err, want) {
			t.Errorf("size %s: exit code %d, %q, want %q", args, r.code, r.err, want)
		}
	}
}

func TestSizeJSON(t *testing.T) {
	r := runProgram(t, t.TempDir(), "", strings.Fields("size --json --workers 32 --zones 12 --rate 300 --p50 20ms --p99 400ms --kill-after 30s")...)
	var got struct {
		MaxInflight int      `json:"max_inflight"`
		Worst       int      `json:"worst_occupied"`
		Warnings    []string `json:"warnings"`
		Caddyfile   string   `json:"caddyfile"`
	}
	if err := json.Unmarshal([]byte(r.out), &got); err != nil || got.MaxInflight != 0 || got.Worst != 13 || got.Warnings == nil || strings.Contains(got.Caddyfile, "max_inflight") || !strings.Contains(got.Caddyfile, "slow_after 1.5s") {
		t.Errorf("%v, %s", err, r.out)
	}
}

// TestSizeFromARunningSidecar measures one that serves a little traffic.
func TestSizeFromARunningSidecar(t *testing.T) {
	s := startSidecar(t)
	asked := func(r result) bool { return strings.Contains(r.err, "too few to go by") }
	if r := runProgram(t, s.dir, "", "size", "--from", s.address, "--sample", "50ms"); r.code != 1 || !asked(r) {
		t.Errorf("without traffic: exit code %d, %q", r.code, r.err)
	}
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			if resp, err := http.Get(fmt.Sprintf("http://%s/?key=a%d", s.site, n%3+1)); err == nil {
				_, _ = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
		}
	}()
	r := runProgram(t, s.dir, "", "size", "--json", "--from", s.address, "--sample", "1s", "--kill-after", "30s")
	close(stop)
	<-done
	var got struct {
		Workers, Zones int
		Rate           float64
		Timeout        string
		MaxInflight    int `json:"max_inflight"`
	}
	if err := json.Unmarshal([]byte(r.out), &got); err != nil {
		t.Fatalf("%v: %s %s", err, r.out, r.err)
	}
	if got.Workers != 32 || got.Zones != 12 || got.Rate < 50 || got.Timeout != "5s" || got.MaxInflight != 0 {
		t.Errorf("%+v", got)
	}
}
