//go:build e2e

package e2e_test

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/examples/outage/load"
)

// TestRestart: the API server is killed and comes back 3 s later. That is no
// zone's fault. The new workers make 384 connections, each of which costs
// PostgreSQL some 10 ms of CPU; the server is back once they have.
func TestRestart(t *testing.T) {
	pool := gunicorn(t)
	p := startProxy(t, gunicornSite(pool, ""))
	warm(t, p, "/search")
	w, began := p.watch(t), time.Now()
	plan := everyday(p, "/search", 2*time.Minute)
	plan.Rate = rate / 3
	tr := drive(t, plan)
	tr.sleepUntil(5 * time.Second)
	pool.kill()
	tr.sleepUntil(8 * time.Second)
	pool.start(t)
	pool.booted(t)
	up := tr.now()
	time.Sleep(8 * time.Second)
	tr.stop()
	rs := load.Filter(tr.wait(t), func(r load.Result) bool { return r.Err != load.ErrCanceled })
	after := due(rs, up+time.Second, time.Hour)
	figure(t, "API server back %.1f s after the kill; last bad answer %.2f s after that; from 1 s on %.3f %% ok of %d, p99 %s",
		(up - 5*time.Second).Seconds(), max(0, lastBad(due(rs, up, time.Hour))-up).Seconds(),
		load.OKPercent(after), len(after), ms(load.Percentile(after, 99)))
	for z := range zones {
		wantOK(t, zoneName(z), inZone(after, zoneName(z)), 99)
	}
	open := w.everOpen(began)
	promise(t, len(open) == 0, false, "zones opened though only the API server was away: %v", open)
}

// TestAllZones: every zone hangs. Then it is not the zones: firebreak says so
// and opens a third of them at most.
func TestAllZones(t *testing.T) {
	pool := gunicorn(t)
	p := startProxy(t, gunicornSite(pool, ""))
	warm(t, p, "/search")
	w := p.watch(t)
	tr := drive(t, everyday(p, "/search", 26*time.Second))
	tr.sleepUntil(3 * time.Second)
	froze := time.Now()
	for _, d := range world.databases {
		d.freeze()
	}
	tr.sleepUntil(15 * time.Second)
	suspected, open := w.suspected(froze), w.mostOpen(froze)
	for _, d := range world.databases {
		d.heal()
	}
	healed := tr.now()
	rs := tr.wait(t)
	last := max(0, lastBad(due(rs, healed, time.Hour))-healed)
	figure(t, "pool_suspect %t, %d of %d zones open at most; last bad answer %.2f s after the heal; %d workers at worst",
		suspected, open, zones, last.Seconds(), worstTotal(pool.busy.between(froze, time.Now())))
	if !suspected {
		t.Error("pool_suspect was not raised")
	}
	if limit := zones * 34 / 100; open > limit {
		t.Errorf("%d zones were open, want at most %d", open, limit)
	}
	wantOK(t, "all zones 8 s after the heal", due(rs, healed+8*time.Second, time.Hour), 99)
}

// TestReloads: a hundred reloads while a zone is open and its requests hang.
func TestReloads(t *testing.T) {
	pool := gunicorn(t)
	p := startProxy(t, gunicornSite(pool, "open_time 60s"))
	warm(t, p, "/search")
	sick := world.databases[3]
	tr := drive(t, everyday(p, "/search", 4*time.Second))
	tr.sleepUntil(time.Second)
	sick.freeze()
	tr.wait(t)
	before, goroutines := p.zone(t, sick.zone), p.goroutines(t)
	if before.State != "open" || before.Hung == 0 {
		t.Fatalf("the zone should be open with hung slots: %+v", before)
	}
	tr = drive(t, everyday(p, "/search", time.Minute))
	began := time.Now()
	for i := range 100 {
		p.reload(t, gunicornSite(pool, fmt.Sprintf("open_time 60s\n\t\t\tmax_wait %dms", 100+i%2)))
		time.Sleep(30 * time.Millisecond)
	}
	took := time.Since(began)
	after := p.zone(t, sick.zone)
	truth := worst(pool.busy.between(time.Now().Add(-100*time.Millisecond), time.Now()), sick.zone)
	tr.stop()
	others := notInZones(load.Filter(tr.wait(t), func(r load.Result) bool { return r.Err != load.ErrCanceled }), sick.zone)
	// Every reload of Caddy resets connections that clients are just opening;
	// that is not firebreak's.
	answered := load.Filter(others, func(r load.Result) bool { return r.Err == "" })
	figure(t, "100 reloads in %.1f s; other zones: %.3f %% of %d answers ok, %d connections reset; zone %s with %d hung before, %s with %d after, %d at the pool",
		took.Seconds(), load.OKPercent(answered), len(answered), len(others)-len(answered), before.State, before.Hung, after.State, after.Hung, truth)
	if after.State != before.State || !after.OpenedAt.Equal(before.OpenedAt) || after.Turn != before.Turn {
		t.Errorf("the zone's state changed:\nbefore %+v\nafter  %+v", before, after)
	}
	if after.Hung != before.Hung || after.Live != before.Live || truth != after.Hung+after.Live {
		t.Errorf("the zone's slots changed: %d + %d before, %d + %d after, %d at the pool",
			before.Hung, before.Live, after.Hung, after.Live, truth)
	}
	wantOK(t, "other zones", answered, 99.9)
	sick.heal()
	eventually(t, 10*time.Second, "all slots are given back", func() bool {
		s := p.status(t)
		return s.Occupied == 0 && s.Hung == 0
	})
	now := 0
	eventually(t, 20*time.Second, "the goroutines of old configurations end", func() bool {
		now = p.goroutines(t)
		return now <= goroutines+10
	})
	figure(t, "goroutines: %d before, %d after", goroutines, now)
}

var profileTotal = regexp.MustCompile(`goroutine profile: total (\d+)`)

// goroutines is how many the proxy runs.
func (p *proxy) goroutines(t *testing.T) int {
	t.Helper()
	head, _, _ := bytes.Cut(p.page(t, "/debug/pprof/goroutine?debug=1"), []byte("\n"))
	found := profileTotal.FindSubmatch(head)
	if found == nil {
		t.Fatalf("no goroutine count in %q", head)
	}
	n, err := strconv.Atoi(string(found[1]))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestBadRelease: a migration goes wrong, so that every request of every zone ends
// in an error, until it is taken back. That is no zone's fault, and no store may be
// refused for it: not meanwhile, and above all not afterwards.
func TestBadRelease(t *testing.T) {
	pool := gunicorn(t)
	p := startProxy(t, gunicornSite(pool, ""))
	warm(t, p, "/search")
	w := p.watch(t)
	plan := everyday(p, "/search", 19*time.Second)
	plan.Rate = rate / 4 // each error costs gunicorn a new connection to PostgreSQL
	tr := drive(t, plan)
	tr.sleepUntil(3 * time.Second)
	migrate := func(sql string) {
		var all sync.WaitGroup
		for _, d := range world.databases {
			all.Go(func() {
				if out, err := d.psql("-c", sql).CombinedOutput(); err != nil {
					t.Errorf("%s: %v: %s", d.zone, err, out)
				}
			})
		}
		all.Wait()
	}
	began, brokeAt := time.Now(), tr.now()
	migrate("ALTER TABLE stores RENAME TO shops")
	t.Cleanup(func() { migrate("ALTER TABLE IF EXISTS shops RENAME TO stores") })
	tr.sleepUntil(13 * time.Second)
	suspected := w.suspected(began)
	migrate("ALTER TABLE shops RENAME TO stores")
	healedAt := tr.now()
	rs := tr.wait(t)
	during, after := due(rs, brokeAt+3*time.Second, healedAt-time.Second), due(rs, healedAt+100*time.Millisecond, time.Hour)
	refused := load.Filter(during, func(r load.Result) bool { return r.Refusal != "" })
	figure(t, "every request fails for %.0f s: pool_suspect %t, %d of %d refused; from the end on %.3f %% ok of %d",
		(healedAt - brokeAt).Seconds(), suspected, len(refused), len(during), load.OKPercent(after), len(after))
	if !suspected {
		t.Error("pool_suspect was not raised")
	}
	promise(t, len(refused) == 0, len(refused)*20 < len(during), "refused though everybody gets errors: %s", bad(refused))
	wantOK(t, "all zones after the migration was taken back", after, 99)
}
