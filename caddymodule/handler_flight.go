package caddymodule

import (
	"net/http"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/flight"
	"github.com/firebreak-proxy/firebreak/refusal"
	"github.com/firebreak-proxy/firebreak/stale"
)

// deadlineHeader tells the API server how many milliseconds it has.
const deadlineHeader = "Firebreak-Deadline-Ms"

// serve runs the next handlers for an admitted request.
func (h *Handler) serve(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler, a *admission) error {
	a.handler = h
	return h.flights.Run(w, r, next, flight.Request{Slot: a.slot, Admission: (*inFlight)(a), Ahead: a.body})
}

// inFlight is an admission as its flight sees it.
type inFlight admission

// Prepare asks whether the answer is to be kept, and then changes the header fields
// of the request that are firebreak's own.
func (a *inFlight) Prepare(r *http.Request, asked *stale.Request, began time.Time) bool {
	h := a.handler
	keeper := h.keeper.Load()
	kept := keeper != nil && a.known && keeper.Ask(asked, r, a.zone, a.store, began)
	h.setDeadlineHeader(r.Header, a.slot.Timeout())
	if h.taught != nil {
		h.taught.Forget(r.Header)
	}
	return kept
}

// Learn tells the directory where the request's store lives.
func (a *inFlight) Learn(response http.Header) {
	if taught := a.handler.taught; taught != nil {
		taught.Learn(a.key, response)
	}
}

// Forget removes what is for the directory from an informational response.
func (a *inFlight) Forget(informational http.Header) {
	if taught := a.handler.taught; taught != nil {
		taught.Forget(informational)
	}
}

// Began makes a traced request an example of how long responses take.
func (a *inFlight) Began(took time.Duration) {
	if a.span != nil {
		a.handler.noteExemplar((*admission)(a), took)
	}
}

// Ended notes the outcome, for the access log.
func (a *inFlight) Ended(o breaker.Outcome) { a.outcome = o.String() }

// Refuse answers the client instead of the next handlers.
func (a *inFlight) Refuse(w http.ResponseWriter, r *http.Request, reason breaker.Reason, asked *stale.Request) error {
	a.reason, a.asked = reason, asked
	if reason == refusal.ReasonSlowRequest {
		a.handler.meters.SlowRequests.Inc()
	}
	return a.handler.refuse(w, r, (*admission)(a))
}

// setDeadlineHeader tells the API server how long it has. What a client put
// there itself never arrives.
func (h *Handler) setDeadlineHeader(header http.Header, timeout time.Duration) {
	if h.DeadlineHeader {
		header[deadlineHeader] = []string{strconv.FormatInt(timeout.Milliseconds(), 10)}
		return
	}
	if len(header[deadlineHeader]) > 0 {
		delete(header, deadlineHeader)
	}
}

// Interface guards.
var _ flight.Admission = (*inFlight)(nil)
