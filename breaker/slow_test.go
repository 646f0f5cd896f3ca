package breaker_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
)

// slowZone is a pool of which one zone takes longer than usual for a while, in virtual
// time with requests that come at random.
type slowZone struct {
	*world
	slow interval
	by   time.Duration

	sent, ok  int // of the slow zone while it is slow
	bad       int // requests of the others without an answer
	calm, now []time.Duration
	reasons   map[string]int
	workers   int
	most      int
}

func newSlowZone(t *testing.T, workers int, usual, by time.Duration, seed uint64) *slowZone {
	app := twoSeconds()
	app.Workers = workers
	names := make([]string, 12)
	for i := range names {
		names[i] = fmt.Sprint("z", i)
	}
	w := &slowZone{world: newWorld(t, &app, names, seed), by: by, reasons: map[string]int{}}
	w.slow = interval{20 * time.Second, 60 * time.Second}
	w.serve = func(zone, _ string) (time.Duration, breaker.Outcome) {
		takes := time.Duration(float64(usual) * lognormal(w.random, .4))
		if zone == "z7" && w.world.now >= w.slow.from && w.world.now < w.slow.to {
			takes += w.by
			w.workers++
			w.most = max(w.most, w.workers)
			w.at(w.world.now+takes, func() { w.workers-- })
		}
		return takes, breaker.OK
	}
	w.done = func(r request, _ *breaker.Slot, outcome breaker.Outcome, refusal *breaker.Refusal) {
		took := w.world.now - r.sent
		during := r.sent >= w.slow.from && r.sent < w.slow.to
		answered := refusal == nil && outcome == breaker.OK
		switch {
		case r.zone == "z7" && during:
			w.sent++
			switch {
			case answered:
				w.ok++
			case refusal != nil:
				w.reasons[refusal.Detail]++
			default:
				w.reasons[outcome.String()]++
			}
		case r.zone == "z7":
		case !answered:
			w.bad++
		case during:
			w.now = append(w.now, took)
		default:
			w.calm = append(w.calm, took)
		}
	}
	w.every(time.Second/300, func() {
		u := w.random.Float64()
		w.send(fmt.Sprint("z", w.random.IntN(12)), fmt.Sprint("s", int(u*u*100)))
	})
	return w
}

func p99(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)*99/100]
}

// TestSlowZone: a zone takes 1.5 s longer, of a timeout of 2 s. With 25 requests/s it
// would need 38 of the 32 workers. It gets what the others do not need, be that half of
// the pool or hardly a worker.
func TestSlowZone(t *testing.T) {
	for _, tt := range []struct {
		usual time.Duration
		want  float64
	}{
		{20 * time.Millisecond, 50},
		{2 * time.Millisecond, 60},
	} {
		t.Run(tt.usual.String(), func(t *testing.T) {
			total := 0.0
			rounds := thorough(5, 1)
			for seed := range rounds {
				w := newSlowZone(t, 32, tt.usual, 1500*time.Millisecond, uint64(seed))
				w.run(70 * time.Second)
				served := 100 * float64(w.ok) / float64(w.sent)
				total += served
				calm, now := p99(w.calm), p99(w.now)
				t.Logf("%.1f %% of %d requests served with up to %d workers; others: %d without an answer, p99 %s, %s before; not served: %v",
					served, w.sent, w.most, w.bad, now, calm, w.reasons)
				if w.bad > 0 || now > max(calm*11/10, calm+time.Millisecond) {
					t.Errorf("others: %d without an answer, p99 %s, want within 10 %% or 1 ms of %s", w.bad, now, calm)
				}
			}
			if total /= float64(rounds); total < tt.want {
				t.Errorf("%.1f %% of the slow zone's requests are served, want %.0f", total, tt.want)
			}
		})
	}
}
