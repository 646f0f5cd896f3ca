package breaker_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
)

// heapOfZones is how many bytes each of n zones takes on the heap that one request
// came for, a minute later.
func heapOfZones(tb testing.TB, n int) uint64 {
	tb.Helper()
	app := twoSeconds()
	p, err := app.Policy()
	if err != nil {
		tb.Fatal(err)
	}
	names := manyZones(n)
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	sim := breaker.Simulate(p, names, start, 1)
	before := heapNow()
	for i, zone := range names {
		sim.Set(start.Add(time.Duration(i) * time.Millisecond))
		slot, refusal, _ := sim.Admit(breaker.Request{Zone: zone, Store: "s"})
		if slot == nil {
			tb.Fatal(refusal)
		}
		sim.Set(start.Add(time.Duration(i)*time.Millisecond + 20*time.Millisecond))
		slot.Answer(breaker.OK)
		slot.End(breaker.OK)
	}
	for now := time.Duration(0); now < time.Minute; now += time.Second {
		sim.Set(start.Add(time.Duration(n)*time.Millisecond + now))
		sim.Sweep()
	}
	if swept := sim.Guard().Swept(); swept > 0 {
		tb.Errorf("%d of %d zones are swept after a minute without requests", swept, n)
	}
	each := (heapNow() - before) / uint64(n)
	runtime.KeepAlive(sim)
	return each
}

func heapNow() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestIdleZonesAreSmall: where each tenant has a zone of its own, most are idle.
func TestIdleZonesAreSmall(t *testing.T) {
	each := heapOfZones(t, 10_000)
	if each > idleZone {
		t.Errorf("an idle zone takes %d bytes on the heap, want at most %d", each, idleZone)
	}
	t.Logf("an idle zone takes %d bytes", each)
}

// idleZone is the budget of docs/budgets.md.
const idleZone = 2000

// BenchmarkIdleZones is what 60,000 zones cost that one request came for: bytes each,
// and the time of a snapshot, which is taken twice a second.
func BenchmarkIdleZones(b *testing.B) {
	each := heapOfZones(b, 60_000)
	app := twoSeconds()
	p, _ := app.Policy()
	sim := breaker.Simulate(p, nil, time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), 1)
	for i := range 60_000 {
		slot, _, _ := sim.Admit(breaker.Request{Zone: fmt.Sprint("z", i), Store: "s"})
		slot.End(breaker.OK)
	}
	for range 60 {
		sim.Set(sim.Now().Add(time.Second))
		sim.Sweep()
	}
	for b.Loop() {
		sim.Guard().Snapshot()
	}
	b.ReportMetric(float64(each), "B/zone")
}
