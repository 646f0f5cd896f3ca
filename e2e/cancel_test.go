//go:build e2e

package e2e_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/examples/outage/load"
)

// cancelQuery cancels as many queries as there may be.
const cancelQuery = "store_in comment\non_hung cancel_query {\nmethods GET HEAD POST\nper_minute 600\nmax_share 100%\n}"

// TestCancelQuery: 30 of 100 stores are locked by one session, and nobody kills workers.
// Their queries are cancelled once their clients were answered, and the workers are
// free; no query of another store is.
func TestCancelQuery(t *testing.T) {
	var ranks []int
	for i := range 30 {
		ranks = append(ranks, (i*storesPerZone+storesPerZone/2)/30)
	}
	pool := gunicorn(t, "WORKER_TIMEOUT=0", "CONNECT_EARLY=")
	p := startProxy(t, gunicornSite(pool, "}\nzone "+zoneName(sickZone)+" {\n"+asks(cancelQuery)))
	warm(t, p, "/search")
	before := len(world.databases[sickZone].logged(t))
	m := breakStores(t, pool, p, ranks, rate/2, 40*time.Second)
	m.tr.sleepUntil(m.brokeAt + 25*time.Second)
	m.tr.stop()
	stopped := time.Now()
	rs := due(m.tr.wait(t), m.brokeAt, m.brokeAt+23*time.Second)
	time.Sleep(time.Until(stopped.Add(timeout + 2*time.Second)))
	stuck := worstOf(m.pool.busy.between(m.broke, stopped), m.names)
	longest, lost := longestBusy(m.pool.busy.between(m.broke, time.Now()), m.names, timeout)
	left := worstOf(m.pool.busy.between(time.Now().Add(-200*time.Millisecond), time.Now()), m.names)
	m.release()
	var zone struct {
		Cancelled int `json:"cancelled"`
	}
	p.get(t, "/firebreak/zones/"+zoneName(sickZone), &zone)
	innocents := ofStores(inZone(rs, zoneName(sickZone)), m.culprits, false)
	figure(t, "%d queries cancelled; %d workers stuck at worst, %d of them beyond their deadline, and %d after the last one and 2 s; the longest for %.2f s, with a timeout of %s; innocents %.2f %% ok of %d; other zones %.3f %%",
		zone.Cancelled, stuck, lost, left, longest.Seconds(), timeout, load.OKPercent(innocents), len(innocents), load.OKPercent(notInZones(rs, zoneName(sickZone))))
	if zone.Cancelled == 0 || left > 0 {
		t.Errorf("%d queries were cancelled, and %d workers are stuck", zone.Cancelled, left)
	}
	if longest > timeout+2*time.Second {
		t.Errorf("a worker was stuck for %s, want %s at most", longest, timeout+2*time.Second)
	}
	for store := range m.w.quarantines(zoneName(sickZone), m.broke) {
		if !m.culprits[store] {
			t.Errorf("innocent store %s was in quarantine", store)
		}
	}
	cancelled := strings.Split(world.databases[sickZone].logged(t)[before:], "canceling statement due to user request")[1:]
	for _, after := range cancelled {
		_, after, _ = strings.Cut(after, "/*store='")
		if store, _, _ := strings.Cut(after, "'"); !m.culprits[store] {
			t.Errorf("a query of store %q was cancelled", store)
		}
	}
	if len(cancelled) != zone.Cancelled {
		t.Errorf("%d queries were cancelled, of which the database knows %d", zone.Cancelled, len(cancelled))
	}
}

// TestCancelQueryOfAFrozenDatabase: a database that does not answer cannot cancel
// anything, and nothing is worse for it.
func TestCancelQueryOfAFrozenDatabase(t *testing.T) {
	if !strict {
		t.Skip("half a minute; FIREBREAK_STRICT=1 runs it")
	}
	pool := gunicorn(t)
	p := startProxy(t, gunicornSite(pool, "}\nzone "+zoneName(sickZone)+" {\n"+asks(cancelQuery)))
	warm(t, p, "/search")
	f := outage{
		pool: pool, proxy: p, plan: everyday(p, "/search", 0), calm: 5 * time.Second, freeze: 20 * time.Second, heal: 8 * time.Second,
		whole: 2 * time.Second, opensIn: 3 * time.Second,
	}.play(t)
	figure(t, "frozen for 20 s: other zones %.3f %% ok, opened after %s, %d workers at worst, the zone's last bad request %s after the heal",
		load.OKPercent(f.during), ms(f.opened), f.worst, ms(f.lastBad))
	if load.OKPercent(f.during) < 99.9 || f.worst > frozenSoon || f.lastBad > 2*time.Second {
		t.Error("it is worse than without cancel_query")
	}
}

// longestBusy is for how long at a time one of the stores kept a worker busy, and how
// many did so beyond their deadline at the same time.
func longestBusy(samples []sample, stores []string, deadline time.Duration) (longest time.Duration, most int) {
	since := map[string]time.Time{}
	for _, s := range samples {
		lost := 0
		for _, store := range stores {
			began, busy := since[store]
			switch {
			case s.stores[store] == 0:
				delete(since, store)
			case !busy:
				since[store] = s.at
			default:
				longest = max(longest, s.at.Sub(began))
				if s.at.Sub(began) > deadline+100*time.Millisecond {
					lost++
				}
			}
		}
		most = max(most, lost)
	}
	return longest, most
}

// logged is what the database has logged.
func (d *database) logged(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(d.dir + ".log")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
