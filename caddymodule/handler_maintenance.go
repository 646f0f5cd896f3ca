package caddymodule

import (
	"net/http"
	"time"

	"github.com/firebreak-proxy/firebreak/maintenance"
	"github.com/firebreak-proxy/firebreak/refusal"
)

// untilFurtherNotice is the Retry-After of a switch that says neither when it
// ends nor when to come again.
const untilFurtherNotice = time.Minute

// inMaintenance reports whether a switch refuses the request. secret may let it
// through.
func (h *Handler) inMaintenance(r *http.Request, a *admission, secret string) bool {
	store := a.store
	if !a.known {
		store = "" // no switch is for it; those of its zone and of everything hold
	}
	sw := h.board.Lookup(a.zone, store)
	if sw == nil || !sw.Refuses(r.Method) {
		return false
	}
	if h.bypasses.Allow(r, secret) {
		a.bypassed = true
		return false
	}
	a.reason, a.message, a.retryAfter = refusal.ReasonMaintenance, sw.Message, h.untilOver(sw)
	a.staleInMaintenance = sw.Stale
	h.meters.NoteMaintenance(a.zone)
	if a.known {
		h.knocks.note(a.store)
	}
	return true
}

// untilOver is when a client may come again.
func (h *Handler) untilOver(sw *maintenance.Switch) time.Duration {
	switch {
	case sw.RetryAfter > 0:
		return time.Duration(sw.RetryAfter)
	case !sw.Until.IsZero():
		return max(sw.Until.Sub(h.board.Now()), time.Second)
	}
	return untilFurtherNotice
}
