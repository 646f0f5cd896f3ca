//go:build e2e

package e2e_test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/examples/outage/load"
)

// plainSite is Caddy as it comes in front of gunicorn.
func plainSite(p *pool) site {
	return site{handlers: "\n\treverse_proxy " + p.addr}
}

// TestBaselineIsHealthy: without a fault and without firebreak this machine
// carries the traffic of the other tests with room to spare.
func TestBaselineIsHealthy(t *testing.T) {
	p := startProxy(t, plainSite(gunicorn(t)))
	warm(t, p, "/search")
	busy := cpuBusy(t)
	rs := drive(t, everyday(p, "/search", 6*time.Second)).wait(t)
	figure(t, "plain Caddy, no fault, %d req/s: %.3f %% ok, p50 %s, p99 %s, CPU %.0f %% busy, requests left %s late (p99)",
		rate, load.OKPercent(rs), ms(load.Percentile(rs, 50)), ms(load.Percentile(rs, 99)), busy(), ms(load.Lag(rs, 99)))
	wantOK(t, "all", rs, 99.99)
}

// TestDominoWithoutFirebreak: one frozen zone takes the whole pool down. If it
// did not, the other tests would prove nothing.
func TestDominoWithoutFirebreak(t *testing.T) {
	pool := gunicorn(t)
	p := startProxy(t, plainSite(pool))
	warm(t, p, "/search")
	sick := world.databases[3]
	tr := drive(t, everyday(p, "/search", 12*time.Second))
	tr.sleepUntil(2 * time.Second)
	froze := time.Now()
	at := tr.now()
	sick.freeze()
	tr.sleepUntil(12 * time.Second)
	after, stuck := full(pool.busy.between(froze, time.Now()), froze)
	sick.heal()
	others := notInZones(tr.wait(t), sick.zone)
	if !stuck {
		t.Fatalf("the pool never filled up: %d workers at worst", worstTotal(pool.busy.between(froze, time.Now())))
	}
	late := due(others, at+after+time.Second, 12*time.Second)
	within2s := load.Filter(late, func(r load.Result) bool { return r.OK() && r.Latency < 2*time.Second })
	figure(t, "all %d workers stuck %.1f s after one zone froze; then %.0f %% of the requests of the other zones ok within 2 s",
		workers, after.Seconds(), 100*float64(len(within2s))/float64(len(late)))
	if after > 10*time.Second {
		t.Errorf("the pool filled up only after %s", after)
	}
}

// warm sends traffic until all is well: every worker has its connections, and
// whatever a cold start did to firebreak's view of the zones is over.
func warm(t *testing.T, p *proxy, path string) {
	t.Helper()
	var rs []load.Result
	for range 20 {
		rs = <-drive(t, everyday(p, path, 2*time.Second)).results
		if load.OKPercent(rs) == 100 && load.Percentile(rs, 99) < 100*time.Millisecond && p.calm(t) {
			return
		}
	}
	if load.OKPercent(rs) < 99 {
		t.Fatalf("not even well without a fault: p99 %s, %s", ms(load.Percentile(rs, 99)), bad(rs))
	}
	noisy.Store(t.Name(), true)
	figure(t, "NOISE: p99 is %s without a fault", ms(load.Percentile(rs, 99)))
}

// cpuBusy starts to measure, and returns what tells the share since then.
func cpuBusy(t *testing.T) func() float64 {
	t.Helper()
	total0, idle0 := cpuTicks(t)
	return func() float64 {
		total, idle := cpuTicks(t)
		return 100 * (1 - float64(idle-idle0)/float64(total-total0))
	}
}

func cpuTicks(t *testing.T) (total, idle int) {
	t.Helper()
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		t.Fatal(err)
	}
	line, _, _ := strings.Cut(string(text), "\n")
	for i, field := range strings.Fields(line)[1:] {
		n, err := strconv.Atoi(field)
		if err != nil {
			t.Fatal(fmt.Errorf("/proc/stat: %w", err))
		}
		total += n
		if i == 3 || i == 4 { // idle, iowait
			idle += n
		}
	}
	return total, idle
}
