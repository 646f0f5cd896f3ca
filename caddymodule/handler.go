package caddymodule

import (
	"encoding/json"

	"go.uber.org/zap/zapcore"

	"github.com/caddyserver/caddy/v2"

	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/maintenance/bypass"
	"github.com/firebreak-proxy/firebreak/refusal"
	"github.com/firebreak-proxy/firebreak/routing"
	"github.com/firebreak-proxy/firebreak/stale"
)

func init() {
	caddy.RegisterModule(Handler{})
}

// Handler guards the handlers after it: it finds the store and the zone of a
// request, and admits it, lets it wait for a slot, or refuses it.
//
// Several handlers, for example with different matchers and timeouts, share
// the state of all zones and stores, which belongs to the app.
type Handler struct {
	// How to find the key of a request; tried in order, first non-empty wins.
	Keys []routing.KeySpec `json:"keys,omitempty"`

	// What happens to requests whose key names no store: "pass" (they share
	// one bounded bucket with limits of its own) or "refuse" (404).
	// Default: pass.
	Unknown string `json:"unknown,omitempty"`

	// The time a request has until the first byte of its response, instead of
	// its zone's timeout, for example for bulk imports.
	Timeout config.Duration `json:"timeout,omitempty"`

	// How many bytes of a body are read to find the key in it. Default: 64KiB.
	MaxBodyPeek int64 `json:"max_body_peek,omitempty"`

	// What refusals may show to clients: "store", "zone". Default: nothing.
	Expose []string `json:"expose,omitempty"`

	// Tell the API server how many milliseconds it has, in the request header
	// Firebreak-Deadline-Ms. Default: false.
	DeadlineHeader bool `json:"deadline_header,omitempty"`

	// Who is let through maintenance; one of them is enough.
	Bypass []bypass.Bypass `json:"bypass,omitempty"`

	// Own refusal bodies by zone ("*" for all), in order of preference.
	Bodies []refusal.Body `json:"bodies,omitempty"`

	// "respond" (firebreak writes the refusal itself), or "error" (the refusal
	// is an error of its status, for handle_errors). Default: respond.
	// Refuse routes take precedence.
	RefuseMode string `json:"refuse_mode,omitempty"`

	// Handlers that answer refusals instead of firebreak itself.
	RefuseRaw []json.RawMessage `json:"refuse,omitempty" caddy:"namespace=http.handlers inline_key=handler"`

	// Keep the last good answers, and give them instead of refusals. Default:
	// nothing is kept.
	Stale *stale.Config `json:"stale,omitempty"`

	handlerParts
}

// CaddyModule returns the Caddy module information.
func (Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.firebreak",
		New: func() caddy.Module { return new(Handler) },
	}
}

// MarshalLogObject says of a handler what is no secret: Caddy's trace logs handlers
// as they are configured.
func (h *Handler) MarshalLogObject(enc zapcore.ObjectEncoder) error {
	enc.AddInt("keys", len(h.Keys))
	enc.AddInt("bypasses", len(h.Bypass))
	return nil
}
