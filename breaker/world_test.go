package breaker_test

import (
	"container/heap"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/config"
)

// world is a guard, its pool and its clients in virtual time: one event after the
// other, without goroutines, an hour in about a second.
type world struct {
	sim    *breaker.Simulation
	random *rand.Rand
	start  time.Time
	now    time.Duration
	events eventQueue

	// serve says how long a worker is busy with a request that begins now, and with
	// which outcome.
	serve func(zone, store string) (takes time.Duration, outcome breaker.Outcome)

	// fleet has servers of its own serve the request; nil: serve is asked.
	fleet func(zone, store string, slot *breaker.Slot)

	// done is told what became of a request: the outcome, or the refusal. slot is
	// nil if it was refused.
	done func(r request, slot *breaker.Slot, outcome breaker.Outcome, refusal *breaker.Refusal)

	swept func() // is called after each sweep
}

// request is one that was sent.
type request struct {
	zone, store string
	sent        time.Duration
}

func newWorld(t testing.TB, app *config.App, zones []string, seed uint64) *world {
	t.Helper()
	p, err := app.Policy()
	if err != nil {
		t.Fatal(err)
	}
	w := &world{random: rand.New(rand.NewPCG(seed, 1)), start: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	w.sim = breaker.Simulate(p, zones, w.start, seed)
	w.done = func(request, *breaker.Slot, breaker.Outcome, *breaker.Refusal) {}
	w.swept = func() {}
	return w
}

type event struct {
	at time.Duration
	do func()
}

type eventQueue []event

func (q eventQueue) Len() int           { return len(q) }
func (q eventQueue) Less(i, j int) bool { return q[i].at < q[j].at }
func (q eventQueue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *eventQueue) Push(x any)        { *q = append(*q, x.(event)) }
func (q *eventQueue) Pop() any {
	old := *q
	e := old[len(old)-1]
	*q = old[:len(old)-1]
	return e
}

func (w *world) at(d time.Duration, do func()) { heap.Push(&w.events, event{d, do}) }

// every lets something happen again and again, so far apart on average.
func (w *world) every(mean time.Duration, do func()) {
	w.at(w.now+time.Duration(w.random.ExpFloat64()*float64(mean)), func() { do(); w.every(mean, do) })
}

// run goes on until d.
func (w *world) run(d time.Duration) {
	sweep := w.now + breaker.SweepEvery
	for w.now < d {
		next := d
		if len(w.events) > 0 {
			next = min(d, w.events[0].at)
		}
		for sweep <= next {
			w.now = sweep
			w.sim.Set(w.start.Add(w.now))
			w.sim.Sweep()
			w.swept()
			if sweep += breaker.SweepEvery; w.sim.Idle() { // until something happens
				sweep += (max(0, next-sweep) / breaker.SweepEvery) * breaker.SweepEvery
			}
		}
		if w.now = next; next == d {
			return
		}
		e := heap.Pop(&w.events).(event)
		w.sim.Set(w.start.Add(w.now))
		e.do()
	}
}

func (w *world) send(zone, store string) {
	r := request{zone, store, w.now}
	slot, refusal, wait := w.sim.Admit(breaker.Request{Zone: zone, Store: store})
	if wait == nil {
		w.admitted(r, slot, refusal)
		return
	}
	w.await(r, wait)
}

// await asks every few milliseconds whether the wait is over.
func (w *world) await(r request, wait *breaker.Wait) {
	w.at(w.now+2*time.Millisecond, func() {
		if slot, refusal, ok := wait.Served(); ok {
			w.admitted(r, slot, refusal)
			return
		}
		if !w.sim.Now().Before(wait.Until) {
			if slot, refusal := wait.GiveUp(); slot != nil || refusal != nil {
				w.admitted(r, slot, refusal)
				return
			}
		}
		w.await(r, wait)
	})
}

func (w *world) admitted(r request, slot *breaker.Slot, refusal *breaker.Refusal) {
	if refusal != nil {
		w.done(r, nil, 0, refusal)
		return
	}
	slot.Track()
	if w.fleet != nil {
		w.fleet(r.zone, r.store, slot)
		return
	}
	takes, outcome := w.serve(r.zone, r.store)
	w.answerAfter(r, slot, takes, outcome)
}

// answerAfter has a worker be busy with an admitted request for that long.
func (w *world) answerAfter(r request, slot *breaker.Slot, takes time.Duration, outcome breaker.Outcome) {
	if outcome == breaker.NoUpstream {
		slot.End(outcome)
		w.done(r, slot, outcome, nil)
		return
	}
	answered := false
	if takes > slot.Timeout() {
		w.at(w.now+slot.Timeout(), func() {
			answered = true
			slot.Hang()
			w.done(r, slot, breaker.Hung, nil)
		})
	}
	w.at(w.now+takes, func() {
		if !answered {
			slot.Answer(outcome)
			w.done(r, slot, outcome, nil)
		}
		slot.End(outcome)
	})
}
