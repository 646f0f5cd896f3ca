package sizing_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/sizing"
)

// TestOccupationOfTheGuard freezes zones in front of the real guard, one after
// the other or all at once, with many stores and clients that never tire: no
// frozen zone takes more workers than the calculator says, and the first gets
// as far as its max_inflight.
func TestOccupationOfTheGuard(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		workers := rapid.IntRange(4, 64).Draw(rt, "workers")
		o := sizing.Occupation{
			Workers:     workers,
			MaxInflight: rapid.IntRange(1, max(1, workers/2)).Draw(rt, "max_inflight"),
			ProbeSlots:  rapid.IntRange(0, 4).Draw(rt, "probe_slots"),
			Early:       12, // what comes in 100 ms: nobody was ever answered, so nothing is usual
		}
		k := rapid.IntRange(1, 4).Draw(rt, "zones")
		atOnce := rapid.Bool().Draw(rt, "at once")
		var got []int
		synctest.Test(t, func(t *testing.T) { got = freeze(t, o, k, atOnce) })
		bound := o.OneByOne(k)
		if atOnce {
			bound = o.AtOnce(k)
		}
		taken, most := 0, 0
		for i := range got {
			taken, most = taken+got[i], most+bound[i]
			if taken > most {
				rt.Fatalf("%d of %d zones (at once: %v) took %d workers, the calculator says at most %d (%+v, each: %v)", i+1, k, atOnce, taken, most, o, got)
			}
		}
		if first := bound[0] - o.ProbeSlots; !atOnce && got[0] < first {
			rt.Fatalf("the first zone took %d workers: a calculator that says %d is too pessimistic (%+v)", got[0], bound[0], o)
		}
	})
}

// freeze lets k zones hang and says how many workers each has taken in the end.
func freeze(t *testing.T, o sizing.Occupation, k int, atOnce bool) []int {
	t.Helper()
	wait := config.Duration(0)
	policy, err := (&config.App{Workers: o.Workers, MaxOpenZones: 100, Zones: []config.Zone{{
		Name: "*", Timeout: config.Duration(2 * time.Second), MaxWait: &wait,
		MaxInflight: config.Count(o.MaxInflight), ProbeSlots: &o.ProbeSlots,
	}}}).Policy()
	if err != nil {
		t.Fatal(err)
	}
	g := breaker.New(policy, breaker.Options{})
	var slots []*breaker.Slot
	defer func() {
		for _, s := range slots {
			s.End(breaker.Broken)
		}
		g.Close()
	}()
	taken := make([]int, k)
	knock := func(zones ...int) {
		for tick := range 60 { // 3 s: some more than the timeout
			for _, z := range zones {
				for n := range 4 {
					s, _ := g.Admit(context.Background(), breaker.Request{Zone: fmt.Sprint("z", z), Store: fmt.Sprintf("s%d", (4*tick+n)%60)})
					if s == nil {
						continue
					}
					s.Track()
					slots = append(slots, s)
					taken[z]++
					time.AfterFunc(2*time.Second, s.Hang)
				}
			}
			time.Sleep(50 * time.Millisecond)
		}
		time.Sleep(4 * time.Second) // some more than the open time, so that the next knocks are probes
	}
	if atOnce {
		all := make([]int, k)
		for i := range all {
			all[i] = i
		}
		knock(all...)
		knock(all...)
		return taken
	}
	for z := range k {
		knock(z)
		knock(z)
	}
	return taken
}
