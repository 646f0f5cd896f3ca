package recovery_test

import (
	"context"
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/config"
)

// openZone opens z1, all of whose stores were served a while ago: requests of
// three of them hang, for as long as the test takes.
func (w *world) openZone() {
	w.t.Helper()
	for i := range w.n {
		slot, refusal := w.life.guard.Admit(context.Background(), breaker.Request{Zone: "z1", Store: store(i)})
		if refusal != nil {
			w.t.Fatal(refusal)
		}
		slot.End(breaker.OK)
	}
	time.Sleep(20 * time.Second)
	for i := range openedBy {
		slot, refusal := w.life.guard.Admit(context.Background(), breaker.Request{Zone: "z1", Store: store(i)})
		if refusal != nil {
			w.t.Fatal(refusal)
		}
		slot.Track()
	}
	time.Sleep(1100 * time.Millisecond) // slow_after is 1 s
	if z, _ := w.life.guard.Zone("z1"); z.State != breaker.Open {
		w.t.Fatalf("the zone is %s", z.State)
	}
}

// openedBy is how many requests hang after openZone.
const openedBy = 3

func (w *world) state() breaker.State {
	z, _ := w.life.guard.Zone("z1")
	return z.State
}

func TestChecksEndOpenState(t *testing.T) {
	inTime(t, 20, config.StoreCheck{EndsOpen: ptr(true)}, func(w *world) {
		w.openZone()
		time.Sleep(2500 * time.Millisecond) // an open time is 9 s at least
		if got := w.state(); got != breaker.HalfOpen {
			t.Errorf("two checks passed, and the zone is %s", got)
		}
		if len(w.order) != 2 {
			t.Errorf("checks were sent for %q, want two stores", w.order)
		}
	})
}

func TestChecksDoNotEndOpenState(t *testing.T) {
	for name, tt := range map[string]struct {
		endsOpen bool
		prepare  func(*world)
	}{
		"not configured": {false, func(*world) {}},
		"failing":        {true, func(w *world) { w.failAll("status 500") }},
		"hanging":        {true, func(w *world) { w.hangAll() }},
		"held by hand":   {true, func(w *world) { w.life.guard.HoldZone("z1", breaker.Open, 0, "", "") }},
	} {
		t.Run(name, func(t *testing.T) {
			inTime(t, 20, config.StoreCheck{EndsOpen: &tt.endsOpen, Timeout: config.Duration(time.Second)}, func(w *world) {
				w.openZone()
				tt.prepare(w)
				time.Sleep(3500 * time.Millisecond)
				if z, _ := w.life.guard.Zone("z1"); z.State != breaker.Open || z.Live+z.Hung > openedBy+1 {
					t.Errorf("the zone is %s, with %d live and %d hung checks", z.State, z.Live, z.Hung-openedBy)
				}
			})
		})
	}
}

func (w *world) failAll(why string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, name := range w.names() {
		w.sick[name] = why
	}
}

func (w *world) hangAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, name := range w.names() {
		w.hang[name] = true
	}
}
