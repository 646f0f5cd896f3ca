package breaker_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
)

// TestEverythingComesBack plays faults of all kinds at once, restarts of firebreak among
// them, and ends them; some leave workers behind that hang for ever. Whatever the guard
// came to believe, twenty minutes later nobody is refused any more.
func TestEverythingComesBack(t *testing.T) {
	for seed := range thorough(uint64(16), 2) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { comesBack(t, seed) })
		})
	}
}

func comesBack(t *testing.T, seed uint64) {
	p := newPool(t, twoSeconds())
	defer p.close()
	random := rand.New(rand.NewPCG(seed, 1))
	p.load(5*time.Second, 300, allZones)
	story, ends := "", []func(){}
	ill := map[string]bool{}
	for range 2 + random.IntN(4) {
		name := fmt.Sprintf("z%d", 1+random.IntN(12))
		stores := 0
		if random.IntN(2) == 0 {
			stores = 1 + random.IntN(12)
		}
		if ill[name] {
			continue
		}
		ill[name] = true
		end, how := p.heal, "heals"
		if random.IntN(3) == 0 {
			end, how = p.lose, "loses its queries"
		}
		story += fmt.Sprintf("%s (%d stores) freezes and %s; ", name, stores, how)
		if stores == 0 {
			p.freeze(name)
			ends = append(ends, func() { end(name) })
		}
		for i := range stores {
			store := fmt.Sprintf("%s/s%d", name, i*7)
			p.freeze(store)
			ends = append(ends, func() { end(store) })
		}
		p.load(time.Duration(1+random.IntN(40))*time.Second, 300, allZones)
		if random.IntN(4) == 0 {
			story += "restart; "
			p.restart()
		}
		if random.IntN(3) == 0 {
			story += "ends; "
			for _, end := range ends {
				end()
			}
			ends = nil
		}
	}
	for _, end := range ends {
		end()
	}
	p.load(20*time.Minute, 60, allZones)
	last := time.Now()
	p.load(time.Minute, 300, allZones)
	p.mu.Lock()
	busy := 0
	for _, n := range p.busy {
		busy += n
	}
	p.mu.Unlock()
	if got := okPercent(p, last, func(result) bool { return true }); got < 100 {
		t.Errorf("%s%.2f %% ok in the end, %d workers hang for ever: %v", story, got, busy, p.details)
		for i := range 12 {
			if s := p.state(fmt.Sprintf("z%d", i+1)); s.State != breaker.Calm {
				t.Errorf("%s: %s, %s; %d hung, in quarantine: %v", s.Zone, s.State, s.Evidence, s.Hung, s.Quarantined)
			}
		}
	}
	t.Logf("%s%d workers hang for ever", story, busy)
}
