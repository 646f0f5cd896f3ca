package breaker_test

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/config"
)

// rule drives a guard in virtual time with requests that begin, are answered, hang
// and end in any order, and checks what the rule promises after each step.
type rule struct {
	sim     *breaker.Simulation
	now     time.Time
	slots   []*held
	waiting []*waiting
	doubtAt [ruleZones]int // how many slots were admitted before the zone was in doubt; -1: it is not
}

type held struct {
	zone   int
	store  int
	slot   *breaker.Slot
	exempt bool // it was answered, or waited for its client
	number int  // of the admission
}

type waiting struct {
	zone  int
	store int
	wait  *breaker.Wait
	began time.Time
}

const (
	ruleZones, ruleStores = 3, 5

	// longestWait is one and a half times slow_after and max_wait, and a sweep.
	longestWait = 3*(time.Second+500*time.Millisecond)/2 + breaker.SweepEvery
)

// TestRule: in every interleaving no zone gets a worker while it is in doubt beyond
// the rule, no request that would be admitted waits for longer than two sweeps, nor at all in a
// calm zone while workers idle beyond what is kept for others, waiting is bounded, the counters are right, and nothing starves.
func TestRule(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		workers := rapid.IntRange(2, 40).Draw(t, "workers")
		p, err := (&config.App{Workers: workers, Zones: []config.Zone{{Name: "*", Timeout: config.Duration(2 * time.Second)}}}).Policy()
		if err != nil {
			t.Fatal(err)
		}
		start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		r := &rule{sim: breaker.Simulate(p, []string{"z0", "z1", "z2"}, start, 1), now: start, doubtAt: [ruleZones]int{-1, -1, -1}}
		r.sim.Set(start)
		admissions := 0
		take := func(zone, store int, slot *breaker.Slot) {
			slot.Track()
			admissions++
			r.slots = append(r.slots, &held{zone: zone, store: store, slot: slot, number: admissions})
		}
		ask := func(zone, store int) {
			idle := r.sim.Guard().Idle(fmt.Sprint("z", zone))
			slot, _, wait := r.sim.Admit(breaker.Request{Zone: fmt.Sprint("z", zone), Store: fmt.Sprint("s", store)})
			if slot != nil {
				take(zone, store, slot)
				return
			}
			if idle {
				t.Fatalf("a request of zone z%d is not admitted at once, with %d of %d workers occupied: %+v", zone, r.sim.Guard().Status().Occupied, workers, r.sim.Guard().Explain(fmt.Sprint("z", zone), fmt.Sprint("s", store)))
			}
			if wait != nil {
				r.waiting = append(r.waiting, &waiting{zone, store, wait, r.now})
			}
		}
		check := func() {
			if problem := r.settle(take); problem != "" {
				t.Fatal(problem)
			}
			if problem := r.check(admissions); problem != "" {
				t.Fatal(problem)
			}
		}
		pick := func() *held {
			if len(r.slots) == 0 {
				t.Skip("no slot")
			}
			return r.slots[rapid.IntRange(0, len(r.slots)-1).Draw(t, "slot")]
		}
		end := func(h *held, o breaker.Outcome) {
			h.slot.End(o)
			for i := range r.slots {
				if r.slots[i] == h {
					r.slots = append(r.slots[:i], r.slots[i+1:]...)
					break
				}
			}
		}
		zone, store := rapid.IntRange(0, ruleZones-1), rapid.IntRange(0, ruleStores-1)
		t.Repeat(map[string]func(*rapid.T){
			"ask": func(t *rapid.T) { ask(zone.Draw(t, "zone"), store.Draw(t, "store")) },
			"burst": func(t *rapid.T) {
				z := zone.Draw(t, "zone")
				for s := range ruleStores {
					ask(z, s)
				}
			},
			"answer": func(*rapid.T) { h := pick(); h.exempt = true; h.slot.Answer(breaker.OK) },
			"end":    func(*rapid.T) { end(pick(), breaker.OK) },
			"break":  func(*rapid.T) { end(pick(), breaker.Broken) },
			"hang":   func(*rapid.T) { pick().slot.Hang() },
			"leave":  func(*rapid.T) { pick().slot.Leave() },
			"upload": func(t *rapid.T) {
				h := pick()
				h.exempt = true // the zone may ask another store meanwhile
				h.slot.AwaitClient(rapid.Bool().Draw(t, "on"))
			},
			"pass": func(t *rapid.T) {
				for range rapid.SampledFrom([]int{1, 4, 20, 80}).Draw(t, "sweeps") {
					r.pass()
					check()
					if r.sim.Guard().Overlooked() == "" {
						continue
					}
					r.pass() // what one sweep has found out is in force with the next
					if problem := r.sim.Guard().Overlooked(); problem != "" {
						t.Fatal(problem)
					}
					check()
				}
			},
			"": func(*rapid.T) { check() },
		})
		// Everything is well again: each store is admitted within the longest open time.
		for len(r.slots) > 0 {
			end(r.slots[0], breaker.OK)
			check()
		}
		missing := ruleZones * ruleStores
		var served [ruleZones][ruleStores]bool
		for i := 0; missing > 0; i++ {
			if i > 3000 {
				t.Fatalf("%d stores were not admitted within 75 s after everything was well: %v", missing, served)
			}
			for z := range ruleZones {
				for s := range ruleStores {
					slot, _, wait := r.sim.Admit(breaker.Request{Zone: fmt.Sprint("z", z), Store: fmt.Sprint("s", s)})
					if wait != nil {
						r.waiting = append(r.waiting, &waiting{z, s, wait, r.now})
					}
					if slot == nil {
						continue
					}
					slot.Track()
					slot.End(breaker.OK)
					if !served[z][s] {
						served[z][s] = true
						missing--
					}
				}
			}
			r.pass()
			if problem := r.settle(func(_, _ int, slot *breaker.Slot) { slot.Track(); slot.End(breaker.OK) }); problem != "" {
				t.Fatal(problem)
			}
		}
	})
}

// pass lets one sweep's time pass.
func (r *rule) pass() {
	r.now = r.now.Add(breaker.SweepEvery)
	r.sim.Set(r.now)
	r.sim.Sweep()
}

// settle takes in what became of the requests that wait.
func (r *rule) settle(take func(zone, store int, slot *breaker.Slot)) string {
	waits := r.waiting
	r.waiting = nil
	for _, w := range waits {
		slot, _, over := w.wait.Served()
		if !over && !r.now.Before(w.wait.Until) {
			var refusal *breaker.Refusal
			slot, refusal = w.wait.GiveUp()
			over = slot != nil || refusal != nil
		}
		switch {
		case slot != nil:
			take(w.zone, w.store, slot)
		case !over && r.now.Sub(w.began) > longestWait:
			return fmt.Sprintf("a request of zone z%d waits for %s", w.zone, r.now.Sub(w.began))
		case !over:
			r.waiting = append(r.waiting, w)
		}
	}
	return ""
}

// check checks what must hold at any moment.
func (r *rule) check(admissions int) string {
	g := r.sim.Guard()
	if problem := g.Audit(); problem != "" {
		return problem
	}
	for zone := range ruleZones {
		doubt, mixed, hear := g.Doubt(fmt.Sprint("z", zone))
		state, _ := g.Zone(fmt.Sprint("z", zone))
		if !doubt || mixed || state.State == breaker.Open || state.State == breaker.HalfOpen {
			r.doubtAt[zone] = -1
			continue
		}
		if r.doubtAt[zone] < 0 {
			r.doubtAt[zone] = admissions
		}
		unanswered, stores := 0, make(map[int]bool)
		for _, h := range r.slots {
			if h.zone == zone && !h.exempt && h.number > r.doubtAt[zone] {
				unanswered++
				stores[h.store] = true
			}
		}
		// A store whose request is late may be asked again while few are unanswered.
		if len(stores) > hear || unanswered > 2*hear-1 {
			return fmt.Sprintf("zone z%d got %d workers for %d stores while it was in doubt, %d stores are to be asked", zone, unanswered, len(stores), hear)
		}
	}
	return ""
}
