package caddymodule

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/config"
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
	slot, refusal := guard.Admit(context.Background(), breaker.Request{Zone: "z1", Store: "a"})
	if refusal != nil {
		tb.Fatal(refusal.Detail)
	}
	tb.Cleanup(func() { slot.End(breaker.OK) })
	f := &flight{client: context.Background(), slot: slot}
	r := httptest.NewRequest(http.MethodGet, "/", http.NoBody).WithContext(f)
	s := &Selection{proxied: &proxied{handler: h}}
	return func() {
		if s.Select(h.Upstreams, r, nil) == nil {
			tb.Error("no server")
		}
	}
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
