package breaker_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"
)

// TestNamedOfAThousand damages k of a zone's thousand stores, hot ones and cold
// ones, under Zipf traffic: the busiest stores of all are innocent. It prints how
// many of those that are named deserve it (precision), and how many of those
// that were asked for are named (recall). The pool kills a worker after 30 s.
func TestNamedOfAThousand(t *testing.T) {
	for _, k := range thorough([]int{1, 3, 12, 50}, []int{3, 50}) {
		t.Run(fmt.Sprintf("k=%d", k), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { nameOfAThousand(t, k) })
		})
	}
}

func nameOfAThousand(t *testing.T, k int) {
	p := newPool(t, twoSeconds())
	p.killAfter = 30 * time.Second
	defer p.close()
	random := rand.New(rand.NewPCG(uint64(k), 1))
	zipf := rand.NewZipf(random, 1.05, 1, 999)
	half := func(i int) (zone, store string) {
		if i%2 == 0 {
			return "z7", fmt.Sprintf("t%d", zipf.Uint64())
		}
		return allZones(i / 2)
	}
	p.load(10*time.Second, 300, half)
	guilty := map[string]bool{}
	for i := range k {
		rank := 2 + int(math.Pow(997, (float64(i)+0.5)/float64(k)))
		for guilty[fmt.Sprintf("t%d", rank)] {
			rank++
		}
		guilty[fmt.Sprintf("t%d", rank)] = true
		p.freeze(fmt.Sprintf("z7/t%d", rank))
	}
	broke := time.Now()
	for _, until := range []time.Duration{10 * time.Second, 40 * time.Second, 2 * time.Minute} {
		p.load(until-time.Since(broke), 300, half)
		named, wrong := 0, 0
		asked := map[string]bool{}
		for _, c := range p.guard.Culprits("z7") {
			if guilty[c.Store] {
				named, asked[c.Store] = named+1, true
			} else {
				wrong++
			}
		}
		p.count(broke, func(r result) bool {
			if r.zone == "z7" && guilty[r.store] {
				asked[r.store] = true
			}
			return false
		})
		t.Logf("k=%d after %s: %d of %d named, %d were asked for; precision %.0f %%, recall %.0f %%",
			k, until, named, k, len(asked), 100*float64(named)/float64(max(1, named+wrong)), 100*float64(named)/float64(max(1, len(asked))))
		if wrong > 0 {
			t.Errorf("after %s %d innocent stores are named", until, wrong)
		}
		// Each culprit costs a worker for 30 s, and the zone may have 16.
		want := len(asked)
		if k > 3 {
			want = min(want, int(8+until/(30*time.Second)*8))
		}
		if named < want {
			t.Errorf("after %s %d of the %d culprits that were asked for are named, want %d", until, named, len(asked), want)
		}
	}
	innocent := func(r result) bool { return r.zone == "z7" && !guilty[r.store] }
	t.Logf("k=%d: innocent stores %.2f %% ok from the fault on, other zones %.2f %%, worst %d workers",
		k, okPercent(p, broke, innocent), okPercent(p, broke, func(r result) bool { return r.zone != "z7" }), p.worstOf("z7"))
	for store := range guilty {
		p.heal("z7/" + store)
	}
	healed := time.Now()
	p.load(10*time.Second, 300, half)
	if got := okPercent(p, healed.Add(2*time.Second), innocent); got < 99 {
		t.Errorf("innocent stores %.2f %% ok from 2 s after the heal on", got)
	}
}
