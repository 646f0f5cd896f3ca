//go:build e2e

package e2e_test

import (
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/examples/outage/load"
)

// TestSurge: one customer sends a hundred times its usual traffic, and its
// searches are dear: alone they would keep ninety workers busy.
func TestSurge(t *testing.T) {
	pool := gunicorn(t)
	p := startProxy(t, gunicornSite(pool, ""))
	db, loud := world.databases[3], storeName(3, 8)
	db.setCost(t, loud, 300*time.Millisecond)
	t.Cleanup(func() { db.setCost(t, loud, 0) })
	warm(t, p, "/search")
	w, began := p.watch(t), time.Now()
	tr := drive(t, everyday(p, "/search", 20*time.Second))
	tr.sleepUntil(5 * time.Second)
	everyone := shoppers{proxy: p.addr, path: "/search"}
	surge := drive(t, load.Plan{
		Rate: 300, Duration: 12 * time.Second, Timeout: 10 * time.Second,
		Pick: func(int) load.Target { return everyone.target(3, 8, false) },
	})
	flood := surge.wait(t)
	samples := pool.busy.between(began, time.Now())
	rs := due(tr.wait(t), 5*time.Second, 17*time.Second)
	quiet := ofStores(inZone(rs, db.zone), map[string]bool{loud: true}, false)
	others := notInZones(rs, db.zone)
	figure(t, "other stores of the zone %.3f %% ok of %d (p99 %s), other zones %.3f %%; the loud store %.1f %% of %d; %d workers at worst",
		load.OKPercent(quiet), len(quiet), ms(load.Percentile(quiet, 99)), load.OKPercent(others),
		load.OKPercent(flood), len(flood), worst(samples, db.zone))
	wantOK(t, "other stores of the zone", quiet, 99)
	wantOK(t, "other zones", others, 99.99)
	open := w.everOpen(began)
	promise(t, len(open) == 0, false, "zones opened though nothing hung: %v", open)
}

// TestBursts: every page view sends six requests of one store at once, and the
// pool is a fifth busy. Nothing is wrong, so nothing is refused.
func TestBursts(t *testing.T) {
	pool := gunicorn(t)
	p := startProxy(t, gunicornSite(pool, ""))
	for _, d := range world.databases {
		d.setCost(t, "%", 20*time.Millisecond)
		t.Cleanup(func() { d.setCost(t, "%", 0) })
	}
	warm(t, p, "/search")
	plan := everyday(p, "/search", 15*time.Second)
	plan.Burst = 6
	began := time.Now()
	rs := drive(t, plan).wait(t)
	refused := load.Filter(rs, func(r load.Result) bool { return r.Refusal != "" })
	figure(t, "%d refused of %d; %.3f %% ok, p99 %s; %d workers at worst", len(refused), len(rs),
		load.OKPercent(rs), ms(load.Percentile(rs, 99)), worstTotal(pool.busy.between(began, time.Now())))
	promise(t, len(refused) == 0, len(refused)*100 < len(rs), "refused without a fault: %s", bad(refused))
	wantOK(t, "all", rs, 99.99)
}
