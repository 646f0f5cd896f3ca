package breaker_test

import (
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
)

// TestSlowByChanceInASmallPool: a pool of eight workers asks two stores of a zone in
// doubt. If both requests happen to take long, a third store is asked, and the zone is
// not cut off. If requests of two zones do while no other comes, that does not speak
// against the pool.
func TestSlowByChanceInASmallPool(t *testing.T) {
	for name, tt := range map[string]struct {
		slow   [2]request
		others []request
		after  time.Duration // when the others begin to come
	}{
		"of a zone": {
			[2]request{{zone: "z0", store: "s1"}, {zone: "z0", store: "s2"}},
			[]request{{zone: "z0", store: "s3"}, {zone: "z0", store: "s4"}, {zone: "z1", store: "s5"}},
			300 * time.Millisecond,
		},
		"of two zones": {
			[2]request{{zone: "z0", store: "s1"}, {zone: "z1", store: "s2"}},
			[]request{{zone: "z0", store: "s3"}, {zone: "z1", store: "s4"}, {zone: "z2", store: "s5"}},
			3 * time.Second,
		},
	} {
		t.Run(name, func(t *testing.T) {
			app := twoSeconds()
			app.Workers = 8
			w := newWorld(t, &app, []string{"z0", "z1", "z2"}, 1)
			slow := false
			w.serve = func(string, string) (time.Duration, breaker.Outcome) {
				if slow {
					return 5 * time.Second, breaker.OK
				}
				return 20 * time.Millisecond, breaker.OK
			}
			for i := range 90 { // well for 9 s
				r := tt.others[i%3]
				w.at(time.Duration(i)*100*time.Millisecond, func() { w.send(r.zone, r.store) })
			}
			const at = 10 * time.Second
			w.at(at, func() {
				slow = true
				for _, r := range tt.slow {
					w.send(r.zone, r.store)
				}
				slow = false
			})
			for i := range 100 {
				r := tt.others[i%3]
				w.at(at+tt.after+time.Duration(i)*100*time.Millisecond, func() { w.send(r.zone, r.store) })
			}
			w.run(at + 15*time.Second)
			for events := w.sim.Guard().Events(); len(events) > 0; {
				if e := <-events; e.Kind == breaker.EventZoneOpened || e.Kind == breaker.EventPoolSuspect {
					t.Errorf("%s %s: %s", e.Kind, e.Zone, e.Evidence)
				}
			}
		})
	}
}
