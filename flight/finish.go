package flight

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/refusal"
)

// finish is the end of a flight that landed while its client was waiting.
func (f *Flight) finish() error {
	f.mu.Lock()
	f.wake.timer.Stop()
	f.conclude()
	f.endCopy(f.returned && f.err == nil)
	f.settleEnd()
	if f.status == 0 {
		copyOwn(f.w.Header(), f.header)
	} else {
		copyTrailers(f.w.Header(), f.header)
	}
	clear(f.header)
	f.wake.asked.Reset()
	f.asked = nil
	wakes.Put(f.wake)
	f.wake, f.header = nil, nil
	f.mu.Unlock()
	if f.panicked != nil {
		panic(f.panicked)
	}
	return f.err
}

// endCopy keeps the copy of an answer that is complete, or drops it. Callers hold mu.
func (f *Flight) endCopy(complete bool) {
	switch {
	case f.copy == nil:
		return
	case complete:
		f.copy.Keep()
	default:
		f.copy.Drop()
	}
	f.copy = nil
}

// conclude decides the outcome of a flight that landed in time. Callers hold
// mu.
func (f *Flight) conclude() {
	switch {
	case f.status == 0 && (f.client.Err() != nil || f.body.broke.Load()):
		f.clientGone()
	case f.status == 0 && f.panicked != nil:
		f.outcome = breaker.Gone
	case f.status == 0 && f.err != nil:
		f.outcome = f.errorOutcome(f.err)
	case f.grpc:
		f.outcome = grpcOutcome(trailer(f.header, "Grpc-Status"), breaker.OK)
	}
	f.admission.Ended(f.outcome)
}

// hearLate takes in what next came to after the cut, if it came to anything: a
// handler whose transport ignores the context, as Caddy's FastCGI transport
// does, returns when the worker has answered or its connection has broken, and
// that is the end that is otherwise only seen by firebreak's own transport. A
// handler that merely noticed the cut says nothing about the worker. Callers
// hold mu.
func (f *Flight) hearLate() {
	if f.tracked {
		return
	}
	switch {
	case f.late != 0 && f.late != StatusClientGone:
		f.outcome = breaker.OK
		if f.slot.Policy().Fails(f.late) {
			f.outcome = breaker.Failure
		}
	case f.body.broke.Load():
		f.outcome = breaker.Gone
	case f.err != nil && !errors.Is(f.err, context.Canceled) && !errors.Is(f.err, context.DeadlineExceeded):
		f.outcome = f.errorOutcome(f.err)
	default:
		return
	}
	f.slot.Track()
}

// begin is the moment a response begins: the deadline is met. Callers hold mu.
func (f *Flight) begin(status int) {
	f.status = status
	if status == StatusClientGone && f.client.Err() != nil {
		f.clientGone()
		return
	}
	f.hear()
	f.admission.Began(time.Duration(f.heard.Load()))
	if f.grpc = isGRPC(f.header); f.grpc && first(f.header, "Grpc-Status") == "" {
		// Decided by the trailers; but a stream of messages may go on for
		// hours, and must not be taken for a request that hangs.
		f.slot.FirstByte()
		f.wake.timer.Reset(f.slot.Policy().SlowAfter / 2)
		return
	}
	f.outcome = f.responseOutcome(status)
	f.grpc = false
	f.slot.Answer(f.outcome)
	if status == http.StatusSwitchingProtocols || f.tunnel || isEventStream(f.header) {
		f.stream = true
		f.slot.Stream()
	}
}

// responseOutcome judges a response by its status and headers.
func (f *Flight) responseOutcome(status int) breaker.Outcome {
	if first(f.header, refusal.Header) != "" {
		return breaker.Refused
	}
	outcome := breaker.OK
	if f.slot.Policy().Fails(status) {
		outcome = breaker.Failure
	}
	if isGRPC(f.header) {
		return grpcOutcome(first(f.header, "Grpc-Status"), outcome)
	}
	return outcome
}

// errNoUpstreamText is the text of an error of reverse_proxy that has no name.
const errNoUpstreamText = "no upstreams available"

// errorOutcome judges an error that came instead of a response.
func (f *Flight) errorOutcome(err error) breaker.Outcome {
	var handlerErr caddyhttp.HandlerError
	if !errors.As(err, &handlerErr) {
		handlerErr.StatusCode = http.StatusInternalServerError // as Caddy answers it
	}
	status := handlerErr.StatusCode
	switch {
	case isDialError(err):
		return breaker.NoUpstream
	case handlerErr.Err != nil && handlerErr.Err.Error() == errNoUpstreamText:
		return breaker.NoUpstream
	case status == http.StatusBadGateway || status == http.StatusGatewayTimeout:
		return breaker.Broken
	case f.slot.Policy().Fails(status):
		return breaker.Failure
	}
	return breaker.Gone
}

// grpcOutcome judges a gRPC status: UNAVAILABLE, DEADLINE_EXCEEDED and
// INTERNAL are failures of the server.
func grpcOutcome(status string, otherwise breaker.Outcome) breaker.Outcome {
	switch status {
	case "":
		return otherwise
	case "4", "13", "14":
		return breaker.Failure
	}
	return breaker.OK
}
