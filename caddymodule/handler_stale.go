package caddymodule

import (
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/refusal"
	"github.com/firebreak-proxy/firebreak/stale"
)

// outcomeStale is the outcome of a request that was answered from memory.
const outcomeStale = "stale"

// askMemory notes what an admitted request asks for, if its answer can be kept.
func (f *flight) askMemory(r *http.Request) {
	keeper := f.h.keeper.Load()
	if keeper == nil || !f.admission.known {
		return
	}
	if keeper.Ask(&f.wake.asked, r, f.admission.zone, f.admission.store, f.began) {
		f.asked = &f.wake.asked
		f.admission.asked = f.asked
	}
}

// endCopy keeps the copy of an answer that is complete, or drops it. Callers hold mu.
func (f *flight) endCopy(complete bool) {
	switch {
	case f.copy == nil:
		return
	case complete:
		f.copy.Keep()
	default:
		f.copy.Drop()
	}
	f.copy = nil
}

var asking = sync.Pool{New: func() any { return new(stale.Request) }}

// answerFromMemory answers a refused request with the last good answer. It reports
// false if it did not.
func (h *Handler) answerFromMemory(w http.ResponseWriter, r *http.Request, a *admission) bool {
	keeper := h.keeper.Load()
	if keeper == nil || !a.known || !a.standsIn() || h.board.StaleOff() {
		return false
	}
	asked := a.asked
	if asked == nil {
		asked = asking.Get().(*stale.Request)
		defer func() {
			asked.Reset()
			asking.Put(asked)
		}()
		if !keeper.Look(asked, r, a.zone, a.store) {
			return false
		}
	}
	answer := asked.Find(time.Now())
	switch {
	case answer != nil:
	case asked.Answerable():
		h.meters.StaleMisses.Inc()
		return false
	default:
		return false
	}
	a.outcome = outcomeStale
	h.meters.NoteStale(a.zone, a.reason)
	answer.WriteTo(w, string(a.reason))
	return true
}

// standsIn reports whether an old answer may stand in for a refusal of this reason.
func (a *admission) standsIn() bool {
	if a.reason == refusal.ReasonMaintenance {
		return a.staleInMaintenance
	}
	return slices.Contains([]breaker.Reason{breaker.ReasonZoneOpen, breaker.ReasonQuarantine, breaker.ReasonBusy, refusal.ReasonHung}, a.reason)
}
