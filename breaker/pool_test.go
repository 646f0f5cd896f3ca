package breaker_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
)

// failing lets a share of all requests of the first zones end in errors, at
// random.
func (p *pool) failing(zones int, share float64) {
	random := rand.New(rand.NewPCG(1, 2))
	sick := map[string]bool{}
	for i := range zones {
		sick[fmt.Sprintf("z%d", i+1)] = true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failShare = func(zone string) bool { return sick[zone] && random.Float64() < share }
}

// TestErrorsEverywhere: a release, or something that all zones share, makes
// requests of all zones fail for a while. Who would have been answered is,
// and everybody as soon as the cause is gone.
func TestErrorsEverywhere(t *testing.T) {
	oneStore := func(i int) (zone, store string) { return fmt.Sprintf("z%d", i%12+1), "s" }
	twoZones := func(i int) (zone, store string) { return fmt.Sprintf("z%d", i%2+1), fmt.Sprintf("s%d", i%7) }
	for _, tt := range []struct {
		name  string
		zones int // that fail
		share float64
		rate  int
		lasts time.Duration
		pick  func(i int) (zone, store string)
		loss  float64 // of the ok percentage, because of firebreak
		other float64 // ok of zones that do not fail
	}{
		{"all", 12, 1, 300, thorough(2*time.Minute, 30*time.Second), allZones, 3, 0},
		{"two of three requests", 12, 0.67, 300, 30 * time.Second, allZones, 3, 0},
		{"one of three requests", 12, 0.33, 300, 30 * time.Second, allZones, 3, 0},
		{"one of ten requests", 12, 0.1, 300, 30 * time.Second, allZones, 3, 0},
		{"hardly anybody awake", 12, 1, 12, 2 * time.Minute, allZones, 3, 0},
		{"one store in each zone", 12, 1, 100, 30 * time.Second, oneStore, 3, 0},
		// At any time half of the zones look well: of each only the latest outcome is seen.
		{"one store in each zone, half of its requests", 12, 0.5, 100, time.Minute, oneStore, 12, 0},
		{"two zones", 2, 1, 50, time.Minute, twoZones, 3, 0},
		{"most zones", 8, 1, 300, 30 * time.Second, allZones, 3, 100},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPool(t, twoSeconds())
				defer p.close()
				p.load(10*time.Second, tt.rate, tt.pick)
				began := time.Now()
				p.failing(tt.zones, tt.share)
				p.load(tt.lasts, tt.rate, tt.pick)
				if s := p.guard.Status(); !s.PoolSuspect && tt.share > 0.1 {
					t.Error("no event tells that errors are everywhere")
				}
				p.failing(0, 0)
				healed := time.Now()
				p.load(15*time.Second, tt.rate, tt.pick)
				sick := func(r result) bool {
					var n int
					fmt.Sscanf(r.zone, "z%d", &n)
					return n <= tt.zones && r.at.Before(healed)
				}
				want := 100*(1-tt.share) - tt.loss
				if got := okPercent(p, began.Add(5*time.Second), sick); got < want {
					t.Errorf("%.1f %% ok meanwhile, want the %.1f %% that would have been without firebreak", got, want)
				}
				if got := okPercent(p, began, func(r result) bool { return !sick(r) && r.at.Before(healed) }); got < tt.other {
					t.Errorf("%.1f %% of the other zones' requests are ok, want %.1f", got, tt.other)
				}
				if got := okPercent(p, healed, func(result) bool { return true }); got < 99.5 {
					t.Errorf("from the end of the errors on %.2f %% ok, want all: %+v", got, p.guard.Status())
				}
			})
		})
	}
}

// TestSlowErrorsEverywhere: every request of every zone gets an error after a
// while, as when something that all zones share times out. The pool is full of
// them, and well as soon as that is over.
func TestSlowErrorsEverywhere(t *testing.T) {
	for _, takes := range []time.Duration{300, 900} {
		t.Run(fmt.Sprintf("%d ms", takes), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPool(t, twoSeconds())
				defer p.close()
				p.load(5*time.Second, 300, allZones)
				p.failing(12, 1)
				for i := range 12 {
					p.delay[fmt.Sprintf("z%d", i+1)] = takes * time.Millisecond
				}
				p.load(thorough(time.Minute, 15*time.Second), 300, allZones)
				p.failing(0, 0)
				p.mu.Lock()
				clear(p.delay)
				p.mu.Unlock()
				healed := time.Now()
				p.load(20*time.Second, 300, allZones)
				if got := okPercent(p, healed.Add(2*time.Second), func(result) bool { return true }); got < 99.5 {
					t.Errorf("from 2 s after it on %.2f %% ok, want all: %+v", got, p.guard.Status())
				}
			})
		})
	}
}

// TestFreezeAmongErrors: what hangs is found while errors are everywhere, and
// stays found.
func TestFreezeAmongErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t, twoSeconds())
		defer p.close()
		p.load(5*time.Second, 300, allZones)
		p.failing(12, 0.33)
		p.load(10*time.Second, 300, allZones)
		froze := time.Now()
		p.freeze("z7")
		p.freeze("z3/s0")
		p.load(1300*time.Millisecond, 300, allZones)
		if got := p.state("z7").State; got != breaker.Open {
			t.Errorf("the frozen zone is %s after 1.3 s, want open", got)
		}
		p.load(30*time.Second, 300, allZones)
		if got := p.state("z3").Quarantined; len(got) != 1 || got[0] != "s0" {
			t.Errorf("in quarantine are %v, want s0, which hangs", got)
		}
		if got := okPercent(p, froze, func(r result) bool { return r.zone != "z7" && r.store != "s0" }); got < 65.5 {
			t.Errorf("others: %.1f %% ok, want 67", got)
		}
		if p.worstOf("z7") > 10 {
			t.Errorf("the frozen zone occupied %d workers, want at most 10", p.worstOf("z7"))
		}
	})
}

// TestErrorsOfSomeZones: as long as most zones are well, those whose requests
// fail are named, and so is a store.
func TestErrorsOfSomeZones(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t, twoSeconds())
		defer p.close()
		p.load(5*time.Second, 300, allZones)
		p.failing(3, 1)
		p.setFail("z9/s0", true)
		p.load(10*time.Second, 300, allZones)
		for _, zone := range []string{"z1", "z2", "z3"} {
			if got := p.state(zone).State; got != breaker.Troubled {
				t.Errorf("%s is %s, want troubled", zone, got)
			}
		}
		if got := p.state("z9").Culprits; len(got) != 1 {
			t.Errorf("culprits are %v, want the store that fails", got)
		}
		if p.guard.Status().PoolSuspect {
			t.Error("the pool is suspected of what three of twelve zones do")
		}
	})
}
