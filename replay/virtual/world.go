package virtual

import (
	"slices"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/config"
)

// Job is a request: its client, and what its worker has to do.
type Job interface {
	// Request is what the guard must know of it.
	Request() breaker.Request

	// Patience is how long its client waits; 0: as long as it takes.
	Patience() time.Duration

	// Start is called when a worker takes it. takes is how long that worker is
	// busy, whatever the client does meanwhile, and outcome is what comes of
	// it.
	Start() (takes time.Duration, outcome breaker.Outcome)

	// Done is called once, when the client has its answer or is gone.
	Done(Result)
}

// Result is how a request ended for its client.
type Result struct {
	Outcome breaker.Outcome
	Refusal *breaker.Refusal // not nil: refused, and Outcome says nothing
	Waited  time.Duration    // for a slot
	Took    time.Duration    // waiting included
}

// World is a guard, its pool and its clients. It is not safe for concurrent
// use.
type World struct {
	sim     *breaker.Simulation
	start   time.Time
	now     time.Duration
	sweep   time.Duration // when the next sweep is due
	agenda  agenda
	waiting []*applicant
	tell    func(breaker.Event)

	workers int     // 0: as many as are asked for
	backlog []*life // admitted, and no worker is free
	Occupancy
}

// applicant is a job that waits for a slot.
type applicant struct {
	job  Job
	wait *breaker.Wait
	sent time.Duration
	done bool
}

// New makes a world that begins at start. zones names all zones there are, as
// far as that is known; tell hears of each transition, and may be nil.
func New(p *config.Policy, zones []string, start time.Time, seed uint64, tell func(breaker.Event)) *World {
	if tell == nil {
		tell = func(breaker.Event) {}
	}
	return &World{sim: breaker.Simulate(p, zones, start, seed), start: start, sweep: breaker.SweepEvery, tell: tell, workers: p.Pool(), Occupancy: newOccupancy()}
}

// Guard is the guard, to be looked at.
func (w *World) Guard() *breaker.Guard { return w.sim.Guard() }

// Now is the time since the beginning.
func (w *World) Now() time.Duration { return w.now }

// At lets something happen at a time since the beginning.
func (w *World) At(at time.Duration, do func()) { w.agenda.add(max(at, w.now), do) }

// Run lets the time pass until then.
func (w *World) Run(until time.Duration) {
	for {
		next, ok := w.agenda.next()
		if !ok || next > until {
			next = until
		}
		if w.sweep <= next {
			w.sweepBefore(next)
			continue
		}
		if !ok || next >= until {
			w.move(until)
			return
		}
		w.move(next)
		w.agenda.pop()()
		w.settle()
	}
}

// sweepBefore sweeps once. Where sweeping changes nothing before the next thing
// happens, only the last sweep before it is made.
func (w *World) sweepBefore(next time.Duration) {
	if skip := (next - w.sweep) / breaker.SweepEvery; skip > 0 && w.sim.Idle() {
		w.sweep += skip * breaker.SweepEvery
	}
	w.move(w.sweep)
	w.sweep += breaker.SweepEvery
	w.sim.Sweep()
	w.settle()
}

func (w *World) move(to time.Duration) {
	w.now = to
	w.sim.Set(w.start.Add(to))
}

// settle lets served clients go on, and reports what has changed.
func (w *World) settle() {
	if len(w.waiting) > 0 {
		for i := 0; i < len(w.waiting); i++ { // serving one may serve others
			a := w.waiting[i]
			if slot, refusal, ok := a.wait.Served(); ok && !a.done {
				a.done = true
				w.admitted(a.job, a.sent, slot, refusal)
			}
		}
		w.waiting = slices.DeleteFunc(w.waiting, func(a *applicant) bool { return a.done })
	}
	for events := w.Guard().Events(); len(events) > 0; {
		w.tell(<-events)
	}
}

// Send sends a request now.
func (w *World) Send(job Job) {
	slot, refusal, wait := w.sim.Admit(job.Request())
	if wait == nil {
		w.admitted(job, w.now, slot, refusal)
		return
	}
	a := &applicant{job: job, wait: wait, sent: w.now}
	w.waiting = append(w.waiting, a)
	w.giveUp(a)
}

// giveUp ends the wait when its time is over. That may have moved by then.
func (w *World) giveUp(a *applicant) {
	w.At(a.wait.Until.Sub(w.start), func() {
		if a.done {
			return
		}
		slot, refusal := a.wait.GiveUp()
		if slot == nil && refusal == nil {
			w.giveUp(a)
			return
		}
		a.done = true
		w.admitted(a.job, a.sent, slot, refusal)
	})
}

func (w *World) admitted(job Job, sent time.Duration, slot *breaker.Slot, refusal *breaker.Refusal) {
	if refusal != nil {
		job.Done(Result{Refusal: refusal, Waited: w.now - sent, Took: w.now - sent})
		return
	}
	l := &life{w: w, job: job, slot: slot, zone: job.Request().Zone, sent: sent, began: w.now}
	l.begin()
}
