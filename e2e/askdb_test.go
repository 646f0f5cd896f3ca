//go:build e2e

package e2e_test

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/examples/outage/load"
)

// asks is the check of the zones' databases that asks about stores.
func asks(options string) string {
	return fmt.Sprintf("check postgres \"%s\" {\n%s\n}", world.databases[sickZone].dsn(), options)
}

const lockProbe = `store_probe "SELECT 1 FROM stores WHERE id = $1 FOR KEY SHARE"`

// TestDatabaseNamesCulprits: 30 of 100 stores, or another number of them, are locked
// by one session. The database names those that were asked for, and the session.
func TestDatabaseNamesCulprits(t *testing.T) {
	for _, test := range []struct {
		name, options string
		culprits      int
		most          int // workers lost
		ok            float64
	}{
		{"tags and probes", "store_in comment\n" + lockProbe, 30, 8, 99},
		{"probes", lockProbe, 30, 8, 99},
		{"tags", "store_in comment", 30, workers/2 + 2, 0}, // one more after ten seconds, and twenty
		{"1 of 100, tags and probes", "store_in comment\n" + lockProbe, 1, 8, 99},
		{"50 of 100, tags and probes", "store_in comment\n" + lockProbe, 50, 8, 99},
		{"50 of 100, tags", "store_in comment", 50, workers/2 + 2, 0},
	} {
		if test.name != "tags and probes" && test.name != "tags" && !strict {
			continue // "tags and probes" has both; each takes half a minute
		}
		t.Run(test.name, func(t *testing.T) { playNamed(t, test.options, test.culprits, test.most, test.ok) })
	}
}

func playNamed(t *testing.T, options string, culprits, most int, ok float64) {
	var ranks []int
	for i := range culprits {
		ranks = append(ranks, (i*storesPerZone+storesPerZone/2)/culprits)
	}
	pool := gunicorn(t, "WORKER_TIMEOUT=30", "CONNECT_EARLY=")
	p := startProxy(t, gunicornSite(pool, "}\nzone "+zoneName(sickZone)+" {\n"+asks(options)))
	warm(t, p, "/search")
	m := breakStores(t, pool, p, ranks, rate/2, 40*time.Second)
	m.tr.sleepUntil(m.brokeAt + 3*time.Second)
	var status struct {
		Blockers []struct {
			PID   int
			State string
			Query string
		} `json:"blockers"`
	}
	p.get(t, "/firebreak/zones/"+zoneName(sickZone), &status)
	if strings.Contains(options, "store_in") {
		if len(status.Blockers) == 0 || status.Blockers[0].State != "idle in transaction" || strings.Contains(status.Blockers[0].Query, storeName(sickZone, ranks[0])) {
			t.Errorf("the blockers are %+v", status.Blockers)
		} else {
			figure(t, "blocker: %+v", status.Blockers[0])
		}
	}
	m.tr.sleepUntil(m.brokeAt + 5*time.Second)
	after5 := len(m.quarantined())
	m.tr.sleepUntil(m.brokeAt + 25*time.Second)
	until := m.tr.now()
	stuck := worstOf(m.pool.busy.between(m.broke, time.Now()), m.names)
	m.tr.stop()
	m.release()
	rs := due(m.tr.wait(t), m.brokeAt, until-timeout)
	asked := map[string]bool{}
	for _, r := range due(rs, m.brokeAt, m.brokeAt+4*time.Second) {
		if m.culprits[r.Store] {
			asked[r.Store] = true
		}
	}
	innocents := ofStores(inZone(rs, zoneName(sickZone)), m.culprits, false)
	figure(t, "%d of %d in quarantine after 5 s (%d were asked for by 4 s), %d after 25 s; %d workers stuck; innocents %.2f %% ok of %d; other zones %.3f %%",
		after5, culprits, len(asked), len(m.quarantined()), stuck, load.OKPercent(innocents), len(innocents), load.OKPercent(notInZones(rs, zoneName(sickZone))))
	figure(t, "innocents by second: %s", bySecond(innocents, m.brokeAt))
	for store := range m.w.quarantines(zoneName(sickZone), m.broke) {
		if !m.culprits[store] {
			t.Errorf("innocent store %s was in quarantine", store)
		}
	}
	if stuck > most {
		t.Errorf("%d workers stuck, want at most %d", stuck, most)
	}
	if got := load.OKPercent(innocents); got < ok {
		t.Errorf("innocents %.2f %% ok, want %.1f", got, ok)
	}
	if ok > 0 && after5 < len(asked)*8/10 {
		t.Errorf("%d culprits in quarantine after 5 s, of %d that were asked for", after5, len(asked))
	}
}

// bySecond is in which seconds after a moment requests were not ok, and why.
func bySecond(rs []load.Result, from time.Duration) string {
	var b strings.Builder
	for s := range 20 {
		part := due(rs, from+time.Duration(s)*time.Second, from+time.Duration(s+1)*time.Second)
		reasons := map[string]int{}
		for _, r := range part {
			if !r.OK() {
				reasons[cmp.Or(r.Refusal, r.Err, strconv.Itoa(r.Status))]++
			}
		}
		if len(reasons) > 0 {
			fmt.Fprintf(&b, " %d s: %v of %d;", s, reasons, len(part))
		}
	}
	return cmp.Or(b.String(), "all ok")
}

// TestDatabaseAFewOfMany: 12 of 1,000 stores of a zone are locked by one session. They
// are named, and the others notice nothing.
func TestDatabaseAFewOfMany(t *testing.T) {
	for _, test := range []struct {
		name, options string
		most          int // workers lost
	}{
		{"tags and probes", "store_in comment\n" + lockProbe, 8},
		{"tags", "store_in comment", 12},
	} {
		if test.name == "tags and probes" && !strict {
			continue // 25 s each
		}
		t.Run(test.name, func(t *testing.T) { playFewOfMany(t, test.options, test.most) })
	}
}

// perSecondOfMany is how many requests a second the zone of 1,000 stores gets. They come
// for each of its stores in turn: none is quarantined that is not asked for.
const perSecondOfMany = 150

func playFewOfMany(t *testing.T, options string, most int) {
	db := world.databases[recoveredZone]
	check := fmt.Sprintf("}\nzone %s {\ncheck postgres \"%s\" {\n%s\n}", zoneName(recoveredZone), db.dsn(), options)
	w := startWard(t, check, 30*time.Second)
	culprits, names := map[string]bool{}, []string(nil)
	for i := range 12 {
		names = append(names, recoveredStore(17+i*83))
		culprits[recoveredStore(17+i*83)] = true
	}
	plan := everyday(w.proxy, "/search", 40*time.Second)
	plan.Rate = perSecondOfMany * 4 / 3
	plan.Pick = func(n int) load.Target {
		if n%4 == 3 {
			return shoppers{proxy: w.proxy.addr, path: "/search"}.target(n/4%3, n/12%storesPerZone, false)
		}
		name := recoveredStore((n - n/4) * 383 % recoveredStores)
		return load.Target{Zone: w.zone, Store: name, URL: "http://" + w.proxy.addr + "/search?key=" + name}
	}
	seen := w.proxy.watch(t)
	tr := drive(t, plan)
	tr.sleepUntil(8 * time.Second) // each store was asked for once
	broke, brokeAt := time.Now(), tr.now()
	release := db.lockRows(t, names...)
	tr.sleepUntil(brokeAt + 12*time.Second)
	until := tr.now()
	stuck := worstOf(w.pool.busy.between(broke, time.Now()), names)
	tr.stop()
	release()
	rs := tr.wait(t)
	sick := inZone(rs, w.zone)
	calm := due(sick, time.Second, brokeAt)
	innocents := ofStores(due(sick, brokeAt, until-timeout), culprits, false)
	first := map[string]time.Duration{} // when a culprit was asked for first
	for _, r := range ofStores(due(sick, brokeAt, until), culprits, true) {
		if at, ok := first[r.Store]; !ok || r.At < at {
			first[r.Store] = r.At
		}
	}
	named, latest, slowest := 0, time.Duration(0), time.Duration(0)
	for store, q := range seen.quarantines(w.zone, broke) {
		if !culprits[store] {
			t.Errorf("innocent store %s was in quarantine", store)
			continue
		}
		named++
		latest = max(latest, q.first)
		slowest = max(slowest, q.first-(first[store]-brokeAt))
	}
	figure(t, "12 of %d stores locked, %d of them asked for: %d named, the last after %.1f s, each within %.1f s of its first request; %d workers stuck at worst",
		recoveredStores, len(first), named, latest.Seconds(), slowest.Seconds(), stuck)
	figure(t, "innocents %.3f %% ok of %d (before %.3f %%), p99 %s (before %s); other zones %.3f %%; by second: %s",
		load.OKPercent(innocents), len(innocents), load.OKPercent(calm), ms(load.Percentile(innocents, 99)), ms(load.Percentile(calm, 99)),
		load.OKPercent(notInZones(due(rs, brokeAt, until-timeout), w.zone)), bySecond(innocents, brokeAt))
	if named < len(first) || len(first) < 12 {
		t.Errorf("%d of 12 named, %d were asked for", named, len(first))
	}
	if stuck > most {
		t.Errorf("%d workers stuck, want at most %d", stuck, most)
	}
	wantOK(t, "innocents", innocents, 99.5)
	promise(t, latest <= 10*time.Second, latest <= 12*time.Second, "the last was named after %s", latest)
}

// TestDatabaseCannotBeAsked: refused, full, frozen, or with an answer that is too
// large: a warning, and the zone is guarded as without it.
func TestDatabaseCannotBeAsked(t *testing.T) {
	db := world.databases[sickZone]
	run := func(statement string) {
		if out, err := db.psql("-c", statement).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", statement, err, out)
		}
	}
	run("CREATE ROLE small LOGIN CONNECTION LIMIT 0; CREATE ROLE blind LOGIN")
	t.Cleanup(func() { _ = db.psql("-c", "DROP ROLE small; DROP ROLE blind").Run() })
	for _, test := range []struct {
		name, dsn, options, want string
		always                   bool
	}{
		{"no role", "user=nobody_there", "store_in comment", "nobody_there", true},
		{"no connection", "user=small", "store_in comment", "too many connections", false},
		{"blind", "user=blind", "store_in comment", "pg_read_all_stats", false},
		{"no privilege", "user=blind", lockProbe, "permission denied", false},
		{"many rows", "", `store_probe "SELECT $1, repeat('x', 1000), generate_series(1, 100000000)"`, "too large", true},
	} {
		if !test.always && !strict {
			continue // 20 s each
		}
		t.Run(test.name, func(t *testing.T) {
			pool := gunicorn(t)
			dsn := db.dsn() + " " + test.dsn
			check := fmt.Sprintf("check postgres \"%s\" {\n%s\n}", dsn, test.options)
			p := startProxy(t, gunicornSite(pool, "}\nzone "+zoneName(sickZone)+" {\n"+check))
			warm(t, p, "/search")
			m := breakStores(t, pool, p, []int{1, 20}, rate/2, 20*time.Second)
			var said string
			for m.tr.now() < m.brokeAt+10*time.Second && !strings.Contains(said, test.want) {
				var status struct {
					Trouble string `json:"database_trouble"`
				}
				p.get(t, "/firebreak/zones/"+zoneName(sickZone), &status)
				said = status.Trouble
				time.Sleep(20 * time.Millisecond)
			}
			if !strings.Contains(said, test.want) {
				t.Errorf("the trouble is %q, want %q", said, test.want)
			}
			m.tr.sleepUntil(m.brokeAt + 10*time.Second)
			memory, _ := memory(t, []*proxy{p})
			m.tr.stop()
			m.release()
			rs := due(m.tr.wait(t), m.brokeAt, m.brokeAt+8*time.Second)
			innocents := ofStores(inZone(rs, zoneName(sickZone)), m.culprits, false)
			figure(t, "%d of 2 in quarantine, innocents %.2f %% ok, %d MB: %s", len(m.quarantined()), load.OKPercent(innocents), memory>>20, said)
			if len(m.quarantined()) != 2 || load.OKPercent(innocents) < 98 || memory > 300<<20 {
				t.Error("the zone is not guarded as without the question")
			}
		})
	}
}
