package flight

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// flightKey finds the flight in a context.
type flightKey struct{}

// StatusClientGone is what Caddy writes into the access log for a client that
// left before it was answered.
const StatusClientGone = 499

// errClientLeft ends what runs for a client that has left, and errDeadline
// what runs past its deadline. reverse_proxy takes both for a client that
// left, answers 499 at once and tries no other upstream. That answer goes
// nowhere: by then the flight is cut.
var (
	errClientLeft = fmt.Errorf("firebreak: the client left: %w", context.Canceled)
	errDeadline   = fmt.Errorf("firebreak: the deadline passed: %w", context.Canceled)
)

// Of is the flight that a request belongs to, or nil.
func Of(ctx context.Context) *Flight {
	f, _ := ctx.Value(flightKey{}).(*Flight)
	return f
}

// privateValues stand in, after the cut, for what a request shares with the
// handlers before this one.
type privateValues struct {
	vars   map[string]any
	fields *caddyhttp.ExtraLogFields
}

// A flight's context does not end with the client's: a round trip that began
// goes on after the cut, until its worker is known to be free. It ends at the
// cut if no round trip is under way, else after the last of them, and when the
// flight has landed.

// ending is the part of a flight's context that tells of its end. It is made
// when it is first asked for.
type ending struct {
	context.Context
	cancel context.CancelCauseFunc
}

func (f *Flight) ending() *ending {
	if e := f.end.Load(); e != nil {
		return e
	}
	e := new(ending)
	e.Context, e.cancel = context.WithCancelCause(values{f})
	if !f.end.CompareAndSwap(nil, e) {
		return f.end.Load()
	}
	if f.stopped.Load() {
		e.cancel(nil)
	}
	return e
}

// stop ends the flight's context, once, and the exchanges that hang on it.
func (f *Flight) stop(cause error) {
	f.ending().cancel(cause)
	for t := f.wired.Load(); t != nil; t = t.wired {
		_ = t.exchange.Close()
	}
}

// wire makes a round trip's exchange end with the flight's context.
func (f *Flight) wire(t *Trip) {
	for {
		t.wired = f.wired.Load()
		if f.wired.CompareAndSwap(t.wired, t) {
			break
		}
	}
	if f.Err() != nil {
		_ = t.exchange.Close()
	}
}

// stopAll ends the flight's context when nothing is under way any more.
// Callers hold mu.
func (f *Flight) stopAll() {
	f.stopped.Store(true)
	switch {
	case f.cut:
		f.stop(errDeadline)
	case f.end.Load() != nil:
		f.stop(nil)
	}
}

// cause is why the flight's context ended; nil if it has not.
func (f *Flight) cause() error {
	if e := f.end.Load(); e != nil {
		return context.Cause(e)
	}
	return nil
}

// Deadline is the client's.
func (f *Flight) Deadline() (time.Time, bool) { return f.client.Deadline() }

// Done is closed by stop.
func (f *Flight) Done() <-chan struct{} { return f.ending().Done() }

// Err is not nil after stop.
func (f *Flight) Err() error {
	if e := f.end.Load(); e != nil {
		return e.Err()
	}
	return nil
}

// Value is that of the ending, if there is one, so that package context finds
// what it can hang on to. Caddy's values are asked for often, and the ending has
// none.
func (f *Flight) Value(key any) any {
	if _, ok := key.(caddy.CtxKey); ok {
		return f.value(key)
	}
	if e := f.end.Load(); e != nil {
		return e.Value(key)
	}
	return f.value(key)
}

// values are a flight's values as a context that never ends.
type values struct{ f *Flight }

func (values) Deadline() (t time.Time, ok bool) { return t, false }
func (values) Done() <-chan struct{}            { return nil }
func (values) Err() error                       { return nil }
func (v values) Value(key any) any              { return v.f.value(key) }

// value finds the flight itself. Once it is cut, the variables and log fields
// it gives are its own: the handlers before this one go on using the real
// ones, and neither is made for two goroutines.
func (f *Flight) value(key any) any {
	switch key := key.(type) {
	case flightKey:
		return f
	case caddy.CtxKey:
		if f.left.Load() {
			return f.privateValue(key)
		}
	}
	return f.client.Value(key)
}

// tripContext is the context of a round trip when a handler between firebreak
// and the transport has made one that ends on its own account: its values, and
// the flight's end. The worker would be busy after such an end, too.
type tripContext struct {
	context.Context
	f *Flight
}

func (c tripContext) Deadline() (time.Time, bool) { return c.f.Deadline() }
func (c tripContext) Done() <-chan struct{}       { return c.f.Done() }
func (c tripContext) Err() error                  { return c.f.Err() }

func (f *Flight) privateValue(key caddy.CtxKey) any {
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
		return f.client.Value(key)
	}
}

// ownVars are the variables that Caddy's handlers take for granted: without
// them they panic. The real ones cannot be copied, since next may be changing
// them. They decide nothing any more: what is cut is not sent to anybody.
func (f *Flight) ownVars() map[string]any {
	ip := ""
	if r, ok := f.client.Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok {
		ip, _, _ = net.SplitHostPort(r.RemoteAddr)
	}
	return map[string]any{
		caddyhttp.ClientIPVarKey: ip, caddyhttp.TrustedProxyVarKey: false, "start_time": f.began,
	}
}
