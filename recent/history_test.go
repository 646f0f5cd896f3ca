package recent

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/config"
)

func testGuard(t *testing.T, zones ...string) *breaker.Guard {
	t.Helper()
	policy, err := (&config.App{Workers: 32}).Policy()
	if err != nil {
		t.Fatal(err)
	}
	guard := breaker.New(policy, breaker.Options{})
	guard.Apply(policy, zones)
	return guard
}

func ask(t *testing.T, g *breaker.Guard, zone string, outcome breaker.Outcome, n int) {
	t.Helper()
	for range n {
		slot, refusal := g.Admit(t.Context(), breaker.Request{Zone: zone, Store: "s"})
		if refusal != nil {
			t.Fatal(refusal.Detail)
		}
		slot.Answer(outcome)
		slot.End(outcome)
	}
}

func TestHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		guard := testGuard(t, "z1", "z2")
		defer guard.Close()
		ask(t, guard, "z1", breaker.OK, 7) // before anybody looked
		h := newHistory(guard)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			h.run(ctx)
		}()
		synctest.Wait()
		ask(t, guard, "z1", breaker.OK, 3)
		ask(t, guard, "z1", breaker.Failure, 1)
		ask(t, guard, "z1", breaker.Gone, 2)
		guard.HoldZone("z2", breaker.Open, 0, "", "")
		if _, refusal := guard.Admit(t.Context(), breaker.Request{Zone: "z2", Store: "s"}); refusal == nil {
			t.Fatal("a zone held open let a request in")
		}
		time.Sleep(Step + time.Millisecond)
		ask(t, guard, "late", breaker.OK, 5)
		time.Sleep(Step)

		for _, test := range []struct {
			zone string
			want []Point
		}{
			{"z1", []Point{{Requests: 6, OK: 3, Bad: 1}, {}}},
			{"z2", []Point{{Requests: 1, Refused: 1}, {}}},
			{"late", []Point{{Requests: 5, OK: 5}}},
			{"nobody", nil},
		} {
			if got := h.Of(test.zone); !slices.Equal(got, test.want) {
				t.Errorf("zone %s: %+v, want %+v", test.zone, got, test.want)
			}
		}
		all, _, steps := h.Everything()
		if want := []Point{{Requests: 7, OK: 3, Refused: 1, Bad: 1}, {Requests: 5, OK: 5}}; !slices.Equal(all, want) || steps != 3 {
			t.Errorf("all zones: %+v after %d steps, want %+v", all, steps, want)
		}

		time.Sleep(2 * Points * Step)
		if got := len(h.Of("z1")); got != Points {
			t.Errorf("%d points are kept, want %d", got, Points)
		}
		guard.ResetZone("z2", "", "")
		guard.Apply(guard.Policy(), []string{"z1", "late"})
		time.Sleep(Step)
		if h.Of("z2") != nil {
			t.Error("a zone that is no more is kept")
		}
		cancel()
		<-done
	})
}

// TestHistoryOfIdleZones: only zones at which something happened are looked at, and
// nothing that happens is missed: after a long silence, by requests that hang, by
// refusals.
func TestHistoryOfIdleZones(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		guard := testGuard(t, "z1", "z2")
		defer guard.Close()
		h := newHistory(guard)
		take := func() Point {
			h.Take(time.Now())
			return h.Latest("z1")
		}
		ask(t, guard, "z1", breaker.OK, 1)
		take()
		for _, quiet := range []time.Duration{4 * Step, time.Minute, time.Hour} {
			for range int(quiet / Step) {
				time.Sleep(Step)
				if got := take(); got != (Point{}) {
					t.Fatalf("%+v while nothing happened", got)
				}
			}
			slot, _ := guard.Admit(t.Context(), breaker.Request{Zone: "z1", Store: "s", Timeout: time.Minute})
			slot.Track()
			time.Sleep(slot.Timeout())
			slot.Hang()
			slot.End(breaker.Broken)
			time.Sleep(Step - time.Millisecond)
			if got, want := take(), (Point{Requests: 1, Bad: 1}); got != want {
				t.Errorf("after %s: %+v, want %+v", quiet, got, want)
			}
			slot, _ = guard.Admit(t.Context(), breaker.Request{Zone: "z1", Store: "s"})
			slot.End(breaker.NoUpstream)
			time.Sleep(Step - time.Millisecond)
			if got, want := take(), (Point{Requests: 1}); got != want {
				t.Errorf("after %s: %+v, want %+v", quiet, got, want)
			}
		}
		if got := h.Of("z2"); len(got) != Points {
			t.Errorf("a zone without requests has %d points, want %d", len(got), Points)
		}
	})
}

// BenchmarkHistory is one step with a thousand zones.
func BenchmarkHistory(b *testing.B) {
	policy, err := (&config.App{Workers: 32}).Policy()
	if err != nil {
		b.Fatal(err)
	}
	guard := breaker.New(policy, breaker.Options{})
	defer guard.Close()
	guard.Apply(policy, thousandZones())
	h := newHistory(guard)
	b.ReportAllocs()
	for b.Loop() {
		h.Take(time.Now())
	}
}

func thousandZones() []string {
	zones := make([]string, 1000)
	for i := range zones {
		zones[i] = fmt.Sprintf("shard-%04d", i)
	}
	return zones
}
