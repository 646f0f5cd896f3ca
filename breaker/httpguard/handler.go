// Package httpguard guards a net/http handler: a middleware around whatever needs a
// worker of a pool, such as [net/http/httputil.ReverseProxy], or a handler that asks
// a database.
//
//	guarded := &httpguard.Handler{
//		Guard: guard,
//		Of:    func(r *http.Request) (zone, store string) { … },
//		Next:  proxy,
//	}
//	http.Handle("/", http.TimeoutHandler(guarded, guard.Policy().Default.Timeout, ""))
//
// [http.TimeoutHandler] around it answers the client at the deadline, whatever Next
// does; the slot stays on the books until Next returns.
package httpguard

import (
	"context"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
)

// Handler admits requests to Next, or refuses them.
type Handler struct {
	// Guard is the guard of the pool of workers.
	Guard *breaker.Guard

	// Of is the zone and the store of a request.
	Of func(r *http.Request) (zone, store string)

	// Next serves the requests that are admitted. A worker is taken to be busy until
	// it returns.
	Next http.Handler

	// Refuse answers a request that is not admitted; nil: 503 with Retry-After and
	// the reason in the header field Firebreak-Refusal.
	Refuse func(w http.ResponseWriter, r *http.Request, refusal *breaker.Refusal)
}

// ServeHTTP implements [http.Handler].
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	zone, store := h.Of(r)
	slot, refusal := h.Guard.Admit(r.Context(), breaker.Request{Zone: zone, Store: store})
	if refusal != nil {
		h.refuse(w, r, refusal)
		return
	}
	slot.Track()
	answer := &response{ResponseWriter: w, slot: slot, deadline: time.AfterFunc(slot.Timeout(), slot.Hang), outcome: breaker.Broken}
	defer answer.end(context.AfterFunc(r.Context(), slot.Leave))
	h.Next.ServeHTTP(answer, r)
	if r.Context().Err() == nil {
		answer.begin(http.StatusOK)
	}
}

func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, refusal *breaker.Refusal) {
	if h.Refuse != nil {
		h.Refuse(w, r, refusal)
		return
	}
	w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(refusal.RetryAfter.Seconds()))))
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Firebreak-Refusal", string(refusal.Reason))
	http.Error(w, "Service unavailable", http.StatusServiceUnavailable)
}

// response reports to the slot what becomes of a request.
type response struct {
	http.ResponseWriter
	slot     *breaker.Slot
	deadline *time.Timer
	begun    bool
	outcome  breaker.Outcome // Broken until an answer begins
}

// begin reports the first byte of the answer.
func (w *response) begin(status int) {
	if w.begun || status < http.StatusOK {
		return
	}
	w.begun = true
	if w.outcome = breaker.OK; w.slot.Policy().Fails(status) {
		w.outcome = breaker.Failure
	}
	w.deadline.Stop()
	w.slot.Answer(w.outcome)
}

// end reports that the worker is free. stop reports false if the client has left,
// or was answered by another handler.
func (w *response) end(stop func() bool) {
	w.deadline.Stop()
	if !stop() && !w.begun {
		w.slot.Leave()
		w.outcome = breaker.Gone
	}
	w.slot.End(w.outcome)
}

// WriteHeader implements [http.ResponseWriter].
func (w *response) WriteHeader(status int) {
	w.begin(status)
	w.ResponseWriter.WriteHeader(status)
}

// Write implements [http.ResponseWriter].
func (w *response) Write(p []byte) (int, error) {
	w.begin(http.StatusOK)
	return w.ResponseWriter.Write(p)
}

// Unwrap is for [http.ResponseController].
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }
