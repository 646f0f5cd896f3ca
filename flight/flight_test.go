package flight

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/refusal"
)

const short = 50 * time.Millisecond

// TestAnswerInTime: what the next handlers answer is the client's, and what they
// tell the directory is not.
func TestAnswerInTime(t *testing.T) {
	p, w := newRig(t), httptest.NewRecorder()
	a := p.run(t, w, newRequest(t), time.Minute, func(w http.ResponseWriter, r *http.Request) error {
		if r.Header.Get("X-Prepared") == "" || Of(r.Context()) == nil {
			t.Error("the request was not prepared, or its context has no flight")
		}
		w.Header().Set("X-Zone", "z2")
		w.Header().Set("X-Kept", "yes")
		w.WriteHeader(http.StatusCreated)
		_, err := io.WriteString(w, "done")
		return err
	})
	if w.Code != http.StatusCreated || w.Body.String() != "done" || w.Header().Get("X-Kept") != "yes" || w.Header().Get("X-Zone") != "" {
		t.Errorf("the client got %d %v %q", w.Code, w.Header(), w.Body)
	}
	if a.began != 1 || a.outcome != breaker.OK.String() || a.reason != "" || !slices.Equal(a.learned, []string{"z2"}) {
		t.Errorf("the admission was told: %d begun, outcome %q, refused for %q, learned %q", a.began, a.outcome, a.reason, a.learned)
	}
	if live, hung := p.busy(); live+hung != 0 {
		t.Errorf("%d workers are busy, %d hang, after the answer", live, hung)
	}
}

// TestDeadline: a handler that ignores its context is left behind at the deadline.
// Its worker is busy until it comes with an answer.
func TestDeadline(t *testing.T) {
	p, w := newRig(t), httptest.NewRecorder()
	worker := make(chan struct{})
	began := time.Now()
	a := p.run(t, w, newRequest(t), short, func(w http.ResponseWriter, _ *http.Request) error {
		<-worker
		w.WriteHeader(http.StatusOK)
		return nil
	})
	if took := time.Since(began); took < short || took > 10*short {
		t.Errorf("the client was answered after %v, want %v", took, short)
	}
	if w.Code != http.StatusServiceUnavailable || a.reason != string(refusal.ReasonHung) || a.outcome != breaker.Hung.String() {
		t.Errorf("status %d, refused for %q, outcome %q", w.Code, a.reason, a.outcome)
	}
	if live, hung := p.busy(); live != 0 || hung != 1 {
		t.Errorf("%d workers are busy, %d hang, want 0 and 1", live, hung)
	}
	close(worker)
	eventually(t, "the worker is not free though it has answered", func() bool { _, hung := p.busy(); return hung == 0 })
}

// TestClientLeaves: nobody is answered, and a handler without a round trip is told.
func TestClientLeaves(t *testing.T) {
	p, w := newRig(t), httptest.NewRecorder()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	a := p.run(t, w, newRequest(t).WithContext(ctx), time.Minute, func(_ http.ResponseWriter, r *http.Request) error {
		cancel()
		<-r.Context().Done()
		ended <- context.Cause(r.Context())
		return nil
	})
	if w.Code != StatusClientGone || a.outcome != breaker.Gone.String() || a.reason != "" {
		t.Errorf("status %d, outcome %q, refused for %q", w.Code, a.outcome, a.reason)
	}
	if cause := <-ended; cause != errClientLeft { //nolint:errorlint // this very one
		t.Errorf("the handler's context ended with %v", cause)
	}
}

// TestPanic: a panic of the next handlers is the caller's.
func TestPanic(t *testing.T) {
	p := newRig(t)
	defer func() {
		if v := recover(); v != "broken" {
			t.Errorf("recovered %v", v)
		}
		if live, hung := p.busy(); live+hung != 0 {
			t.Errorf("%d workers are busy, %d hang, after a panic", live, hung)
		}
	}()
	p.run(t, httptest.NewRecorder(), newRequest(t), time.Minute, func(http.ResponseWriter, *http.Request) error { panic("broken") })
}

// countingWriter counts what reaches it.
type countingWriter struct {
	header http.Header
	calls  atomic.Int32
}

func (w *countingWriter) Header() http.Header         { return w.header }
func (w *countingWriter) Write(p []byte) (int, error) { w.calls.Add(1); return len(p), nil }
func (w *countingWriter) WriteHeader(int)             { w.calls.Add(1) }

// TestCutWriterIsLeftAlone: nothing reaches the client's ResponseWriter after
// Run has returned.
func TestCutWriterIsLeftAlone(t *testing.T) {
	p, w := newRig(t), &countingWriter{header: http.Header{}}
	r := caddyhttp.PrepareRequest(newRequest(t), caddy.NewReplacer(), w, &caddyhttp.Server{})
	r.Body = io.NopCloser(strings.NewReader("body"))
	left, done := make(chan struct{}), make(chan struct{})
	a := p.run(t, w, r, short, func(w http.ResponseWriter, r *http.Request) error {
		defer close(done)
		<-left
		if body, err := io.ReadAll(r.Body); err == nil || len(body) > 0 {
			t.Errorf("read %q of the client's body after the cut, error %v", body, err)
		}
		w.Header().Set("X-Late", "yes")
		w.WriteHeader(http.StatusEarlyHints)
		w.WriteHeader(http.StatusOK)
		if _, err := w.Write([]byte("late")); err == nil {
			t.Error("Write after the cut gave no error")
		}
		if err := http.NewResponseController(w).Flush(); err == nil {
			t.Error("Flush after the cut gave no error")
		}
		caddyhttp.SetVar(r.Context(), "late", true)
		return nil
	})
	before := w.calls.Load()
	close(left)
	<-done
	if before != 1 { // the refusal
		t.Errorf("%d calls before the cut, want 1", before)
	}
	if w.calls.Load() != before || w.header.Get("X-Late") != "" || a.began != 0 {
		t.Errorf("%d calls after the cut, header %v, %d responses begun", w.calls.Load()-before, w.header, a.began)
	}
	if caddyhttp.GetVar(r.Context(), "late") != nil {
		t.Error("a variable set after the cut reached the handlers before")
	}
}
