package breaker_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/config"
)

func benchGuard(b *testing.B, zones int) (*breaker.Guard, []breaker.Request) {
	b.Helper()
	p, err := (&config.App{Workers: 4096}).Policy()
	if err != nil {
		b.Fatal(err)
	}
	g := breaker.New(p, breaker.Options{})
	b.Cleanup(g.Close)
	requests := make([]breaker.Request, zones)
	for i := range requests {
		requests[i] = breaker.Request{Zone: fmt.Sprint("z", i), Store: fmt.Sprint("s", i)}
	}
	return g, requests
}

func cycle(g *breaker.Guard, r breaker.Request) {
	s, _ := g.Admit(context.Background(), r)
	s.Track()
	s.Answer(breaker.OK)
	s.End(breaker.OK)
}

// BenchmarkCalm is the guard's part of a request in a calm zone.
func BenchmarkCalm(b *testing.B) {
	g, requests := benchGuard(b, 12)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		cycle(g, requests[i%len(requests)])
		i++
	}
}

// BenchmarkCalmParallel is the same from all cores, each in zones of its own.
func BenchmarkCalmParallel(b *testing.B) {
	g, requests := benchGuard(b, 64)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		i := 0
		for pb.Next() {
			cycle(g, requests[i%len(requests)])
			i++
		}
	})
}

// BenchmarkRefused is a request that meets an open zone.
func BenchmarkRefused(b *testing.B) {
	g, _ := benchGuard(b, 1)
	g.HoldZone("z", breaker.Open, 0, "bench", "")
	r := breaker.Request{Zone: "z", Store: "x"}
	b.ReportAllocs()
	for b.Loop() {
		if s, _ := g.Admit(context.Background(), r); s != nil {
			b.Fatal("the zone is not isolated")
		}
	}
}

func TestCalmPathAllocatesTheSlotOnly(t *testing.T) {
	p, _ := (&config.App{Workers: 32}).Policy()
	g := breaker.New(p, breaker.Options{})
	defer g.Close()
	r := breaker.Request{Zone: "z", Store: "s"}
	if n := testing.AllocsPerRun(1000, func() { cycle(g, r) }); n > 1 {
		t.Errorf("%.1f allocations per request, want 1", n)
	}
}
