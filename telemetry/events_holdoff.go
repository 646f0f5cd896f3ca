package telemetry

import (
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
)

// holdOff is for how long a store's quarantine is kept from Caddy's event
// handlers, and so from webhooks: one that ends within that time is told to none of
// them. When a zone freezes, its first stores are suspected for moments, until the
// zone explains them.
const holdOff = time.Second

// heldOff is an event that Caddy's handlers are not told of yet.
type heldOff struct {
	kind        string
	zone, store string
	data        map[string]any
	due         time.Time
}

// emitTransition hands a transition to Caddy's handlers, those about quarantines a
// little later.
func (w *Reporter) emitTransition(e *breaker.Event, data map[string]any) {
	w.listener.Tell(e.Kind, data)
	switch e.Kind {
	case breaker.EventStoreQuarantined:
		w.turn.heldOff = append(w.turn.heldOff, heldOff{e.Kind, e.Zone, e.Store, data, time.Now().Add(holdOff)})
		return
	case breaker.EventStoreReleased:
		for i, h := range w.turn.heldOff {
			if h.zone == e.Zone && h.store == e.Store {
				w.turn.heldOff = append(w.turn.heldOff[:i], w.turn.heldOff[i+1:]...)
				return
			}
		}
	}
	w.emitToHandlers(e.Kind, data)
}

// emitDue hands over the events whose time has come; if the process ends, all.
func (w *Reporter) emitDue(exiting bool) {
	waiting := w.turn.heldOff
	for len(waiting) > 0 && (exiting || !time.Now().Before(waiting[0].due)) {
		w.emitToHandlers(waiting[0].kind, waiting[0].data)
		waiting = waiting[1:]
	}
	w.turn.heldOff = waiting
}

// nextDue fires when the next event is due.
func (w *Reporter) nextDue() <-chan time.Time {
	if len(w.turn.heldOff) == 0 {
		return nil
	}
	return time.After(time.Until(w.turn.heldOff[0].due))
}
