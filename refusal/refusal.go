package refusal

import (
	"cmp"
	"context"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/firebreak-proxy/firebreak/breaker"
)

// Header says why a request was refused; an API server that passes it
// on, or a firebreak further up, is not blamed for the refusal.
const Header = "Firebreak-Refusal"

// Placeholders of a refused request. The handler sets those of the store and the
// zone for every request.
const (
	PlaceholderStore      = "http.firebreak.store"
	PlaceholderZone       = "http.firebreak.zone"
	placeholderRefusal    = "http.firebreak.refusal"
	placeholderRetryAfter = "http.firebreak.retry_after"
	placeholderMessage    = "http.firebreak.message"
)

// What a refusal may show to clients.
const (
	ExposeStore = "store"
	ExposeZone  = "zone"
)

// Reasons of the handler, beside those of the guard.
const (
	ReasonMaintenance    breaker.Reason = "maintenance"      // an operator's switch
	ReasonHung           breaker.Reason = "hung"             // no answer by the deadline
	ReasonSlowRequest    breaker.Reason = "slow_request"     // the client did not send its request in time
	ReasonTooManyUploads breaker.Reason = "too_many_uploads" // the client sends too many requests at once
	ReasonUnknownStore   breaker.Reason = "unknown_store"    // the key names no store
	ReasonAmbiguousKey   breaker.Reason = "ambiguous_key"    // API servers may read different keys
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
	{ReasonMaintenance, http.StatusServiceUnavailable, "14", "Maintenance", "This part of the service is under maintenance. Please try again later.", true},
	{breaker.ReasonZoneOpen, http.StatusServiceUnavailable, "14", "Temporarily unavailable", "This part of the service is not available at the moment. Please try again later.", true},
	{breaker.ReasonQuarantine, http.StatusServiceUnavailable, "14", "Temporarily unavailable", "This store is not available at the moment. Please try again later.", true},
	{breaker.ReasonBusy, http.StatusServiceUnavailable, "14", "Too busy", "The service is too busy at the moment. Please try again shortly.", true},
	{ReasonHung, http.StatusGatewayTimeout, "4", "No answer in time", "The service did not answer in time. Please try again later.", true},
	{ReasonSlowRequest, http.StatusRequestTimeout, "4", "Request not finished", "The request did not arrive in time. Please send it again.", true},
	{ReasonTooManyUploads, http.StatusTooManyRequests, "8", "Too many requests at once", "Too many requests are being sent from this address at once. Please send fewer at a time.", true},
	{ReasonUnknownStore, http.StatusNotFound, "5", "Unknown store", "There is no such store.", false},
	{ReasonAmbiguousKey, http.StatusBadRequest, "3", "Ambiguous key", "It is not clear which store this request is for.", false},
}

func kindOf(reason breaker.Reason) *refusalKind {
	for i := range refusalKinds {
		if refusalKinds[i].reason == reason {
			return &refusalKinds[i]
		}
	}
	return &refusalKinds[1]
}

// Refusal is one refused request: the reason, and what its answer may mention.
type Refusal struct {
	Reason     breaker.Reason
	RetryAfter time.Duration // until trying again makes sense

	// Where the request belongs. Known reports whether its key names a store.
	Zone, Store string
	Known       bool

	Message string // an operator's, instead of the reason's own
}

// answer is a refusal on its way to the client.
type answer struct {
	*Refusal
	kind    *refusalKind
	seconds int // of Retry-After; 0: none
}

func (r *Refusal) answer() answer {
	a := answer{Refusal: r, kind: kindOf(r.Reason)}
	if a.kind.retry {
		a.seconds = retryAfter(r.RetryAfter)
	}
	return a
}

func (a *answer) message() string { return cmp.Or(a.Message, a.kind.message) }

// Prepare sets the header fields and placeholders of a refusal that other
// handlers answer. It returns the status to answer with.
func Prepare(header http.Header, r *http.Request, refused *Refusal) (status int) {
	a := refused.answer()
	a.setHeader(header, r.Header)
	a.setPlaceholders(r.Context())
	return a.kind.status
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

// setHeader sets the header fields of every refusal. The values are made
// for this response alone, because other handlers may change them in place.
func (a *answer) setHeader(header, request http.Header) {
	values := make([]string, 5)
	set := func(i int, name, value string) {
		values[i] = value
		header[name] = values[i : i+1 : i+1]
	}
	set(0, Header, string(a.kind.reason))
	set(1, "Cache-Control", "no-store")
	if a.seconds > 0 {
		set(2, "Retry-After", strconv.Itoa(a.seconds))
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
		set(4, "Access-Control-Expose-Headers", "Retry-After, "+Header)
	}
}

// setPlaceholders tells other handlers about the refusal.
func (a *answer) setPlaceholders(ctx context.Context) {
	repl, ok := ctx.Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return
	}
	repl.Set(placeholderRefusal, string(a.kind.reason))
	repl.Set(placeholderRetryAfter, a.seconds)
	repl.Set(placeholderMessage, a.message())
}
