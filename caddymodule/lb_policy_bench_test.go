package caddymodule

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/flight"
)

// choosing prepares a choice among n servers.
func choosing(tb testing.TB, n int) func() {
	tb.Helper()
	policy, err := (&config.App{WorkersPerServer: 16}).Policy()
	if err != nil {
		tb.Fatal(err)
	}
	guard := breaker.New(policy, breaker.Options{})
	tb.Cleanup(guard.Close)
	h := new(reverseproxy.Handler)
	var addresses []string
	for i := range n {
		addresses = append(addresses, fmt.Sprintf("10.0.0.%d:9000", i))
		h.Upstreams = append(h.Upstreams, &reverseproxy.Upstream{Dial: addresses[i], Host: new(reverseproxy.Host)})
	}
	guard.SetServers("test", addresses)
	r := underWay(tb, guard)
	s := &Selection{proxied: &proxied{handler: h}}
	return func() {
		if s.Select(h.Upstreams, r, nil) == nil {
			tb.Error("no server")
		}
	}
}

// underWay is a request that the guard has admitted, as the next handlers have it
// until the test ends.
func underWay(tb testing.TB, guard *breaker.Guard) *http.Request {
	tb.Helper()
	slot, refused := guard.Admit(tb.Context(), breaker.Request{Zone: "z1", Store: "a", Timeout: time.Hour})
	if refused != nil {
		tb.Fatal(refused.Detail)
	}
	var flights flight.Runner
	requests, over, landed := make(chan *http.Request), make(chan struct{}), make(chan struct{})
	next := caddyhttp.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) error {
		requests <- r
		<-over
		return nil
	})
	r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
	a := &admission{handler: benchHandler(tb), slot: slot}
	go func() {
		defer close(landed)
		if err := flights.Run(httptest.NewRecorder(), r, next, flight.Request{Slot: slot, Admission: (*inFlight)(a)}); err != nil {
			tb.Error(err)
		}
	}()
	tb.Cleanup(func() {
		close(over)
		<-landed
		flights.Stop()
	})
	return <-requests
}

func TestSelectionAllocatesNothing(t *testing.T) {
	for _, n := range []int{4, 100} {
		if allocations := testing.AllocsPerRun(1000, choosing(t, n)); allocations != 0 {
			t.Errorf("a choice of %d servers takes %v allocations", n, allocations)
		}
	}
}

func BenchmarkSelection(b *testing.B) {
	for _, n := range []int{1, 4, 16, 100} {
		b.Run(fmt.Sprintf("%d servers", n), func(b *testing.B) {
			choose := choosing(b, n)
			b.ReportAllocs()
			for b.Loop() {
				choose()
			}
		})
	}
}
