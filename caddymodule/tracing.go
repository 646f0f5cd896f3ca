package caddymodule

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/firebreak-proxy/firebreak/refusal"
	"github.com/firebreak-proxy/firebreak/telemetry"
)

// What a request's span is told, when Caddy traces the request. Changing a name
// is a breaking change.
const (
	spanStore   = "firebreak.store"
	spanZone    = "firebreak.zone"
	spanOutcome = "firebreak.outcome"
	spanRefusal = "firebreak.refusal"
	spanBypass  = "firebreak.bypass"

	spanEventRefused = "firebreak.refused"
	spanEventHung    = "firebreak.hung"

	spanRetryAfter = "firebreak.retry_after_ms" // of a refusal
	spanTimeout    = "firebreak.timeout_ms"     // that a hung request had
)

// spanOf is the span of a request that is traced, or nil.
func spanOf(ctx context.Context) trace.Span {
	if span := trace.SpanFromContext(ctx); span.IsRecording() {
		return span
	}
	return nil
}

// traceStart tells the span where the request belongs.
func (a *admission) traceStart() {
	a.span.SetAttributes(attribute.String(spanStore, a.store), attribute.String(spanZone, a.zone))
}

// traceEnd tells the span what became of the request.
func (a *admission) traceEnd() {
	if a.bypassed {
		a.span.SetAttributes(attribute.Bool(spanBypass, true))
	}
	if a.outcome != "" {
		a.span.SetAttributes(attribute.String(spanOutcome, a.outcome))
	}
	if a.reason == "" {
		return
	}
	reason := attribute.String(spanRefusal, string(a.reason))
	a.span.SetAttributes(reason)
	if a.reason == refusal.ReasonHung {
		a.span.AddEvent(spanEventHung, trace.WithAttributes(attribute.Int64(spanTimeout, a.slot.Timeout().Milliseconds())))
		return
	}
	a.span.AddEvent(spanEventRefused, trace.WithAttributes(reason, attribute.Int64(spanRetryAfter, a.retryAfter.Milliseconds())))
}

// noteExemplar makes a traced request stand for others that took as long.
func (h *Handler) noteExemplar(a *admission, took time.Duration) {
	at := a.span.SpanContext()
	if !at.IsSampled() {
		return
	}
	h.meters.Exemplars.Note(a.zone, &telemetry.Exemplar{
		TraceID: at.TraceID().String(), SpanID: at.SpanID().String(), Seconds: took.Seconds(), At: time.Now(),
	})
}
