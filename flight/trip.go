package flight

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/internal/http1"
)

// A body whose client is gone is read to its end, because the end of the
// response is the end of the worker's work; but not without bounds.
const (
	drainBytes = 1 << 20
	drainTime  = 10 * time.Second
)

// Causes that end a round trip early. What reverse_proxy is told is always
// errDeadline: it must neither try another upstream nor count a failure.
var (
	errCutShort  = fmt.Errorf("firebreak: the request was not sent in full: %w", context.Canceled)
	errAbandoned = fmt.Errorf("firebreak: the worker was given up: %w", context.Canceled)
)

// Trip is one round trip of a flight: one worker at work. It runs on the
// flight's context, which neither the client nor the deadline cancels, and
// lasts until the worker is known to be free: the response was read to its end,
// or the connection is closed.
type Trip struct {
	f         *Flight
	upload    io.ReadCloser // nil: there is no body
	uploading readState
	sent      atomic.Bool // the upload, to its end

	ended   bool        // guarded by f.mu
	abandon *time.Timer // guarded by f.mu

	exchange http1.Exchange // unless the transport behind makes the round trip
	wired    *Trip          // with an exchange, before this one

	late     breaker.Outcome // what the response says of its worker
	body     io.ReadCloser   // the response's
	bodyOnce sync.Once       // closes body
	flush    bool            // the header, see flushHeader
}

// RoundTrip sends the request to the API server by send, and watches when its worker
// is free. With mayDecline it is not sent to a server that another one should be
// chosen for: the error is as if no connection could be made.
func (f *Flight) RoundTrip(r *http.Request, mayDecline bool, send func(*Trip, *http.Request) (*http.Response, error)) (*http.Response, error) {
	if mayDecline && f.declines(r) {
		return nil, reverseproxy.NewDialError(errDeclined)
	}
	t, own := f.beginRoundTrip(r)
	if t == nil {
		return nil, errDeadline
	}
	address := f.sendTo(r)
	res, err := send(t, own)
	if err != nil && isDialError(err) {
		f.unsent(address)
	}
	return t.endRoundTrip(res, err)
}

// Exchange is what the round trip is to be made with if it is made by package http1:
// the flight's end ends it.
func (t *Trip) Exchange() *http1.Exchange {
	t.f.wire(t)
	return &t.exchange
}

// beginRoundTrip begins a round trip, or returns nil if its client is gone already.
func (f *Flight) beginRoundTrip(r *http.Request) (*Trip, *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.tracked {
		f.tracked = true
		f.slot.Track()
	}
	if f.cut {
		return nil, nil
	}
	t := &f.firstTrip
	if t.f != nil {
		t = new(Trip)
	}
	t.f = f
	if r.Context().Done() != f.Done() {
		r = r.WithContext(tripContext{r.Context(), f})
	}
	if r.Body != nil && r.Body != http.NoBody {
		t.upload = r.Body
		r = r.WithContext(r.Context()) // a copy: the request is the caller's
		r.Body = (*tripUpload)(t)
	}
	if f.trips == nil {
		f.trips = f.tripSpace[:0]
	}
	f.trips = append(f.trips, t)
	return t, r
}

// endRoundTrip takes what the round trip gave. It returns what the caller gets.
func (t *Trip) endRoundTrip(res *http.Response, err error) (*http.Response, error) {
	if err == nil && t.f.slot.Policy().Fails(res.StatusCode) {
		t.late = breaker.Failure
	}
	switch {
	case err != nil:
		late := t.f.left.Load()
		t.end(t.failure(err))
		if late {
			return nil, errDeadline
		}
		return nil, err
	case t.f.left.Load():
		t.drain(res.Body)
		return nil, errDeadline
	case res.StatusCode == http.StatusSwitchingProtocols:
		// Both directions belong to reverse_proxy now, which closes them before
		// it returns.
		t.end(t.late)
		return res, nil
	case res.Body == nil || res.Body == http.NoBody:
		t.end(t.late)
		return res, nil
	}
	t.body, t.flush = res.Body, res.ContentLength < 0
	res.Body = (*tripBody)(t)
	return res, nil
}

// failure is the outcome of a round trip that gave no response.
func (t *Trip) failure(err error) breaker.Outcome {
	switch cause := t.f.cause(); {
	case errors.Is(cause, errAbandoned):
		return breaker.Abandoned
	case cause != nil:
		return breaker.Gone
	case isDialError(err):
		return breaker.NoUpstream
	case t.f.body.broke.Load():
		return breaker.Gone
	case t.f.left.Load() && t.sending():
		return breaker.Gone // the rest of the request was withheld
	}
	return breaker.Broken
}

// sending reports whether the request was not sent to its end yet.
func (t *Trip) sending() bool { return t.upload != nil && !t.sent.Load() }

// end is the moment the worker is free. A second one changes nothing.
func (t *Trip) end(o breaker.Outcome) {
	t.f.mu.Lock()
	defer t.f.mu.Unlock()
	t.endLocked(o)
}

func (t *Trip) endLocked(o breaker.Outcome) {
	if t.ended {
		return
	}
	t.ended = true
	if t.abandon != nil {
		t.abandon.Stop()
	}
	f := t.f
	f.trips = slices.DeleteFunc(f.trips, func(other *Trip) bool { return other == t })
	if f.cut || o != breaker.OK && f.status != 0 {
		f.outcome = o
	}
	f.settleEnd()
}

// detach leaves the round trip to itself: its client is done with. Callers
// hold the flight's mu.
func (t *Trip) detach(why leaving) {
	policy := t.f.slot.Policy()
	switch {
	case t.sending():
		// Its worker cannot even begin; it sees the broken request.
		t.interrupt(errCutShort)
	case t.f.stream && why == clientLeft:
		t.interrupt(errClientLeft)
	case policy.CancelOnTimeout:
		t.interrupt(errDeadline)
	case policy.AbandonAfter > 0:
		t.abandon = time.AfterFunc(policy.AbandonAfter, t.giveUp)
	}
}

// giveUp takes the worker for dead.
func (t *Trip) giveUp() {
	t.interrupt(errAbandoned)
	t.end(breaker.Abandoned)
}

// interrupt closes the connection to the worker, as far as possible: a fastcgi
// transport gives no hold before there is a response.
func (t *Trip) interrupt(cause error) { t.f.stop(cause) }

// drain reads what is left of a response that no client waits for, and ends the trip.
func (t *Trip) drain(body io.ReadCloser) {
	var late atomic.Bool
	limit := time.AfterFunc(drainTime, func() {
		late.Store(true)
		body.Close()
	})
	defer limit.Stop()
	_, err := io.CopyN(io.Discard, body, drainBytes)
	if err != nil && !errors.Is(err, io.EOF) && !late.Load() && t.f.cause() == nil {
		t.late = breaker.Broken
	}
	body.Close()
	t.end(t.late)
}

// flushHeader sends the header of a response of unknown length to the client
// before any of its body. reverse_proxy leaves that to a timer that expires at
// once, so that the scheduler decides what comes first. Without firebreak the
// timer does, if the body's first bytes or its end are waited for: net/http's
// transport waits for the goroutine of its connection before it reports the end
// of a body. A simple request waits for nothing then, and a Content-Type guessed
// from the body, or a Content-Length of 0, would be added by net/http.
func (t *Trip) flushHeader() {
	t.flush = false
	f := t.f
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.over() || f.status == 0 {
		return // a handler in between keeps the header back, and would keep a flush back
	}
	_ = http.NewResponseController(f.w).Flush()
}

// tripUpload is a trip seen as the request body it sends.
type tripUpload Trip

// Read reads the request's body.
func (u *tripUpload) Read(p []byte) (int, error) {
	if !u.uploading.begin() {
		return 0, http.ErrBodyReadAfterClose
	}
	n, err := u.upload.Read(p)
	if err == io.EOF {
		u.sent.Store(true)
	}
	if u.uploading.end() {
		_ = u.upload.Close()
	}
	return n, err
}

// Close closes the request's body. net/http's HTTP/2 transport does so while it
// reads, which the body that reverse_proxy hands over is not made for: the
// client's body beneath it is closed then, and the rest when the read returns.
func (u *tripUpload) Close() error {
	if u.uploading.close() {
		return u.upload.Close()
	}
	return (*requestBody)(u.f).Close()
}

// readState keeps the reads of a body and its close apart.
type readState struct {
	mu              sync.Mutex
	reading, closed bool // guarded by mu
}

// begin reports whether the body may be read.
func (s *readState) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reading = !s.closed
	return s.reading
}

// end ends a read. It reports whether the body was closed meanwhile.
func (s *readState) end() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reading = false
	return s.closed
}

// close reports whether the body is to be closed by the caller; otherwise the
// read that goes on does so.
func (s *readState) close() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return !s.reading
}

// tripBody is a trip seen as the response body it receives.
type tripBody Trip

// Read reads from the worker; at the end of the body the worker is free.
func (b *tripBody) Read(p []byte) (int, error) {
	t := (*Trip)(b)
	if t.flush && t.exchange.Waits() {
		t.flushHeader()
	}
	n, err := t.body.Read(p)
	if t.flush && err == io.EOF {
		t.flushHeader()
	}
	t.flush = false
	switch {
	case err == nil:
		t.f.hear()
	case err == io.EOF:
		t.end(t.late)
	case t.f.cause() != nil:
		t.end(t.failure(err))
	default:
		t.end(breaker.Broken)
	}
	return n, err
}

// Close gives the response up. If its end was not seen, the worker may still
// be busy with it: the rest is read in the background.
func (b *tripBody) Close() error {
	t := (*Trip)(b)
	t.f.mu.Lock()
	ended, stream := t.ended, t.f.stream
	t.f.mu.Unlock()
	var err error
	t.bodyOnce.Do(func() {
		switch {
		case ended:
			err = t.body.Close()
		case stream:
			err = t.body.Close()
			t.end(breaker.Gone)
		default:
			go t.drain(t.body)
		}
	})
	return err
}
