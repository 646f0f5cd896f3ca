//go:build e2e

package e2e_test

import (
	"slices"
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/examples/outage/load"
)

// TestKilledInAnOutage: firebreak is killed three times while a zone hangs, as
// by the kernel, by a watchdog or by an operator in the hope that it helps. Its
// workers hang on, and each process after it must know of them: three processes
// that lend the zone its share anew would have lost the pool.
func TestKilledInAnOutage(t *testing.T) {
	pool := gunicorn(t)
	p := startProxy(t, gunicornSite(pool, "open_time_max 6s"))
	warm(t, p, "/search")
	sick := world.databases[3]
	tr := drive(t, everyday(p, "/search", time.Minute))
	tr.sleepUntil(3 * time.Second)
	froze := time.Now()
	sick.freeze()
	type span struct{ from, to time.Duration }
	var away []span // when no process listened
	for i := range 3 {
		tr.sleepUntil(time.Duration(6+4*i) * time.Second)
		from := tr.now()
		killGroup(p.cmd)
		p.start(t)
		p.listening(t)
		away = append(away, span{from - timeout, tr.now()})
		z := p.zone(t, sick.zone)
		figure(t, "process %d: zone %s, %d hung in its books, %d at the pool", i+2, z.State, z.Hung,
			worst(pool.busy.between(time.Now().Add(-100*time.Millisecond), time.Now()), sick.zone))
	}
	tr.sleepUntil(18 * time.Second)
	samples, healedAt := pool.busy.between(froze, time.Now()), tr.now()
	var open struct {
		OpenUntil time.Time `json:"open_until"`
	}
	p.get(t, "/firebreak/zones/"+sick.zone, &open)
	sick.heal()
	// A request of the last process that hangs comes back at once; without one the
	// longest open time holds.
	whole := tr.now() + min(max(0, time.Until(open.OpenUntil)), 7*time.Second) + 2*time.Second
	tr.sleepUntil(whole + 4*time.Second)
	tr.stop()
	rs := load.Filter(tr.wait(t), func(r load.Result) bool { return r.Err != load.ErrCanceled })
	answerable := load.Filter(rs, func(r load.Result) bool {
		return !slices.ContainsFunc(away, func(s span) bool { return r.At >= s.from && r.At < s.to })
	})
	others := due(notInZones(answerable, sick.zone), 3*time.Second, healedAt)
	healed := inZone(due(rs, whole, time.Hour), sick.zone)
	figure(t, "killed three times: the other zones %.3f %% ok of %d; workers occupied at worst: %d by the frozen zone, %d in all; whole %.1f s after the heal: %.2f %% ok of %d",
		load.OKPercent(others), len(others), worst(samples, sick.zone), worstTotal(samples), (whole - healedAt).Seconds(), load.OKPercent(healed), len(healed))
	wantOK(t, "other zones while firebreak runs", others, 99.9)
	wantOK(t, "the zone after the heal", healed, 99)
	// Each new process may have to judge the zone again.
	if n, limit := worst(samples, sick.zone), frozenSoon+3*3; n > limit {
		t.Errorf("the frozen zone occupied %d workers, want at most %d", n, limit)
	}
}
