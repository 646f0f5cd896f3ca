package caddymodule

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/flight"
	"github.com/firebreak-proxy/firebreak/internal/upload"
	"github.com/firebreak-proxy/firebreak/maintenance/bypass"
	"github.com/firebreak-proxy/firebreak/refusal"
	"github.com/firebreak-proxy/firebreak/routing"
	"github.com/firebreak-proxy/firebreak/stale"
	"github.com/firebreak-proxy/firebreak/telemetry"
)

// Placeholders that the handler sets.
const (
	placeholderStore = refusal.PlaceholderStore
	placeholderZone  = refusal.PlaceholderZone
)

// Fields of the access log.
const (
	logFieldStore   = "firebreak_store"
	logFieldZone    = "firebreak_zone"
	logFieldOutcome = "firebreak_outcome"
	logFieldRefusal = "firebreak_refusal"
	logFieldBypass  = "firebreak_bypass"
)

// unknownStore is what all keys that name no store share.
const unknownStore = routing.UnknownStore

// ServeHTTP admits the request, lets it wait, or refuses it; an admitted
// request has until its deadline to begin its response.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	a, ok := h.admit(w, r)
	if ok && a.span != nil {
		defer a.traceEnd()
	}
	switch {
	case !ok:
		return next.ServeHTTP(w, r)
	case a.slot != nil:
		return h.serve(w, r, next, a)
	case a.reason == breaker.ReasonGone:
		w.WriteHeader(flight.StatusClientGone)
		return nil
	}
	return h.refuse(w, r, a)
}

// admission is what becomes of a request. It is also the request's line in the
// access log, written when all is over.
type admission struct {
	store, zone string
	known       bool   // the key names a store
	key         string // if the directory learns from responses
	slot        *breaker.Slot
	reason      breaker.Reason // why it was refused; empty if it was not
	retryAfter  time.Duration  // of a refusal
	message     string         // of the operator, for a refused client
	bypassed    bool           // it was let through maintenance
	outcome     string         // of an admitted request
	span        trace.Span     // nil: the request is not traced
	received    bool           // the body, or as much of it as is received ahead
	body        *upload.Body   // nil: nothing was received ahead

	asked              *stale.Request // what the memory of answers knows it by; nil: nothing
	handler            *Handler       // that admits the request
	request            *http.Request  // with handler, what memory is asked with: see memoryOf
	staleInMaintenance bool           // the switch that refused it lets it be answered from memory
}

// MarshalLogObject adds the fields to a line of the access log.
func (a *admission) MarshalLogObject(enc zapcore.ObjectEncoder) error {
	enc.AddString(logFieldStore, a.store)
	enc.AddString(logFieldZone, a.zone)
	if a.outcome != "" {
		enc.AddString(logFieldOutcome, a.outcome)
	}
	if a.reason != "" {
		enc.AddString(logFieldRefusal, string(a.reason))
	}
	if a.bypassed {
		enc.AddBool(logFieldBypass, true)
	}
	return nil
}

// admit finds out where the request belongs and asks for a slot. It reports
// false if firebreak itself failed: a bug here must not take the API down, so
// the request is let through.
func (h *Handler) admit(w http.ResponseWriter, r *http.Request) (a *admission, ok bool) {
	defer func() {
		if v := recover(); v != nil {
			h.failOpen(v)
			ok = false
		}
	}()
	a = &admission{zone: config.UnknownZone, store: unknownStore}
	secret := bypass.TakeSecret(r.Header)
	refused, err := h.place(w, r, a)
	h.publish(r.Context(), a)
	if a.span = spanOf(r.Context()); a.span != nil {
		a.traceStart()
	}
	if refused || h.inMaintenance(r, a, secret) {
		return a, true
	}
	if err != nil && h.refusesKey(err, a) {
		return a, true
	}
	if !a.known && h.Unknown == unknownRefuse {
		a.reason = refusal.ReasonUnknownStore
		h.meters.UnknownStores.Inc()
		return a, true
	}
	if !h.receive(w, r, a) {
		return a, true
	}
	request := breaker.Request{
		Zone: a.zone, Store: a.store, Shared: !a.known,
		Timeout: time.Duration(h.Timeout), Stream: asksForStream(r.Header),
	}
	if h.keeper.Load() != nil && a.known {
		a.handler, a.request = h, r
		request.Otherwise = (*memoryOf)(a)
	}
	slot, refusal := h.guard.Admit(r.Context(), request)
	a.slot = slot
	if slot == nil {
		a.reason, a.retryAfter = refusal.Reason, refusal.RetryAfter
		return a, true
	}
	tagRequest(r, slot)
	return a, true
}

// tagRequest gives the request an id by which its queries can be found in the zone's
// database, if they are cancelled when it hangs.
func tagRequest(r *http.Request, slot *breaker.Slot) {
	if len(r.Header[config.RequestHeader]) > 0 {
		delete(r.Header, config.RequestHeader)
	}
	if slot.Policy().Check.Cancels(r.Method) {
		id := rand.Text()
		slot.Tag(id)
		r.Header[config.RequestHeader] = []string{id}
	}
}

// place finds out where the request belongs. It reports true if the request is
// refused before its body can be looked at. An error says why there is no key.
func (h *Handler) place(w http.ResponseWriter, r *http.Request, a *admission) (refused bool, err error) {
	if h.readsBodies && !h.receive(w, r, a) {
		return true, nil
	}
	route, found, err := h.route(w, r, a)
	if found {
		a.store, a.zone, a.known = route.Store, route.Zone, true
	}
	return false, err
}

// route finds the request's key, and the store and zone of that key. An error
// says why there is no key.
func (h *Handler) route(w http.ResponseWriter, r *http.Request, a *admission) (route routing.Route, found bool, err error) {
	key, err := h.findKey(w, r)
	if err != nil {
		if c := h.log.Check(zapcore.DebugLevel, telemetry.LogNoKey); c != nil {
			c.Write(zap.Error(err))
		}
	}
	if key == "" {
		return routing.Route{}, false, err
	}
	if h.taught != nil {
		a.key = key
	}
	route, found = routing.Locate(r.Context(), h.directory, key)
	return route, found, nil
}

// refusesKey reports whether a request is refused because its key is ambiguous.
// While unknown keys are only observed, it has none.
func (h *Handler) refusesKey(err error, a *admission) bool {
	var ambiguous *routing.AmbiguousError
	if !errors.As(err, &ambiguous) || !ambiguous.Refuse || h.observesUnknown {
		return false
	}
	a.reason, a.message = refusal.ReasonAmbiguousKey, keyMessage(ambiguous)
	h.meters.AmbiguousKeys.Inc()
	return true
}

// keyMessage tells a client what is wrong with its key.
func keyMessage(err error) string {
	text := err.Error()
	return strings.ToUpper(text[:1]) + text[1:] + "."
}

// findKey finds the key of a request: "" if there is none.
func (h *Handler) findKey(w http.ResponseWriter, r *http.Request) (string, error) {
	if h.extractor == nil {
		return "", nil
	}
	return h.extractor.Key(w, r)
}

// publish makes store and zone known to the other handlers and to the log.
func (h *Handler) publish(ctx context.Context, a *admission) {
	if repl, ok := ctx.Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		if flight.Of(ctx) == nil {
			repl.Map(a.placeholder)
		} else { // of two handlers the inner one holds, and what is set comes before what is mapped
			repl.Set(placeholderStore, (*storeText)(a))
			repl.Set(placeholderZone, (*zoneText)(a))
		}
	}
	if server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server); !ok || server.Logs == nil {
		return // there is no access log
	}
	if fields, ok := ctx.Value(caddyhttp.ExtraLogFieldsCtxKey).(*caddyhttp.ExtraLogFields); ok {
		// Inline, so that nothing is encoded for a request that is not logged.
		fields.Add(zap.Inline(a))
	}
}

// placeholder is the value of a placeholder, if it is one of the admission's.
func (a *admission) placeholder(name string) (any, bool) {
	switch name {
	case placeholderStore:
		return (*storeText)(a), true
	case placeholderZone:
		return (*zoneText)(a), true
	}
	return nil, false
}

// storeText and zoneText are an admission seen as a placeholder's value, which
// saves a copy of the string.
type (
	storeText admission
	zoneText  admission
)

func (a *storeText) String() string { return a.store }
func (a *zoneText) String() string  { return a.zone }

// failOpen notes a failure of firebreak itself.
func (h *Handler) failOpen(v any) {
	h.meters.Panics.Inc()
	h.log.Error(telemetry.LogFailedOpen,
		zap.Any("panic", v), zap.ByteString("stack", debug.Stack()))
}

// asksForStream reports whether the request wants a WebSocket or server-sent events.
func asksForStream(header http.Header) bool {
	if len(header["Upgrade"]) > 0 {
		return true
	}
	for _, accept := range header["Accept"] {
		if strings.Contains(accept, "text/event-stream") {
			return true
		}
	}
	return false
}
