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
// frozen zone takes more workers than the calculator says.
func TestOccupationOfTheGuard(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		workers := rapid.IntRange(4, 64).Draw(rt, "workers")
		o := sizing.Occupation{
			Workers: workers,
			Early:   4, // what comes at once; answers take 5 ms, so that patience is over 20 ms later
		}
		k := rapid.IntRange(1, 4).Draw(rt, "zones")
		atOnce := rapid.Bool().Draw(rt, "at once")
		var got []int
		synctest.Test(t, func(t *testing.T) { got = freeze(t, o, k, atOnce) })
		for i, n := range got {
			if n > o.Most(tries) {
				rt.Fatalf("zone %d of %d (at once: %v) took %d workers, the calculator says at most %d (%+v, each: %v)", i+1, k, atOnce, n, o.Most(tries), o, got)
			}
		}
		if !atOnce && got[0] < o.Usual(0)-1 {
			rt.Fatalf("the first zone took %d workers: a calculator that says %d is too pessimistic (%+v)", got[0], o.Usual(0), o)
		}
	})
}

// tries is how often a zone is tried while it is knocked at.
const tries = 3

// freeze lets k zones hang and says how many workers each has taken in the end.
func freeze(t *testing.T, o sizing.Occupation, k int, atOnce bool) []int {
	t.Helper()
	wait := config.Duration(0)
	policy, err := (&config.App{Workers: o.Workers, MaxOpenZones: 100, Zones: []config.Zone{{
		Name: "*", Timeout: config.Duration(2 * time.Second), MaxWait: &wait,
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
	for range 40 { // what is usual
		for z := range k {
			s, _ := g.Admit(context.Background(), breaker.Request{Zone: fmt.Sprint("z", z), Store: "well"})
			time.Sleep(5 * time.Millisecond)
			s.End(breaker.OK)
		}
	}
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
