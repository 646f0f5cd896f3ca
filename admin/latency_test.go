package admin

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/config"
)

// TestLatency: the times are those of the last seconds, not since the start.
func TestLatency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		policy, err := (&config.App{Workers: 32}).Policy()
		if err != nil {
			t.Fatal(err)
		}
		guard := breaker.New(policy, breaker.Options{})
		defer guard.Close()
		answer := func(n int, after time.Duration) {
			for range n {
				slot, refusal := guard.Admit(t.Context(), breaker.Request{Zone: "z1", Store: "a"})
				if refusal != nil {
					t.Fatal(refusal)
				}
				time.Sleep(after)
				slot.Answer(breaker.OK)
				slot.End(breaker.OK)
			}
		}
		var l latencies
		l.look(guard, time.Now())
		for _, round := range []struct{ fast, slow time.Duration }{{20 * time.Millisecond, 300 * time.Millisecond}, {50 * time.Millisecond, 600 * time.Millisecond}} {
			answer(97, round.fast)
			answer(3, round.slow)
			time.Sleep(time.Until(l.at.Add(2 * latencyEvery)))
			l.look(guard, time.Now())
			for _, zone := range []string{"", "z1"} {
				got := l.lately[zone]
				near := func(ms float64, want time.Duration) bool {
					return ms > .9*float64(want.Milliseconds()) && ms < 1.1*float64(want.Milliseconds())
				}
				if !near(got.P50, round.fast) || !near(got.P99, round.slow) {
					t.Errorf("zone %q: %+v, want %s and %s", zone, got, round.fast, round.slow)
				}
			}
		}
		time.Sleep(latencyEvery)
		l.look(guard, time.Now())
		if got := l.lately["z1"]; got != (latency{}) {
			t.Errorf("nothing was answered, and it says %+v", got)
		}
	})
}
