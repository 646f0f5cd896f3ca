package flight

import (
	"context"
	"net/http"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/refusal"
	"github.com/firebreak-proxy/firebreak/stale"
	"github.com/firebreak-proxy/firebreak/telemetry"
)

// Flight is one admitted request on its way through the next handlers. It is also
// the context of those handlers (so that the transport finds it), their
// ResponseWriter (responseWriter) and their request body (requestBody).
type Flight struct {
	client    context.Context
	log       *zap.Logger
	slot      *breaker.Slot
	admission Admission
	w         http.ResponseWriter // the client's; used under mu, or after the flight has landed or was cut
	end       atomic.Pointer[ending]
	wake      *wake
	body      bodyGate
	began     time.Time
	tunnel    bool                 // the client asked for a tunnel (CONNECT)
	wired     atomic.Pointer[Trip] // the last whose exchange ends with the flight
	left      atomic.Bool          // cut; readable without mu
	stopped   atomic.Bool          // nothing of it is under way any more
	heard     atomic.Int64         // when the last of the body came; nanoseconds since began

	mu      sync.Mutex // guards below
	header  http.Header
	status  int // 0: the response has not begun
	cut     bool
	landed  bool // next has returned
	ended   bool // the slot
	tracked bool
	stream  bool
	grpc    bool    // its verdict comes with the trailers
	late    int     // status of a response that came after the cut
	trips   []*Trip // round trips whose worker is still busy
	outcome breaker.Outcome
	private privateValues
	copy    *stale.Capture // of the answer; nil: none is made

	asked *stale.Request // nil: the answer is not kept

	// The server that the slot is booked on, and those that no connection could be
	// made to. They belong to next's goroutine.
	server  string
	notSent []string
	// declined is how many servers were declined, see declines.
	declined int

	// Room for what most flights need, to save allocations.
	firstTrip Trip
	tripSpace [1]*Trip

	// What next returned; read after landed.
	err      error
	panicked any
	returned bool
}

// hear notes that the body makes progress.
func (f *Flight) hear() { f.heard.Store(int64(time.Since(f.began))) }

// over reports whether the client is out of reach for the next handlers. Callers
// hold mu.
func (f *Flight) over() bool { return f.cut || f.landed }

// wake is what the handler's goroutine waits for, and the header fields of the
// next handlers. It goes back to the pool when the flight has landed in time:
// then it has no other holder, and a stopped timer sends nothing.
type wake struct {
	timer  *time.Timer
	done   chan struct{} // one value, when next has returned
	header http.Header
	asked  stale.Request
}

var wakes = sync.Pool{New: func() any {
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	return &wake{timer: timer, done: make(chan struct{}, 1), header: make(http.Header)}
}}

// Run serves an admitted request by the next handlers. It returns when they have,
// or, if the deadline passes, the body stalls or the client leaves before, at once:
// then the client is answered, if it can be, and the handlers are left to
// themselves.
func (x *Runner) Run(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler, request Request) error {
	f := &Flight{
		client: r.Context(), log: x.Log, slot: request.Slot, admission: request.Admission, w: w,
		began: time.Now(), tunnel: r.Method == http.MethodConnect, wake: wakes.Get().(*wake),
	}
	f.header = f.wake.header
	shareHeader(f.header, w.Header())
	if request.Admission.Prepare(r, &f.wake.asked, f.began) {
		f.asked = &f.wake.asked
	}
	own := r.WithContext(f)
	if r.Body != nil && r.Body != http.NoBody {
		f.body.src, f.body.ahead = r.Body, request.Ahead
		own.Body = (*requestBody)(f)
	}
	f.wake.timer.Reset(request.Slot.Timeout())
	x.handlers.do(job{f, next, own})
	return f.wait(r)
}

// run is next's goroutine.
func (f *Flight) run(next caddyhttp.Handler, r *http.Request) {
	defer func() {
		if v := recover(); v != nil {
			f.panicked = v
			if v != http.ErrAbortHandler { //nolint:errorlint // a panic's value, not an error
				f.log.Error(telemetry.LogHandlerPanic, zap.Any("panic", v), zap.ByteString("stack", debug.Stack()))
			}
		}
		f.land()
	}()
	f.err = next.ServeHTTP((*responseWriter)(f), r)
	f.returned = true
}

// land is the end of next. If the handler still waits it does the rest.
func (f *Flight) land() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.landed = true
	if f.cut {
		f.hearLate()
		f.settleEnd()
		return
	}
	f.wake.done <- struct{}{}
}

// wait is the handler's goroutine until the request is over for the client.
func (f *Flight) wait(r *http.Request) error {
	gone := f.client.Done()
	for {
		select {
		case <-f.wake.done:
			return f.finish()
		case <-f.wake.timer.C:
			if reason := f.overdue(); reason != stay {
				return f.leave(r, reason)
			}
		case <-gone:
			gone = nil
			if f.holdsOn() {
				continue
			}
			return f.leave(r, clientLeft)
		}
	}
}

// leaving is why the handler's goroutine does not wait any longer.
type leaving uint8

const (
	stay leaving = iota
	deadline
	slowUpload // the deadline passed, but the client had not finished its request
	stalled
	clientLeft
)

// overdue says whether it is time to leave, and if not, sets the timer for the
// next look.
func (f *Flight) overdue() leaving {
	f.mu.Lock()
	defer f.mu.Unlock()
	policy := f.slot.Policy()
	switch {
	case f.landed:
		return stay
	case f.status == 0:
		return f.unanswered()
	case f.grpc && !f.stream:
		f.stream = true
		f.slot.Answer(breaker.OK)
		f.slot.Stream()
		return stay
	case f.stream:
		return stay
	}
	idle := time.Since(f.began) - time.Duration(f.heard.Load())
	if idle >= policy.BodyIdle {
		return stalled
	}
	f.wake.timer.Reset(policy.BodyIdle - idle)
	return stay
}

// unanswered is overdue for a request whose response has not begun. The time it
// waited for its client does not count. Callers hold mu.
func (f *Flight) unanswered() leaving {
	now, timeout := time.Now(), f.slot.Timeout()
	waited, patience, waiting := f.body.clock.look(now, timeout)
	left := timeout - (now.Sub(f.began) - waited)
	switch {
	case waiting && patience <= 0:
		return slowUpload
	case waiting && left > 0:
		left = min(left, patience)
	case waiting:
		left = patience
	case left <= 0:
		return deadline
	}
	f.wake.timer.Reset(left)
	return stay
}

// holdsOn reports whether there is nothing to be done about a client that left: next
// is about to return, or owns the connection, and is only told.
func (f *Flight) holdsOn() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.status == http.StatusSwitchingProtocols {
		f.stop(errClientLeft)
		return true
	}
	return f.landed
}

// leave cuts the flight and answers the client, if it can be answered.
func (f *Flight) leave(r *http.Request, why leaving) error {
	if !f.cutOff(why) {
		<-f.wake.done
		return f.finish()
	}
	f.wake.timer.Stop()
	interrupted := f.body.shut(f.w)
	switch why {
	case clientLeft:
		if f.status == 0 {
			f.w.WriteHeader(StatusClientGone)
		}
		return nil
	case stalled:
		panic(http.ErrAbortHandler)
	case stay, deadline, slowUpload:
	}
	if interrupted && r.ProtoMajor == 1 {
		// Else net/http reads the rest of the body before it sends the answer.
		f.w.Header()["Connection"] = []string{"close"}
	}
	reason := refusal.ReasonHung
	if why == slowUpload {
		reason = refusal.ReasonSlowRequest
	}
	return f.admission.Refuse(f.w, r, reason, f.asked)
}

// cutOff takes the client away from next. It reports false if next has
// returned in the meantime.
func (f *Flight) cutOff(why leaving) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.landed {
		return false
	}
	f.cut = true
	f.left.Store(true)
	f.endCopy(false)
	f.report(why)
	for _, t := range f.trips {
		t.detach(why)
	}
	if len(f.trips) == 0 && why == clientLeft {
		f.stop(errClientLeft)
	}
	f.settleEnd()
	return true
}

// report tells the guard why the client is done with.
func (f *Flight) report(why leaving) {
	outcome := breaker.Gone
	switch why {
	case slowUpload:
		f.slot.Track() // its worker sees the broken request
		f.outcome = breaker.Gone
	case clientLeft:
		f.clientGone()
		if !f.body.unfinished() && time.Since(f.began) >= f.slot.Policy().SlowAfter {
			outcome = breaker.GoneLate
		}
	default:
		f.slot.Hang()
		outcome, f.outcome = breaker.Hung, breaker.Hung
	}
	f.admission.Ended(outcome)
	sending := why == clientLeft && f.status != 0
	if !f.tracked && (sending || f.slot.Policy().CancelOnTimeout) {
		// Its worker notices the closed connection, so next's return is the
		// end.
		f.slot.Track()
	}
}

// clientGone tells the guard that the client left before its answer began. A worker
// that waits for the rest of a request sees that it will not come. Callers hold mu.
func (f *Flight) clientGone() {
	f.slot.Leave()
	if f.body.unfinished() {
		f.slot.Track()
	}
	f.outcome = breaker.Gone
}

// settleEnd ends the slot if nothing can occupy its worker any more, and what
// next still does when no client waits for it. Callers hold mu.
func (f *Flight) settleEnd() {
	if len(f.trips) > 0 {
		return
	}
	if f.over() {
		f.stopAll()
	}
	if f.ended {
		return
	}
	over := f.landed
	if f.tracked && f.status != 0 && !f.grpc && f.status != http.StatusSwitchingProtocols {
		over = true // the worker has answered to the end; only the client is slow to take it
	}
	if !over {
		return
	}
	f.ended = true
	f.slot.End(f.outcome)
}
