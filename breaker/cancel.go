package breaker

import (
	"fmt"
	"time"
)

// Cancellation is what came of a query that was to be cancelled.
type Cancellation struct {
	Request string        // the id of its request
	PID     int           // the session that ran it
	For     time.Duration // for how long it had run
	Err     error         // why it was not cancelled; nil: it was
}

// cancels bounds how many queries of a zone's database are cancelled.
type cancels struct {
	at       []int64 // when, in the last minute
	admitted [3]uint64
	counted  int64 // when the latest of admitted was taken
}

const (
	cancelsOver = int64(time.Minute)
	// cancelsKept is how often the zone's requests are counted: a minute ago at least
	// is the count before the last two.
	cancelsKept = cancelsOver / 2

	// cancelAgain is how long after a query of a request was cancelled another one of
	// it may be: an API server may try again.
	cancelAgain = time.Second
)

// count keeps how many requests the zone had let in a minute ago.
func (c *cancels) count(admitted uint64, now int64) {
	switch {
	case c.counted == 0:
		c.admitted, c.counted = [3]uint64{admitted, admitted, admitted}, now
	case now-c.counted >= cancelsKept:
		c.admitted, c.counted = [3]uint64{admitted, c.admitted[0], c.admitted[1]}, now
	}
}

// left is how many more queries may be cancelled now.
func (c *cancels) left(perMinute int, percent float64, admitted uint64, now int64) int {
	for len(c.at) > 0 && now-c.at[0] >= cancelsOver {
		c.at = c.at[1:]
	}
	share := int(float64(admitted-c.admitted[2]) * percent / 100)
	return min(perMinute, max(1, share)) - len(c.at)
}

// mayCancel reports whether the query that names this request, and this store if it
// names one, is to be cancelled: its client was answered, it hangs, and there is
// exactly one such request.
func (z *zone) mayCancel(request, store string) (may bool) {
	z.do(func(z *zone, now int64) {
		s := z.hangsFor(request)
		if s == nil || s.cancelledAt != 0 && now-s.cancelledAt < int64(cancelAgain) || store != "" && store != s.store || z.policy.Check == nil || z.policy.Check.OnHung == nil {
			return
		}
		limits := z.policy.Check.OnHung
		if z.cancels.left(limits.PerMinute, limits.MaxShare, z.totals.admitted, now) <= 0 {
			return
		}
		z.cancels.at = append(z.cancels.at, now)
		s.cancelledAt, may = now, true
	})
	return may
}

// hangsFor is the slot of the request that hangs; nil if there is none, or several.
func (z *zone) hangsFor(request string) (found *Slot) {
	if request == "" {
		return nil
	}
	for s := z.slots.head; s != nil; s = s.next {
		switch {
		case s.request != request:
		case found != nil || s.phase != hung || s.remembered != 0:
			return nil
		default:
			found = s
		}
	}
	return found
}

// noteCancelled takes in what came of a query that was to be cancelled.
func (z *zone) noteCancelled(c *Cancellation, now int64) {
	s := z.hangsFor(c.Request)
	if c.Err != nil {
		if s != nil {
			s.cancelledAt = 0
		}
		return
	}
	z.totals.cancelled++
	store, since := "", int64(0)
	if s != nil {
		store, since = s.store, s.start
	}
	evidence := fmt.Sprintf("the query of request %s (process %d of the zone's database, for %s) was cancelled", c.Request, c.PID, brief(int64(c.For)))
	if since != 0 {
		evidence += fmt.Sprintf(": the request had no answer for %s", brief(now-since))
	}
	z.g.emit(Event{
		Kind: EventQueryCancelled, At: z.g.wall(now), Zone: z.name, Store: store, From: z.state, To: z.state, Evidence: evidence,
		Live: z.live, Hung: z.hung, Since: z.g.wall(z.episodeSince),
	})
}
