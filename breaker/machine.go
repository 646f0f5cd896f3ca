package breaker

import (
	"errors"
	"math/rand/v2"
	"time"

	"github.com/sony/gobreaker/v2"
)

var (
	errBad     = errors.New("bad outcome")
	errNeutral = errors.New("neutral outcome")
)

// machine is the state machine of one breaker: gobreaker's two-step breaker,
// which knows the way from open over half-open back to closed. It exists only
// while the breaker is not closed; a closed breaker costs nothing and is judged
// on firebreak's own evidence.
//
// Each opening makes a fresh gobreaker, which gives each its own open time and
// makes every permit of an earlier opening worthless: its result lands on an
// object that is no longer read.
//
// How long it stays open is told by the guard's own time, as everything else
// is: gobreaker, which asks the clock itself, gets the shortest open time there
// is, and is not asked for a permit before until.
type machine struct {
	cb    *gobreaker.TwoStepCircuitBreaker[struct{}] // nil: closed
	until int64                                      // end of the open time, guard time
}

// open opens the breaker for d, by hand: gobreaker has no verb for it, so it
// is shown one failure and told that one is enough. Half-open afterwards it lets one
// request in at a time, and closes after one success.
func (m *machine) open(now int64, d time.Duration) {
	m.cb = gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		MaxRequests: 1,
		Timeout:     1,
		ReadyToTrip: func(gobreaker.Counts) bool { return true },
		IsExcluded:  func(err error) bool { return errors.Is(err, errNeutral) },
	})
	m.until = now + int64(d)
	if done, err := m.cb.Allow(); err == nil {
		done(errBad)
	}
}

// halfOpen ends the open time now.
func (m *machine) halfOpen(now int64) {
	if m.cb == nil {
		m.open(now, 0)
	}
	m.until = now
}

func (m *machine) close() { *m = machine{} }

func (m *machine) isOpen(now int64) bool { return m.cb != nil && now < m.until }

// permit asks to send a probe. The permit must be settled exactly once.
func (m *machine) permit() (permit, bool) {
	if m.cb == nil {
		return permit{}, false
	}
	done, err := m.cb.Allow()
	return permit{done}, err == nil
}

// pending reports whether a probe is on its way.
func (m *machine) pending() bool {
	counts := m.cb.Counts()
	return counts.Requests > counts.TotalExclusions+counts.TotalSuccesses+counts.TotalFailures
}

// permit is the right to send one probe. The zero value is no permit, and
// settling it does nothing, so that it is safe to settle on every path.
type permit struct{ done func(error) }

func (p *permit) held() bool { return p.done != nil }

func (p *permit) settle(err error) {
	if p.done != nil {
		p.done(err)
		p.done = nil
	}
}

// openTime is the open time of the n-th turn of an episode (from 1): doubling
// from first to longest, with a jitter of +-10 %.
func (g *Guard) openTime(first, longest time.Duration, turn int) time.Duration {
	d := longest
	if shift := turn - 1; shift < 32 && first<<shift > 0 && first<<shift < longest {
		d = first << shift
	}
	return g.jitter(d)
}

// jitter spreads a time by +-10 %.
func (g *Guard) jitter(d time.Duration) time.Duration {
	chance := rand.Float64
	if g.simulation != nil {
		chance = g.simulation.chance.Float64
	}
	return time.Duration(float64(d) * (0.9 + 0.2*chance()))
}
