package caddymodule

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/maintenance"
	"github.com/firebreak-proxy/firebreak/routing"
)

// traced sends a request in a span, and returns what the span was told.
func traced(t *testing.T, h *Handler, next caddyhttp.Handler) tracetest.SpanStub {
	t.Helper()
	exporter := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter))
	r, w := benchRequest(t)
	ctx, span := provider.Tracer("test").Start(r.Context(), "request")
	if err := h.ServeHTTP(w, r.WithContext(ctx), next); err != nil {
		t.Fatal(err)
	}
	span.End()
	spans := exporter.GetSpans()
	if len(spans) != 1 {
		t.Fatalf("%d spans, want 1", len(spans))
	}
	return spans[0]
}

// ambiguousExtractor finds a key in no request of benchRequest, only doubt.
func ambiguousExtractor(t *testing.T) *routing.Extractor {
	t.Helper()
	e, err := routing.NewExtractor([]routing.KeySpec{{From: routing.FromQuery, Name: "KEY"}}, routing.ExtractorOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func attributes(of []attribute.KeyValue) map[string]any {
	found := make(map[string]any)
	for _, a := range of {
		found[string(a.Key)] = a.Value.AsInterface()
	}
	return found
}

func TestSpans(t *testing.T) {
	stuck := stuckHandler(t)
	for _, test := range []struct {
		name       string
		prepare    func(h *Handler)
		next       caddyhttp.Handler
		attributes map[string]any
		event      string
	}{
		{"answered", nil, noop, map[string]any{spanStore: "s1", spanZone: "z1", spanOutcome: "ok"}, ""},
		{"hung", func(h *Handler) { h.Timeout = config.Duration(20 * time.Millisecond) }, stuck, map[string]any{
			spanStore: "s1", spanZone: "z1", spanOutcome: "hung", spanRefusal: "hung",
		}, spanEventHung},
		{"unknown store", func(h *Handler) { h.directory, h.Unknown = noDirectory{}, unknownRefuse }, noop, map[string]any{
			spanStore: unknownStore, spanZone: config.UnknownZone, spanRefusal: "unknown_store",
		}, spanEventRefused},
		{"ambiguous key", func(h *Handler) { h.extractor = ambiguousExtractor(t) }, noop, map[string]any{
			spanStore: unknownStore, spanZone: config.UnknownZone, spanRefusal: "ambiguous_key",
		}, spanEventRefused},
		{"maintenance", func(h *Handler) { setMaintenance(t, h) }, noop, map[string]any{
			spanStore: "s1", spanZone: "z1", spanRefusal: "maintenance",
		}, spanEventRefused},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := benchHandler(t)
			if test.prepare != nil {
				test.prepare(h)
			}
			span := traced(t, h, test.next)
			if diff := cmp.Diff(test.attributes, attributes(span.Attributes)); diff != "" {
				t.Errorf("attributes (-want +got):\n%s", diff)
			}
			var events []string
			for _, e := range span.Events {
				events = append(events, e.Name)
			}
			if test.event == "" && len(events) > 0 || test.event != "" && (len(events) != 1 || events[0] != test.event) {
				t.Errorf("events %v, want %q", events, test.event)
			}
		})
	}
}

// stuckHandler hangs until the test ends.
func stuckHandler(t *testing.T) caddyhttp.Handler {
	t.Helper()
	end := make(chan struct{})
	t.Cleanup(func() { close(end) })
	return caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { <-end; return nil })
}

// setMaintenance puts everything into maintenance.
func setMaintenance(t *testing.T, h *Handler) {
	t.Helper()
	h.board = maintenance.New(maintenance.Options{Backend: maintenance.NewStorage(&certmagic.FileStorage{Path: t.TempDir()}, "firebreak")})
	_, _, err := h.board.Change(t.Context(), maintenance.Author{By: "test"}, &maintenance.Edit{
		Set: []maintenance.Switch{{Target: maintenance.Target{Scope: maintenance.All}, Mode: maintenance.Full}},
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestTracedRequestIsExemplar: the trace of a request is found from its bucket.
func TestTracedRequestIsExemplar(t *testing.T) {
	h := benchHandler(t)
	span := traced(t, h, noop)
	want := span.SpanContext.TraceID().String()
	for _, zone := range []string{"", "z1"} {
		found := h.meters.Exemplars.Of(zone)
		if len(found) == 0 || found[0].TraceID != want {
			t.Errorf("zone %q: exemplars %v, want one of trace %s", zone, found, want)
		}
	}
}

// TestUntracedCostsNothing: a span that records nothing is told nothing, and
// costs no allocation.
func TestUntracedCostsNothing(t *testing.T) {
	h := benchHandler(t)
	r, w := benchRequest(t)
	renew := again(r)
	never := sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.NeverSample()))
	ctx, span := never.Tracer("test").Start(r.Context(), "request")
	defer span.End()
	allocs := func(r *http.Request) float64 {
		return testing.AllocsPerRun(1000, func() { renew(); _ = h.ServeHTTP(w, r, noop) })
	}
	if spanOf(ctx) != nil || spanOf(r.Context()) != nil {
		t.Error("a span that records nothing is told something")
	}
	plain, unsampled := allocs(r), allocs(r.WithContext(ctx))
	if unsampled > plain {
		t.Errorf("%.0f allocations with a span that is not sampled, %.0f without", unsampled, plain)
	}
	if got := testing.AllocsPerRun(1000, func() { spanOf(context.Background()) }); got > 0 {
		t.Errorf("looking for a span costs %.0f allocations", got)
	}
}
