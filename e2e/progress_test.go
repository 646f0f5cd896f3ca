//go:build e2e

package e2e_test

import (
	"syscall"
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/examples/outage/load"
)

// TestProgress: zones that stand still for a moment, that are slow, or whose database
// is away, in front of gunicorn. None of them is frozen, so that others may lose
// little and the zone itself loses little as well.
func TestProgress(t *testing.T) {
	pool := gunicorn(t)
	playProgress(t, pool, startProxy(t, gunicornSite(pool, "")), "/search")
}

// TestProgressFPM is the same on PHP-FPM.
func TestProgressFPM(t *testing.T) {
	pool := fpm(t, 0)
	connectAll(t, pool)
	playProgress(t, pool, startProxy(t, fpmSite(t, "", fpmTransport(t, pool))), "/search.php")
}

func playProgress(t *testing.T, pool *pool, p *proxy, path string) {
	warm(t, p, path)
	t.Run("stalls", func(t *testing.T) { playStalls(t, pool, p, path) })
	s := scene{proxy: p, path: path, sick: world.databases[sickZone].zone, calm: 4 * time.Second, fault: 12 * time.Second, after: 3 * time.Second}
	if strict {
		s.fault = aFreeze
	}
	t.Run("slow", func(t *testing.T) { playSlowZone(t, s) })
	t.Run("refuses", func(t *testing.T) { playRefusingZone(t, s) })
}

// stallFor stops something for a while. It reports how long that really was.
func stallFor(d time.Duration, stop, goOn func()) time.Duration {
	began := time.Now()
	stop()
	time.Sleep(d)
	goOn()
	return time.Since(began)
}

// playStalls: a zone, and then the whole pool, stand still for less than slow_after, as
// for a checkpoint, a failover or a collection of garbage. Nobody is refused.
func playStalls(t *testing.T, pool *pool, p *proxy, path string) {
	sick := world.databases[sickZone]
	zone := func(d time.Duration) time.Duration { return stallFor(d, sick.freeze, sick.heal) }
	whole := func(d time.Duration) time.Duration {
		return stallFor(d, func() { pool.signal(t, syscall.SIGSTOP) }, func() { pool.signal(t, syscall.SIGCONT) })
	}
	const calm, each = 4 * time.Second, 3 * time.Second
	stalls := []struct {
		what  string
		d     time.Duration
		stall func(time.Duration) time.Duration
	}{
		{"zone", 300 * time.Millisecond, zone},
		{"zone", 900 * time.Millisecond, zone},
		{"pool", 300 * time.Millisecond, whole},
		{"pool", 900 * time.Millisecond, whole},
	}
	tr := drive(t, everyday(p, path, calm+each*time.Duration(len(stalls))))
	b := p.blame(t, "")
	took := make([]time.Duration, len(stalls))
	for i, s := range stalls {
		tr.sleepUntil(calm + each*time.Duration(i))
		took[i] = s.stall(s.d)
		if took[i] > slowAfter-30*time.Millisecond {
			noisy.Store(t.Name(), true) // it was no stall of less than slow_after
		}
	}
	rs := tr.wait(t)
	b.end()
	before := due(rs, time.Second, calm)
	for i, s := range stalls {
		from := calm + each*time.Duration(i)
		rs := due(rs, from, from+each)
		refused := load.Filter(rs, func(r load.Result) bool { return !r.OK() })
		well := rs
		if s.what == "zone" {
			well = notInZones(due(rs, from, from+took[i]), sick.zone)
			promiseP99(t, "other zones while one stands still", before, well)
		}
		figure(t, "the %s stands still for %s: %d of %d not answered; p99 of the others meanwhile %s, %s before",
			s.what, took[i].Round(time.Millisecond), len(refused), len(rs), ms(load.Percentile(well, 99)), ms(load.Percentile(before, 99)))
		promise(t, len(refused) == 0, len(refused) <= 3, "the %s stood still for %s: %s", s.what, took[i], bad(rs))
	}
	promise(t, b.zones == 0, b.zones == 0, "%d zones were cut off for a stall", b.zones)
}

// playSlowZone: every request of a zone takes 1.5 s, of a timeout of 2 s. It gets what
// the other zones leave.
func playSlowZone(t *testing.T, s scene) {
	sick := world.databases[sickZone]
	f := s.play(t, func() { sick.setCost(t, "%", 1500*time.Millisecond) }, func() { sick.setCost(t, "%", 0) })
	figure(t, "a zone slow by 1.5 s for %s: %.1f %% of its requests answered of %d; other zones %.3f %% ok of %d, %s",
		s.fault, load.OKPercent(f.own), len(f.own), load.OKPercent(f.during), len(f.during), f.p99s())
	least := 40.0 // it takes some seconds until the zone flows
	if strict {
		least = 50
	}
	promise(t, load.OKPercent(f.own) >= least, load.OKPercent(f.own) >= 30, "%.1f %% of the slow zone's requests are answered: %s", load.OKPercent(f.own), bad(f.own))
	wantOK(t, "other zones while one is slow", f.during, 99.9)
	promiseP99(t, "other zones while one is slow", f.before, f.during)
	promise(t, f.blamed.zones == 0, f.blamed.zones == 0, "%d other zones were cut off", f.blamed.zones)
}

// playRefusingZone: a zone's database is away, so that its requests end in errors
// within milliseconds. They are passed on, and it is well as soon as the database is.
func playRefusingZone(t *testing.T, s scene) {
	sick := world.databases[sickZone]
	took := time.Duration(0) // to be back
	f := s.play(t, func() { sick.shutDown(t) }, func() {
		began := time.Now()
		sick.startUp(t)
		took = time.Since(began)
	})
	healed := f.endedAt + took
	refused := load.Filter(inZone(f.all, sick.zone), func(r load.Result) bool { return r.Refusal != "" })
	after := inZone(due(f.all, healed, time.Hour), sick.zone)
	back := max(0, lastBad(after)-healed)
	refusedAfter := load.Filter(after, func(r load.Result) bool { return r.Refusal != "" })
	figure(t, "a zone's database away for %s: %d of its %d requests refused, the others got errors; last bad answer %.2f s after it was back (%d refused); other zones %.3f %% ok of %d, %s",
		s.fault, len(refused), len(f.own), back.Seconds(), len(refusedAfter), load.OKPercent(f.during), len(f.during), f.p99s())
	promise(t, len(refused) == 0, len(refused)*10 < len(f.own), "%d of %d requests are refused although their errors keep no worker: %s", len(refused), len(f.own), bad(refused))
	promise(t, back <= time.Second, back <= 3*time.Second, "the zone has bad answers until %s after its heal: %s", back, bad(after))
	wantOK(t, "other zones while a database is away", f.during, 99.9)
	promiseP99(t, "other zones while a database is away", f.before, f.during)
	promise(t, f.blamed.zones == 0, f.blamed.zones == 0, "%d other zones were cut off", f.blamed.zones)
}
