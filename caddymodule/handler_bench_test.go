package caddymodule

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/flight"
	"github.com/firebreak-proxy/firebreak/maintenance"
	"github.com/firebreak-proxy/firebreak/refusal"
	"github.com/firebreak-proxy/firebreak/routing"
	"github.com/firebreak-proxy/firebreak/stale"
	"github.com/firebreak-proxy/firebreak/telemetry"
)

// maxAllocs is the budget of the whole handler around a handler that does
// nothing.
const maxAllocs = 12

type oneRoute struct{ routing.Directory }

func (oneRoute) Lookup(key string) (routing.Route, bool) {
	return routing.Route{Store: key, Zone: "z1"}, true
}

// benchHandler is a handler without Caddy around it.
func benchHandler(tb testing.TB) *Handler {
	tb.Helper()
	policy, err := (&config.App{Workers: 1000}).Policy()
	if err != nil {
		tb.Fatal(err)
	}
	guard := breaker.New(policy, breaker.Options{})
	tb.Cleanup(guard.Close)
	h := &Handler{}
	h.keeper = new(atomic.Pointer[stale.Keeper])
	h.log, h.guard, h.directory, h.policy = zap.NewNop(), guard, oneRoute{}, policy
	h.flights = &flight.Runner{Log: h.log}
	tb.Cleanup(h.flights.Stop)
	h.board, h.knocks = maintenance.New(maintenance.Options{}), newKnocks()
	if h.extractor, err = routing.NewExtractor([]routing.KeySpec{{From: routing.FromQuery, Name: "key"}}, routing.ExtractorOptions{}); err != nil {
		tb.Fatal(err)
	}
	if h.refusals, err = refusal.NewWriter(nil, nil); err != nil {
		tb.Fatal(err)
	}
	if h.meters, err = telemetry.Register(prometheus.NewRegistry()); err != nil {
		tb.Fatal(err)
	}
	return h
}

// bareWriter is a ResponseWriter that costs nothing.
type bareWriter struct{ header http.Header }

func (w *bareWriter) Header() http.Header         { return w.header }
func (w *bareWriter) Write(p []byte) (int, error) { return len(p), nil }
func (w *bareWriter) WriteHeader(int)             {}

func benchRequest(tb testing.TB) (*http.Request, http.ResponseWriter) {
	tb.Helper()
	ctx, cancel := context.WithCancel(tb.Context()) // as net/http does
	tb.Cleanup(cancel)
	w := &bareWriter{header: http.Header{"Server": {"Caddy"}}}
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/search?q=shoes&key=s1", nil)
	return caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, &caddyhttp.Server{}), w
}

// again makes a request new for the next turn of a benchmark: it forgets the
// placeholders that the handler added, of which there would be ever more.
func again(r *http.Request) func() {
	repl := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	fresh := *repl
	return func() { *repl = fresh }
}

var noop = caddyhttp.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) error {
	w.WriteHeader(http.StatusNoContent)
	return nil
})

func BenchmarkHandler(b *testing.B) {
	h := benchHandler(b)
	r, w := benchRequest(b)
	renew := again(r)
	b.ReportAllocs()
	for b.Loop() {
		renew()
		if err := h.ServeHTTP(w, r, noop); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkHandlerParallel(b *testing.B) {
	h := benchHandler(b)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		r, w := benchRequest(b)
		renew := again(r)
		for pb.Next() {
			renew()
			if err := h.ServeHTTP(w, r, noop); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// TestHandlerAllocs keeps the budget.
func TestHandlerAllocs(t *testing.T) {
	h := benchHandler(t)
	r, w := benchRequest(t)
	renew := again(r)
	allocs := testing.AllocsPerRun(1000, func() { renew(); _ = h.ServeHTTP(w, r, noop) })
	t.Logf("%.0f allocations a request", allocs)
	if allocs > maxAllocs {
		t.Errorf("%.0f allocations a request, want at most %d", allocs+1, maxAllocs)
	}
}

// BenchmarkRefusal is a refusal of a store in quarantine, as a whole.
func BenchmarkRefusal(b *testing.B) {
	h := benchHandler(b)
	h.directory, h.Unknown = noDirectory{}, unknownRefuse
	r, w := benchRequest(b)
	renew := again(r)
	b.ReportAllocs()
	for b.Loop() {
		clear(w.Header())
		renew()
		if err := h.ServeHTTP(w, r, noop); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRespond is Caddy's respond with a body of the same kind.
func BenchmarkRespond(b *testing.B) {
	var respond caddyhttp.StaticResponse
	err := json.Unmarshal([]byte(`{"status_code":404,"headers":{"Content-Type":["application/problem+json"],"Cache-Control":["no-store"]},"body":"Unknown store: there is no such store."}`), &respond)
	if err != nil {
		b.Fatal(err)
	}
	r, w := benchRequest(b)
	b.ReportAllocs()
	for b.Loop() {
		clear(w.Header())
		if err := respond.ServeHTTP(w, r, nil); err != nil {
			b.Fatal(err)
		}
	}
}

// TestFailOpen: a bug of ours lets the request through.
func TestFailOpen(t *testing.T) {
	h := benchHandler(t)
	h.directory = nil
	r, w := benchRequest(t)
	served := false
	err := h.ServeHTTP(w, r, caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { served = true; return nil }))
	if err != nil || !served {
		t.Errorf("served: %t, error: %v; want the request served", served, err)
	}
}
