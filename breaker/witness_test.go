package breaker_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/config"
)

// asking is settings with a zone check that asks about stores.
func asking(probe string) config.App {
	app := twoSeconds()
	app.Zones[0].Check = &config.Check{Protocol: "postgres", Address: "postgres://db/shop", StoreIn: []string{"comment"}, StoreProbe: probe}
	return app
}

const probeStatement = "SELECT 1 FROM stores WHERE id = $1"

// newAskingPool is a pool whose zones' databases are asked.
func newAskingPool(t *testing.T, app config.App, ask breaker.AskFunc) *pool {
	t.Helper()
	p := newPool(t, app)
	policy := p.guard.Policy()
	p.guard.Close()
	p.guard = breaker.New(policy, breaker.Options{Check: p.check, Ask: ask})
	names := make([]string, 12)
	for i := range names {
		names[i] = fmt.Sprintf("z%d", i+1)
	}
	p.guard.Apply(policy, names)
	return p
}

// probes tries stores six at a time, as zonecheck does: one whose rows are locked fails
// after 250 ms.
func (p *pool) probes(ctx context.Context, zone string, _ *config.Check, q *breaker.Inquiry, report func(breaker.Findings)) error {
	if q.Calm {
		return nil
	}
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			for ctx.Err() == nil {
				store, ok := q.Next()
				if !ok {
					return
				}
				if store == "" {
					time.Sleep(10 * time.Millisecond)
					continue
				}
				p.mu.Lock()
				locked := p.healed[zone+"/"+store] != nil
				p.mu.Unlock()
				took, v := 2*time.Millisecond, breaker.Passed
				if locked {
					took, v = 250*time.Millisecond, breaker.Failed
				}
				time.Sleep(took)
				report(breaker.Findings{Tried: store, Verdict: v})
			}
		})
	}
	wg.Wait()
	return nil
}

// TestProbesOfAFewOfMany: 12 of 1,000 stores hang, and each store is asked for once in
// seven seconds. The others do not wait for the probes of those that hang.
func TestProbesOfAFewOfMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p *pool
		p = newAskingPool(t, asking(probeStatement), func(ctx context.Context, zone string, c *config.Check, q *breaker.Inquiry, report func(breaker.Findings)) error {
			return p.probes(ctx, zone, c, q, report)
		})
		defer p.close()
		each := func(i int) (zone, store string) { return "z7", fmt.Sprintf("s%d", i*383%1000) }
		p.load(8*time.Second, 150, each)
		culprits := make(map[string]bool)
		for i := range 12 {
			name := fmt.Sprintf("s%d", 17+i*83)
			culprits[name] = true
			p.freeze("z7/" + name)
		}
		began := time.Now()
		p.load(20*time.Second, 150, each)
		innocent := func(r result) bool { return !culprits[r.store] }
		if got := okPercent(p, began, innocent); got < 100 {
			t.Errorf("innocent stores: %.2f %% ok, want all", got)
		}
		if got := percentile(p, began, .99, innocent); got > 100*time.Millisecond {
			t.Errorf("p99 of innocent stores %s, want 100 ms at most", got)
		}
		for _, c := range p.guard.Culprits("z7") {
			if !culprits[c.Store] {
				t.Errorf("innocent store %s is named: %s", c.Store, c.Evidence)
			}
		}
		t.Logf("p95 %s, p99 %s, p99.9 %s", percentile(p, began, .95, innocent), percentile(p, began, .99, innocent), percentile(p, began, .999, innocent))
	})
}

// TestProbesFindManyCulprits: 30 of 100 stores hang. Their probes find them, at the
// cost of a few workers, and the others are served.
func TestProbesFindManyCulprits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p *pool
		p = newAskingPool(t, asking(probeStatement), func(ctx context.Context, zone string, c *config.Check, q *breaker.Inquiry, report func(breaker.Findings)) error {
			return p.probes(ctx, zone, c, q, report)
		})
		defer p.close()
		half := func(i int) (zone, store string) {
			if i%2 == 0 {
				return "z7", fmt.Sprintf("s%d", i/2*37%100)
			}
			return allZones(i)
		}
		p.load(10*time.Second, 150, half)
		culprits := make(map[string]bool)
		for i := range 30 {
			name := fmt.Sprintf("s%d", (i*100+50)/30)
			culprits[name] = true
			p.freeze("z7/" + name)
		}
		began := time.Now()
		p.load(5*time.Second, 150, half)
		found := 0
		for _, c := range p.guard.Culprits("z7") {
			if !culprits[c.Store] {
				t.Errorf("innocent store %s is named: %s", c.Store, c.Evidence)
			}
			found++
		}
		if found != len(culprits) {
			t.Errorf("%d of %d culprits are named after 5 s", found, len(culprits))
		}
		p.load(40*time.Second, 150, half)
		innocent := func(r result) bool { return r.zone == "z7" && !culprits[r.store] }
		if got := okPercent(p, began, innocent); got < 99.5 {
			t.Errorf("innocent stores: %.2f %% ok, want 99.5", got)
		}
		stuck := 0
		for s := range culprits {
			stuck += p.guard.Store("z7", s).Hung
		}
		if stuck > 7 {
			t.Errorf("%d workers are stuck, want at most 7", stuck)
		}
		t.Logf("innocents %.2f %%, %d workers stuck", okPercent(p, began, innocent), stuck)
		for s := range culprits {
			p.heal("z7/" + s)
		}
		p.load(5*time.Second, 150, half)
		healed := time.Now()
		p.load(5*time.Second, 150, half)
		if got := okPercent(p, healed, zoneOf("z7")); got < 100 {
			t.Errorf("5 s after the heal %.2f %% ok: %+v", got, p.state("z7"))
		}
	})
}

// finds is an AskFunc that reports what it is set to.
type finds struct {
	mu    sync.Mutex
	f     breaker.Findings
	err   error
	asked int
	calm  int
}

func (f *finds) set(found breaker.Findings) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.f = found
}

func (f *finds) ask(_ context.Context, zone string, _ *config.Check, q *breaker.Inquiry, report func(breaker.Findings)) error {
	if zone != "z7" {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked++
	if q.Calm {
		f.calm++
		return f.err
	}
	if f.err == nil {
		report(f.f)
	}
	return f.err
}

func hangs(store string, since time.Duration, blocked bool) breaker.HangingQuery {
	return breaker.HangingQuery{Store: store, For: since, Blocked: blocked, Blocker: 4711}
}

var blocker = breaker.Blocker{PID: 4711, State: "idle in transaction", Age: 12, Query: "UPDATE stores SET v = ?", Blocks: 3}

// TestDatabaseConfirmsCulprit: one worker and the word of the database are enough.
// Queries of stores that firebreak has no request of, that are older than the
// request, or that merely run, name no store.
func TestDatabaseConfirmsCulprit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f finds
		p := newAskingPool(t, asking(""), f.ask)
		defer p.close()
		p.load(5*time.Second, 120, allZones)
		for _, name := range []string{"s1", "s2", "s3"} {
			p.freeze("z7/" + name)
			p.send("z7", name)
		}
		for i := range 12 {
			since := time.Duration(i) * 100 * time.Millisecond
			f.set(breaker.Findings{Listed: true, Blockers: []breaker.Blocker{blocker}, Hanging: []breaker.HangingQuery{
				hangs("s1", since, true),
				hangs("s2", since, false),
				hangs("s3", 30*time.Second+since, true), // a report of its own
				hangs("s9", since, true),                // no request of it
			}})
			p.send("z7", fmt.Sprint("well", i))
			time.Sleep(100 * time.Millisecond)
		}
		p.send("z7", "s1")
		z := p.state("z7")
		if len(z.Quarantined) != 1 || z.Quarantined[0] != "s1" {
			t.Errorf("in quarantine: %v, want s1 alone", z.Quarantined)
		}
		if s := p.guard.Store("z7", "s1"); !strings.Contains(s.Evidence, "process 4711 (idle in transaction, for 12s: UPDATE stores SET v = ?)") || s.Live+s.Hung != 1 {
			t.Errorf("s1 is %+v", s)
		}
		if len(z.Blockers) != 1 {
			t.Errorf("the status names no blocker: %+v", z)
		}
	})
}

// TestDatabaseAloneOpensNothing: whatever the database says, a zone that is answered
// stays as it is, and what it said counts for seconds only.
func TestDatabaseAloneOpensNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f finds
		p := newAskingPool(t, asking(""), f.ask)
		defer p.close()
		var all []breaker.HangingQuery
		for i := range 100 {
			all = append(all, hangs(fmt.Sprint("s", i), time.Second, true))
		}
		f.set(breaker.Findings{Listed: true, Hanging: all, Blockers: []breaker.Blocker{blocker}})
		p.freeze("z7/slow")
		p.send("z7", "slow")
		began := time.Now()
		p.load(5*time.Second, 120, allZones)
		if got := okPercent(p, began, func(r result) bool { return r.store != "slow" }); got < 100 {
			t.Errorf("%.2f %% ok, want all", got)
		}
		if z := p.state("z7"); z.QuarantinedCount > 0 || z.State == breaker.Open || len(z.Blockers) == 0 {
			t.Errorf("the zone is %+v", z)
		}
		f.mu.Lock()
		f.err = errors.New("no connection")
		f.mu.Unlock()
		time.Sleep(4 * time.Second)
		if z := p.state("z7"); len(z.Blockers) > 0 || z.DatabaseTrouble != "no connection" {
			t.Errorf("what the database said counts for ever: %+v", z)
		}
	})
}

// TestCalmZoneIsAskedSeldom: one question per zone and interval.
func TestCalmZoneIsAskedSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f finds
		p := newAskingPool(t, asking(probeStatement), f.ask)
		defer p.close()
		p.load(30*time.Second, 120, allZones)
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.asked > 31 || f.calm != f.asked || f.asked < 25 {
			t.Errorf("asked %d times within 30 s, %d of them on a calm day, want once a second", f.asked, f.calm)
		}
	})
}

// TestFrozenDatabaseIsNoEvidence: probes of a zone that does not answer at all put
// no store into quarantine; the zone is judged as ever.
func TestFrozenDatabaseIsNoEvidence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newAskingPool(t, asking(probeStatement), func(ctx context.Context, zone string, _ *config.Check, q *breaker.Inquiry, report func(breaker.Findings)) error {
			if q.Calm || zone != "z7" {
				return nil
			}
			for range 6 {
				if store, ok := q.Next(); ok {
					report(breaker.Findings{Tried: store, Verdict: breaker.Failed})
				}
			}
			time.Sleep(time.Second)
			return errors.New("no answer in time")
		})
		defer p.close()
		p.load(20*time.Second, 300, allZones)
		p.freeze("z7")
		p.load(20*time.Second, 300, allZones)
		z := p.state("z7")
		if z.State == breaker.Calm || z.State == breaker.Troubled || z.OpenedAt.IsZero() || z.QuarantinedCount > 0 {
			t.Errorf("the zone is %+v", z)
		}
		if got := p.worstOf("z7"); got > 5 {
			t.Errorf("%d workers, want as without probes: at most 5", got)
		}
	})
}
