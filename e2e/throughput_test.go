//go:build e2e

package e2e_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// quickBackend is a Caddy that answers at once, so that the proxy is what is
// measured.
func quickBackend(t *testing.T) *proxy {
	t.Helper()
	return startProxy(t, site{handlers: "\n\trespond \"{}\" 200"})
}

// wideSite is firebreak with a pool so large that no limit binds.
func wideSite(backend *proxy) site {
	return site{pool: 10000, handlers: guard + fmt.Sprintf(`
	reverse_proxy %s {
		transport firebreak
	}`, backend.addr)}
}

// TestH2: h2load speaks HTTP/2 with many streams on few connections.
func TestH2(t *testing.T) {
	backend := quickBackend(t)
	s := wideSite(backend)
	s.servers = "\tservers {\n\t\tprotocols h1 h2c\n\t}"
	p := startProxy(t, s)
	var urls strings.Builder
	for z := range zones {
		for n := range 10 {
			fmt.Fprintf(&urls, "http://%s/search?key=%s\n", p.addr, storeName(z, n))
		}
	}
	list := filepath.Join(t.TempDir(), "urls")
	if err := os.WriteFile(list, []byte(urls.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("h2load", "-n", "20000", "-c", "4", "-m", "16", "-i", list).CombinedOutput()
	if err != nil {
		t.Fatalf("h2load: %v: %s", err, out)
	}
	for _, want := range []string{"Application protocol: h2c", "20000 succeeded", "status codes: 20000 2xx"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("h2load does not say %q:\n%s", want, out)
		}
	}
	figure(t, "h2load: %s", regexp.MustCompile(`finished in .*`).Find(out))
}

// everyStore makes wrk ask for stores of all zones in turn.
const everyStore = `
local n = 0
request = function()
  n = n + 1
  return wrk.format("GET", string.format("/search?key=s%02d%02d", n % 12 + 1, n % 100))
end
`

var wrkRate = regexp.MustCompile(`Requests/sec:\s+([0-9.]+)`)

// wrk returns the requests per second that p carries.
func wrk(t *testing.T, script string, p *proxy) float64 {
	t.Helper()
	out, err := exec.Command("wrk", "-t", "1", "-c", "32", "-d", "1s", "-s", script, "http://"+p.addr).CombinedOutput()
	found := wrkRate.FindSubmatch(out)
	if err != nil || found == nil || strings.Contains(string(out), "Non-2xx") {
		t.Fatalf("wrk: %v: %s", err, out)
	}
	rate, err := strconv.ParseFloat(string(found[1]), 64)
	if err != nil {
		t.Fatal(err)
	}
	return rate
}

// TestThroughput compares plain Caddy and firebreak in turns. It is a smoke
// test: make bench has the exact figures.
func TestThroughput(t *testing.T) {
	backend := quickBackend(t)
	plain := startProxy(t, site{handlers: "\n\treverse_proxy " + backend.addr})
	guarded := startProxy(t, wideSite(backend))
	script := filepath.Join(t.TempDir(), "stores.lua")
	if err := os.WriteFile(script, []byte(everyStore), 0o644); err != nil {
		t.Fatal(err)
	}
	var ratios []float64
	for range 3 {
		without := wrk(t, script, plain)
		with := wrk(t, script, guarded)
		ratios = append(ratios, with/without)
		figure(t, "plain %.0f req/s, firebreak %.0f req/s, ratio %.2f", without, with, with/without)
	}
	slices.Sort(ratios)
	figure(t, "median ratio %.2f", ratios[1])
	if ratios[1] < 0.7 {
		t.Errorf("firebreak carries %.2f of plain Caddy, want 0.7", ratios[1])
	}
}
