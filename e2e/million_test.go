//go:build e2e && million

package e2e_test

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/examples/outage/load"
)

// TestPostgresMillion prints what a million stores in a thousand zones cost:
// start, memory, and a reload under load. It is a part of make bench.
func TestPostgresMillion(t *testing.T) {
	db := startStoresDB(t)
	db.sql(t, `CREATE TABLE many AS SELECT 'store-' || lpad(n::text, 7, '0') AS store, 'zone-' || lpad((n % 1000)::text, 4, '0') AS zone
		FROM generate_series(0, 999999) n; CREATE UNIQUE INDEX ON many (store); CHECKPOINT`)
	s := answering("")
	s.source = fmt.Sprintf("postgres %q {\n\t\t\ttable many\n\t\t\tnotify many_changed\n\t\t}", db.dsn())
	s.handlers = strictly + "\n\trespond ok"
	p := newProxy(t, s, freeAddr(t), freeAddr(t))
	start := func(what string) {
		t.Helper()
		began := time.Now()
		p.start(t)
		eventually(t, 20*time.Second, "a store is known", func() bool {
			a, err := p.ask("store-0999999")
			return err == nil && a.status == http.StatusOK
		})
		figure(t, "%s: %.2f s until the first request of a store is answered", what, time.Since(began).Seconds())
	}
	start("a million stores from PostgreSQL")
	time.Sleep(5 * time.Second)
	figure(t, "%d MB resident, %d MB at most", memoryLine(t, p, "VmRSS"), memoryLine(t, p, "VmHWM"))
	tr := drive(t, load.Plan{Rate: rate, Duration: 14 * time.Second, Pick: func(n int) load.Target {
		return load.Target{URL: fmt.Sprintf("http://%s/?key=store-%07d", p.addr, n*7919%1_000_000)}
	}})
	tr.sleepUntil(5 * time.Second)
	db.sql(t, "UPDATE many SET zone = 'zone-0001' WHERE store = 'store-0000000'; NOTIFY many_changed")
	began := tr.now()
	eventually(t, 20*time.Second, "the store has moved", func() bool { return p.zoneOfStore(t, "store-0000000") == "zone-0001" })
	seen := tr.now()
	rs := tr.wait(t)
	before, during := due(rs, time.Second, began), due(rs, began, seen+2*time.Second)
	figure(t, "reload under load: %.2f s until the change is seen; p99 %s before, %s during; slowest %s and %s; %.3f %% ok of %d", (seen - began).Seconds(),
		ms(load.Percentile(before, 99)), ms(load.Percentile(during, 99)), ms(load.Percentile(before, 100)), ms(load.Percentile(during, 100)),
		load.OKPercent(rs), len(rs))
	figure(t, "%d MB resident, %d MB at most", memoryLine(t, p, "VmRSS"), memoryLine(t, p, "VmHWM"))
	wantOK(t, "a million stores", rs, 100)
	killGroup(p.cmd)
	db.kill()
	start("restarted from the snapshot, the database killed")
}

// memoryLine is a figure of /proc/PID/status in MB.
func memoryLine(t *testing.T, p *proxy, name string) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(text), name+":")
	var kb int
	if _, err := fmt.Sscan(after, &kb); err != nil {
		t.Fatal(err)
	}
	return kb / 1000
}
