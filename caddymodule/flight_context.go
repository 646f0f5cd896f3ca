package caddymodule

import (
	"context"
	"net"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// flightKey finds the flight in a context.
type flightKey struct{}

// flightOf is the flight that a request belongs to, or nil.
func flightOf(ctx context.Context) *flight {
	f, _ := ctx.Value(flightKey{}).(*flight)
	return f
}

// privateValues stand in, after the cut, for what a request shares with the
// handlers before this one.
type privateValues struct {
	vars   map[string]any
	fields *caddyhttp.ExtraLogFields
}

// Value finds the flight itself. Once it is cut, the variables and log fields
// it gives are its own: the handlers before this one go on using the real
// ones, and neither is made for two goroutines.
func (f *flight) Value(key any) any {
	switch key := key.(type) {
	case flightKey:
		return f
	case caddy.CtxKey:
		if f.left.Load() {
			return f.privateValue(key)
		}
	}
	return f.Context.Value(key)
}

func (f *flight) privateValue(key caddy.CtxKey) any {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch key {
	case caddyhttp.VarsCtxKey:
		if f.private.vars == nil {
			f.private.vars = f.ownVars()
		}
		return f.private.vars
	case caddyhttp.ExtraLogFieldsCtxKey:
		if f.private.fields == nil {
			f.private.fields = new(caddyhttp.ExtraLogFields)
		}
		return f.private.fields
	default:
		return f.Context.Value(key)
	}
}

// ownVars are the variables that Caddy's handlers take for granted: without
// them they panic. The real ones cannot be copied, since next may be changing
// them. They decide nothing any more: what is cut is not sent to anybody.
func (f *flight) ownVars() map[string]any {
	ip := ""
	if r, ok := f.Context.Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok {
		ip, _, _ = net.SplitHostPort(r.RemoteAddr)
	}
	return map[string]any{
		caddyhttp.ClientIPVarKey: ip, caddyhttp.TrustedProxyVarKey: false, "start_time": f.began,
	}
}
