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

var asking = sync.Pool{New: func() any { return new(stale.Request) }}

// answerFromMemory answers a refused request with the last good answer. It reports
// false if it did not.
func (h *Handler) answerFromMemory(w http.ResponseWriter, r *http.Request, a *admission) bool {
	if !a.standsIn() {
		return false
	}
	found, answerable := h.lookInMemory(r, a, func(answer *stale.Answer) {
		a.outcome = outcomeStale
		h.meters.NoteStale(a.zone, a.reason)
		answer.WriteTo(w, string(a.reason))
	})
	if !found && answerable {
		h.meters.StaleMisses.Inc()
	}
	return found
}

// lookInMemory looks for the last good answer to a request, and hands it to use. It
// reports whether there is one, and whether there might have been one.
func (h *Handler) lookInMemory(r *http.Request, a *admission, use func(*stale.Answer)) (found, answerable bool) {
	keeper := h.keeper.Load()
	if keeper == nil || !a.known || h.board.StaleOff() {
		return false, false
	}
	asked := a.asked
	if asked == nil {
		asked = asking.Get().(*stale.Request)
		defer func() {
			asked.Reset()
			asking.Put(asked)
		}()
		if !keeper.Look(asked, r, a.zone, a.store) {
			return false, false
		}
	}
	answer := asked.Find(time.Now())
	if answer == nil {
		return false, asked.Answerable()
	}
	use(answer)
	return true, true
}

// memoryOf is an admission seen as what may answer it otherwise.
type memoryOf admission

// AtHand reports whether memory has an answer.
func (m *memoryOf) AtHand() bool {
	found, _ := m.handler.lookInMemory(m.request, (*admission)(m), func(*stale.Answer) {})
	return found
}

// standsIn reports whether an old answer may stand in for a refusal of this reason.
func (a *admission) standsIn() bool {
	if a.reason == refusal.ReasonMaintenance {
		return a.staleInMaintenance
	}
	return slices.Contains([]breaker.Reason{breaker.ReasonZoneOpen, breaker.ReasonQuarantine, breaker.ReasonBusy, refusal.ReasonHung}, a.reason)
}
