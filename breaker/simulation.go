package breaker

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/firebreak-proxy/firebreak/config"
)

// SweepEvery is how often the guard looks at the requests in flight.
const SweepEvery = sweepEvery

// Simulation is a guard whose time its owner moves: the same code and the same
// verdicts, with nothing that runs by itself. It answers what would have
// happened, a day in a minute, and gives the same answer each time: its jitter
// comes from a fixed seed.
//
// The owner sets the time, reports what happens to slots as to any guard's,
// calls Sweep every SweepEvery, or before the next thing happens if nothing is
// to be swept, and considers waiting requests after each of these. The zones' checks
// are not made. It is not safe for concurrent use.
type Simulation struct {
	guard  *Guard
	now    int64
	chance *rand.Rand
}

// Simulate makes a simulation that begins at start. zones names all zones there
// are, as far as that is known.
func Simulate(p *config.Policy, zones []string, start time.Time, seed uint64) *Simulation {
	s := &Simulation{now: int64(time.Hour), chance: rand.New(rand.NewPCG(seed, 0))}
	s.guard = newGuard(start.Round(0), p, Options{})
	s.guard.simulation = s
	s.guard.sweptAt.Store(s.now)
	s.guard.Apply(p, zones)
	return s
}

// Guard is the guard, for everything but Admit and Close.
func (s *Simulation) Guard() *Guard { return s.guard }

// Now is the time.
func (s *Simulation) Now() time.Time { return s.guard.wall(s.now) }

// Set moves the time forward to t. Nothing else happens.
func (s *Simulation) Set(t time.Time) { s.now = max(s.now, int64(t.Sub(s.guard.base))) }

// Sweep does what time demands.
func (s *Simulation) Sweep() {
	s.guard.sweptAt.Store(s.now) // it is always run
	s.guard.sweep(context.Background())
}

// Idle reports whether Sweep would do nothing, now and at any time until something
// else happens.
func (s *Simulation) Idle() bool {
	if s.guard.suspect.Load() != nil || s.guard.queue.waiting.Load() > 0 {
		return false
	}
	for _, v := range *s.guard.servers.all.Load() {
		if v.joint.dueAt != 0 || v.joint.askedAt != 0 {
			return false
		}
	}
	for _, z := range s.guard.allZones() {
		if z.eventful.Load() {
			return false
		}
	}
	return true
}

// Admit asks for a worker as Guard.Admit does, and does not wait: of the slot,
// the refusal and the wait one is not nil.
func (s *Simulation) Admit(r Request) (*Slot, *Refusal, *Wait) {
	z := s.guard.zone(r.Zone)
	slot, refusal, w, until := z.tryAdmitLocked(&r, s.hashOf(r.Store), s.now)
	if w == nil {
		return slot, refusal, nil
	}
	if w.lease != nil {
		z.ask(w.lease)
	}
	s.guard.wake()
	return nil, nil, &Wait{s: s, z: z, w: w, Until: s.Now().Add(until)}
}

// Wait is a request that waits for a worker, until it is served or gives up.
type Wait struct {
	s *Simulation
	z *zone
	w *waiter

	Until time.Time // when to call GiveUp
}

// Served reports whether the wait is over, and with which result.
func (w *Wait) Served() (slot *Slot, refusal *Refusal, ok bool) {
	select {
	case a := <-w.w.result:
		return a.slot, a.refusal, true
	default:
		return nil, nil, false
	}
}

// GiveUp ends the wait, unless it may go on: then it moves Until, and both
// results are nil.
func (w *Wait) GiveUp() (*Slot, *Refusal) {
	slot, refusal, more := w.z.giveUp(w.w, false)
	if more > 0 {
		w.Until = w.s.Now().Add(more)
	}
	return slot, refusal
}

// hashOf gives a store the same hash in every process (FNV-1a, its halves
// mixed): collisions in the table of seen stores must not differ either.
func (s *Simulation) hashOf(store string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(store) {
		h = (h ^ uint64(store[i])) * 1099511628211
	}
	return h ^ h>>32
}
