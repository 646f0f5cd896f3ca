package caddymodule_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// These tests pin what firebreak relies on in Caddy and is not documented
// there. When one fails after an upgrade, its comment says what to look at.

// A cause that is context.Canceled makes reverse_proxy answer 499, return no
// error and try no other upstream (errDeadline, errClientLeft).
func TestAssumeCanceledCauseEndsProxy(t *testing.T) {
	stuck := newGate(t)
	status := make(chan int, 1)
	setWrap(t, func(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
		ctx, cancel := context.WithCancelCause(r.Context())
		defer cancel(nil)
		time.AfterFunc(100*time.Millisecond, func() { cancel(fmt.Errorf("ours: %w", context.Canceled)) })
		rec := httptest.NewRecorder()
		err := next.ServeHTTP(rec, r.WithContext(ctx))
		status <- rec.Code
		return err
	})
	upstream := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { stuck.wait() }))
	defer upstream.Close()
	defer stuck.release()
	s := startSidecar(t, fmt.Sprintf(fastApp, ""), fmt.Sprintf("test_next\nreverse_proxy %s {\nlb_try_duration 8s\n}", upstream.Listener.Addr()))
	start := time.Now()
	if res, _ := s.get(t, "/"); res.StatusCode != 200 {
		t.Errorf("status %d of a handler that returned no error and wrote nothing", res.StatusCode)
	}
	within(t, "the proxy", time.Since(start), 0, 4*time.Second)
	if got := <-status; got != 499 {
		t.Errorf("status at the writer = %d, want 499", got)
	}
}

// What reverse_proxy's errors are when a dial fails (isDialError), and when no
// upstream is left: that one has no name, only a text (errNoUpstreamText).
func TestAssumeProxyErrors(t *testing.T) {
	errs := make(chan error, 1)
	setWrap(t, func(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
		errs <- next.ServeHTTP(w, r)
		return nil
	})
	s := startSidecar(t, fmt.Sprintf(fastApp, ""), "test_next\nreverse_proxy "+deadAddress(t)+" {\nfail_duration 1m\n}")
	s.get(t, "/")
	var dialErr reverseproxy.DialError
	if err := <-errs; !errors.As(err, &dialErr) {
		t.Errorf("error = %v, want a DialError in it", err)
	}
	s.get(t, "/")
	var handlerErr caddyhttp.HandlerError
	if err := <-errs; !errors.As(err, &handlerErr) || handlerErr.StatusCode != 503 || handlerErr.Err.Error() != "no upstreams available" {
		t.Errorf("error = %v, want a HandlerError: 503, no upstreams available", err)
	}
}

// A placeholder's value may be a fmt.Stringer (storeText, zoneText).
func TestAssumeStringerPlaceholder(t *testing.T) {
	repl := caddy.NewReplacer()
	repl.Set("x", stringer{})
	if got := repl.ReplaceAll("{x}", ""); got != "text" {
		t.Errorf("placeholder = %q, want text", got)
	}
}

type stringer struct{}

func (stringer) String() string { return "text" }
