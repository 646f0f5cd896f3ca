package caddymodule

import (
	"cmp"
	"context"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/firebreak-proxy/firebreak/breaker"
)

// headerRefusal says why a request was refused; an API server that passes it
// on, or a firebreak further up, is not blamed for the refusal.
const headerRefusal = "Firebreak-Refusal"

// Reasons of the handler, beside those of the guard.
const (
	reasonMaintenance  breaker.Reason = "maintenance"   // an operator's switch
	reasonHung         breaker.Reason = "hung"          // no answer by the deadline
	reasonSlowRequest  breaker.Reason = "slow_request"  // the client did not send its request in time
	reasonUnknownStore breaker.Reason = "unknown_store" // the key names no store
)

// refusalKind is what all refusals of a reason have in common.
type refusalKind struct {
	reason  breaker.Reason
	status  int
	grpc    string // status code
	title   string
	message string
	retry   bool // trying again makes sense
}

var refusalKinds = []refusalKind{
	{reasonMaintenance, http.StatusServiceUnavailable, "14", "Maintenance", "This part of the service is under maintenance. Please try again later.", true},
	{breaker.ReasonZoneOpen, http.StatusServiceUnavailable, "14", "Temporarily unavailable", "This part of the service is not available at the moment. Please try again later.", true},
	{breaker.ReasonQuarantine, http.StatusServiceUnavailable, "14", "Temporarily unavailable", "This store is not available at the moment. Please try again later.", true},
	{breaker.ReasonBusy, http.StatusServiceUnavailable, "14", "Too busy", "The service is too busy at the moment. Please try again shortly.", true},
	{reasonHung, http.StatusGatewayTimeout, "4", "No answer in time", "The service did not answer in time. Please try again later.", true},
	{reasonSlowRequest, http.StatusRequestTimeout, "4", "Request not finished", "The request did not arrive in time. Please send it again.", true},
	{reasonUnknownStore, http.StatusNotFound, "5", "Unknown store", "There is no such store.", false},
}

func kindOf(reason breaker.Reason) *refusalKind {
	for i := range refusalKinds {
		if refusalKinds[i].reason == reason {
			return &refusalKinds[i]
		}
	}
	return &refusalKinds[1]
}

// refuse answers a request without touching the pool.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, a *admission) error {
	kind := kindOf(a.reason)
	seconds := 0
	if kind.retry {
		seconds = retryAfter(a.retryAfter)
	}
	if h.routes == nil && h.RefuseMode != refuseError {
		h.refusals.respond(w, r, kind, seconds, a)
		return nil
	}
	refusalHeader(w.Header(), r.Header, kind, seconds)
	setRefusalPlaceholders(r.Context(), kind, seconds, a)
	err := caddyhttp.HandlerError{Err: errRefused, StatusCode: kind.status}
	if h.routes == nil {
		return err
	}
	// As in an error route, the status is what handlers like respond begin with.
	ctx := context.WithValue(r.Context(), caddyhttp.ErrorCtxKey, error(err))
	return h.routes.ServeHTTP(w, r.WithContext(ctx))
}

// maxJitter bounds how much later than needed a client is told to come.
const maxJitter = time.Minute

// retryAfter is the time to wait in seconds: rounded up, and up to a fifth
// more, so that the clients do not all come back at once.
func retryAfter(d time.Duration) int {
	d = max(d, 0)
	d += time.Duration(rand.Int64N(int64(min(d/5, maxJitter)) + 1))
	return max(int((d+time.Second-1)/time.Second), 1)
}

// refusalHeader sets the header fields of every refusal. The values are made
// for this response alone, because other handlers may change them in place.
func refusalHeader(header, request http.Header, kind *refusalKind, seconds int) {
	values := make([]string, 5)
	set := func(i int, name, value string) {
		values[i] = value
		header[name] = values[i : i+1 : i+1]
	}
	set(0, headerRefusal, string(kind.reason))
	set(1, "Cache-Control", "no-store")
	if seconds > 0 {
		set(2, "Retry-After", strconv.Itoa(seconds))
	}
	if len(request["Origin"]) == 0 {
		return
	}
	// A browser shows a script nothing of a response of another origin, unless
	// it says so; with cookies or credentials * would not be enough.
	if len(header["Access-Control-Allow-Origin"]) == 0 {
		set(3, "Access-Control-Allow-Origin", request["Origin"][0])
		header["Access-Control-Allow-Credentials"] = []string{"true"}
		header["Vary"] = append(header["Vary"][:len(header["Vary"]):len(header["Vary"])], "Origin")
	}
	if len(header["Access-Control-Expose-Headers"]) == 0 {
		set(4, "Access-Control-Expose-Headers", "Retry-After, "+headerRefusal)
	}
}

// setRefusalPlaceholders tells other handlers about the refusal.
func setRefusalPlaceholders(ctx context.Context, kind *refusalKind, seconds int, a *admission) {
	repl, ok := ctx.Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return
	}
	repl.Set(placeholderRefusal, string(kind.reason))
	repl.Set(placeholderRetryAfter, seconds)
	repl.Set(placeholderMessage, cmp.Or(a.message, kind.message))
}
