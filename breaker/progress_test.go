package breaker_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/config"
)

// The tests in this file state what a zone costs and gets, by how it moves.

// percentile is the time that a share of the answered requests kept.
func percentile(p *pool, since time.Time, share float64, match func(result) bool) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	var took []time.Duration
	for _, r := range p.results {
		if !r.at.Before(since) && r.outcome == "ok" && match(r) {
			took = append(took, r.took)
		}
	}
	if len(took) == 0 {
		return 0
	}
	slices.Sort(took)
	return took[int(share*float64(len(took)-1))]
}

func anyZone(result) bool { return true }

// TestWhatAFreezeCosts: three workers know that the zone is frozen, and the rest is
// trying whether it is back.
func TestWhatAFreezeCosts(t *testing.T) {
	check := &config.Check{Protocol: "tcp", Address: "db:1", Send: "x"}
	for _, tt := range []struct {
		name  string
		lasts time.Duration
		rate  int
		check *config.Check
		most  int
	}{
		{"40 s", 40 * time.Second, 300, nil, 5},
		{"10 minutes", 10 * time.Minute, 30, nil, 8},
		{"10 minutes, with a check", 10 * time.Minute, 30, check, 4},
		{"2 hours, with a check", thorough(2*time.Hour, 20*time.Minute), 6, check, 4},
		{"half an hour", thorough(30*time.Minute, 15*time.Minute), 12, nil, 9},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				app := twoSeconds()
				app.Zones[0].Check = tt.check
				p := newPool(t, app)
				defer p.close()
				p.load(20*time.Second, tt.rate, allZones)
				calm := percentile(p, time.Time{}, .99, anyZone)
				began := time.Now()
				p.freeze("z7")
				p.load(tt.lasts, tt.rate, allZones)
				if got := p.worstOf("z7"); got > tt.most {
					t.Errorf("the frozen zone occupied %d workers, want at most %d", got, tt.most)
				}
				if got := okPercent(p, began, notZone("z7")); got < 100 {
					t.Errorf("other zones: %.3f %% ok, want all", got)
				}
				if got := percentile(p, began, .99, notZone("z7")); got > calm*11/10 {
					t.Errorf("other zones: p99 %s, want within 10 %% of %s", got, calm)
				}
				p.heal("z7")
				healed := time.Now()
				p.load(5*time.Second, max(tt.rate, 60), allZones)
				if got := okPercent(p, healed.Add(time.Second), zoneOf("z7")); got < 99 {
					t.Errorf("1 s after the heal %.1f %% ok, want 99: %+v", got, p.state("z7"))
				}
				t.Logf("%d workers", p.worstOf("z7"))
			})
		})
	}
}

// TestThreeFrozenZonesCost: fifteen of 32 workers at most.
func TestThreeFrozenZonesCost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t, twoSeconds())
		defer p.close()
		p.load(10*time.Second, 300, allZones)
		calm := percentile(p, time.Time{}, .99, anyZone)
		began := time.Now()
		frozen := map[string]bool{}
		lost := 0
		for i := range 25 {
			if i%3 == 0 && len(frozen) < 3 {
				zone := fmt.Sprintf("z%d", 3*len(frozen)+3)
				frozen[zone] = true
				p.freeze(zone)
			}
			p.load(time.Second, 300, allZones)
			sum := 0
			for zone := range frozen {
				s := p.state(zone)
				sum += s.Live + s.Hung
			}
			lost = max(lost, sum)
		}
		others := func(r result) bool { return !frozen[r.zone] }
		if got := okPercent(p, began, others); got < 99.99 {
			t.Errorf("other zones: %.3f %% ok", got)
		}
		if got := percentile(p, began, .99, others); got > calm*11/10 {
			t.Errorf("other zones: p99 %s, want within 10 %% of %s", got, calm)
		}
		if lost > 15 {
			t.Errorf("%d workers lost, want at most 15", lost)
		}
		t.Logf("%d workers lost", lost)
	})
}

// TestFourZonesOfASlowPool: four zones freeze in the same moment in a pool that
// takes its time, so that a zone is in doubt only after half a second. They must not
// take every worker until then.
func TestFourZonesOfASlowPool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t, twoSeconds())
		defer p.close()
		random := rand.New(rand.NewPCG(1, 2))
		var mu sync.Mutex
		p.takes = func() time.Duration {
			mu.Lock()
			defer mu.Unlock()
			if random.Float64() < .15 {
				return 150 * time.Millisecond
			}
			return 15 * time.Millisecond
		}
		p.load(20*time.Second, 300, allZones)
		began := time.Now()
		frozen := map[string]bool{"z3": true, "z4": true, "z5": true, "z6": true}
		for zone := range frozen {
			p.freeze(zone)
		}
		most := 0
		for range 20 {
			p.load(500*time.Millisecond, 300, allZones)
			lost := 0
			for zone := range frozen {
				s := p.state(zone)
				lost += s.Live + s.Hung
			}
			most = max(most, lost)
		}
		if got := okPercent(p, began, func(r result) bool { return !frozen[r.zone] }); got < 99.99 {
			t.Errorf("other zones: %.3f %% ok", got)
		}
		if most > 20 {
			t.Errorf("%d workers lost, want at most 20", most)
		}
		t.Logf("%d workers lost", most)
	})
}

// TestStallRefusesNothing: a zone stands still for a moment and goes on, as for a
// checkpoint, a failover, or a collection of garbage. Its requests are late, and
// none is refused.
func TestStallRefusesNothing(t *testing.T) {
	for _, rate := range []int{25, 250} {
		for _, stall := range []time.Duration{100, 300, 600, 900} {
			t.Run(fmt.Sprintf("%d ms at %d requests/s", stall, rate), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					p := newPool(t, twoSeconds())
					defer p.close()
					mixed := func(i int) (zone, store string) {
						if i%2 == 0 {
							return "z7", fmt.Sprintf("s%d", i*7919%97)
						}
						return allZones(i)
					}
					p.load(10*time.Second, 2*rate, mixed)
					calm := percentile(p, time.Time{}, .99, notZone("z7"))
					began := time.Now()
					p.freeze("z7")
					p.load(stall*time.Millisecond, 2*rate, mixed)
					p.heal("z7")
					p.load(5*time.Second, 2*rate, mixed)
					if n := p.count(began, func(r result) bool { return r.outcome != "ok" }); n != 0 {
						t.Errorf("%d requests refused or failed, want none: %v", n, p.details)
					}
					if got := percentile(p, began, .99, notZone("z7")); got > calm*11/10 {
						t.Errorf("other zones: p99 %s, want within 10 %% of %s", got, calm)
					}
				})
			})
		}
	}
}

// TestPoolStallRefusesNothing: the whole API server stands still.
func TestPoolStallRefusesNothing(t *testing.T) {
	for _, stall := range []time.Duration{100, 300, 600, 900} {
		t.Run(fmt.Sprintf("%d ms", stall), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				app := twoSeconds()
				app.Workers = 128
				p := newPool(t, app)
				defer p.close()
				p.load(10*time.Second, 100, allZones)
				began := time.Now()
				for i := range 12 {
					p.freeze(fmt.Sprintf("z%d", i+1))
				}
				p.load(stall*time.Millisecond, 100, allZones)
				for i := range 12 {
					p.heal(fmt.Sprintf("z%d", i+1))
				}
				p.load(5*time.Second, 100, allZones)
				if n := p.count(began, func(r result) bool { return r.outcome != "ok" }); n != 0 {
					t.Errorf("%d requests refused or failed, want none", n)
				}
			})
		})
	}
}

// TestBusyPoolRefusesNothing: 128 workers, four zones, 60 % busy, a third of a
// zone's requests by one store, times with a heavy tail, no fault at all.
func TestBusyPoolRefusesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := twoSeconds()
		app.Workers = 128
		p := newPool(t, app)
		defer p.close()
		random := rand.New(rand.NewPCG(1, 2))
		p.takes = func() time.Duration {
			return min(time.Duration(30*float64(time.Millisecond)*lognormal(random, 1)), 900*time.Millisecond)
		}
		// 128 workers x 60 % / 49 ms.
		traffic := rand.New(rand.NewPCG(3, 4))
		const requests = 10 * 1550
		for range requests {
			store := fmt.Sprintf("s%d", traffic.IntN(100))
			if traffic.Float64() < .3 {
				store = "big"
			}
			p.send(fmt.Sprintf("z%d", traffic.IntN(4)+1), store)
			time.Sleep(time.Duration(traffic.ExpFloat64() * float64(time.Second) / 1550))
		}
		if n := p.count(time.Time{}, func(r result) bool { return r.outcome != "ok" }); n != 0 {
			t.Errorf("%d of %d requests refused, want none", n, requests)
		}
	})
}

// TestSmallPoolWithAFrozenZone: eight workers, twelve zones.
func TestSmallPoolWithAFrozenZone(t *testing.T) {
	for frozen, want := range map[int]float64{1: 99.9, 3: 90.6} {
		t.Run(fmt.Sprintf("%d frozen", frozen), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				app := twoSeconds()
				app.Workers = 8
				p := newPool(t, app)
				defer p.close()
				p.load(10*time.Second, 100, allZones)
				began := time.Now()
				ill := map[string]bool{}
				for i := range frozen {
					ill[fmt.Sprintf("z%d", i+1)] = true
					p.freeze(fmt.Sprintf("z%d", i+1))
				}
				p.load(40*time.Second, 100, allZones)
				if got := okPercent(p, began, func(r result) bool { return !ill[r.zone] }); got < want {
					t.Errorf("healthy zones %.2f %% ok, want %.1f: %v", got, want, p.details)
				} else {
					t.Logf("healthy zones %.2f %% ok", got)
				}
			})
		})
	}
}

// TestOneSlowRequest: a report of a minute does not put its store out.
func TestOneSlowRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t, twoSeconds())
		defer p.close()
		p.load(10*time.Second, 300, allZones)
		began := time.Now()
		p.mu.Lock()
		p.delay["z7/report"] = time.Minute
		p.mu.Unlock()
		report := func(i int) (zone, store string) { // 25 requests/s of the store, of which one is the report
			if i%12 == 6 {
				return "z7", "shop"
			}
			return allZones(i)
		}
		p.sendAs("z7", "shop", "report")
		p.load(time.Minute, 300, report)
		if n := p.count(began.Add(time.Millisecond), func(r result) bool { return r.zone == "z7" && r.outcome != "ok" }); n != 0 {
			t.Errorf("%d requests of the zone were not answered besides the report, want none: %+v", n, p.guard.Store("z7", "shop"))
		}
		if got := p.guard.Culprits("z7"); len(got) != 0 {
			t.Errorf("culprits: %+v", got)
		}
	})
}

// TestHangsByChance: two to twenty of a hundred requests of a zone hang, whichever store's it
// is. That is no store's fault, and stays the zone's own.
func TestHangsByChance(t *testing.T) {
	type run struct {
		share float64
		seed  uint64
	}
	runs := []run{{.1, 10}, {.2, 7}} // two stores are slow twice at first
	for seed := range thorough(uint64(12), 0) {
		runs = append(runs, run{.02, seed + 1}, run{.05, seed + 1}, run{.1, seed + 1}, run{.2, seed + 1})
	}
	for _, r := range runs {
		t.Run(fmt.Sprintf("%.0f %%, %d", 100*r.share, r.seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { hangsByChance(t, r.share, r.seed) })
		})
	}
}

func hangsByChance(t *testing.T, share float64, seed uint64) {
	p := newPool(t, twoSeconds())
	p.killAfter = 10 * time.Second
	defer p.close()
	p.load(10*time.Second, 300, allZones)
	began := time.Now()
	random := rand.New(rand.NewPCG(seed, 2))
	p.mu.Lock()
	p.hangs = func(zone string) bool { return zone == "z7" && random.Float64() < share }
	p.mu.Unlock()
	p.load(2*time.Minute, 300, allZones)
	if got := p.guard.Culprits("z7"); len(got) > 3 {
		t.Errorf("%d stores are named: %+v", len(got), got[0])
	}
	if got := okPercent(p, began, notZone("z7")); got < 100 {
		t.Errorf("other zones: %.3f %% ok, want all", got)
	}
	t.Logf("the zone: %.1f %% ok, %d named, %d workers at worst, %v", okPercent(p, began, zoneOf("z7")), len(p.guard.Culprits("z7")), p.worstOf("z7"), p.state("z7").Refusals)
}

// TestRareStoresBesideHangs: half of the pool hangs with culprits, and nobody kills
// workers. A store whose latest answer is older than that is not refused for ever.
func TestRareStoresBesideHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t, twoSeconds())
		defer p.close()
		p.load(5*time.Second, 300, allZones)
		for i := range 16 {
			p.freeze(fmt.Sprintf("z7/s%d", i*6))
		}
		p.load(time.Minute, 300, allZones)
		if got := p.state("z7").Hung; got < 15 {
			t.Fatalf("%d requests hang, want half of the pool", got)
		}
		p.load(5*time.Minute, 300, allZones)
		began := time.Now()
		for i := range 5 {
			p.load(time.Minute, 300, allZones)
			p.send("z7", fmt.Sprintf("rare%d", i))
		}
		time.Sleep(5 * time.Second)
		rare := func(r result) bool { return strings.HasPrefix(r.store, "rare") }
		if got := okPercent(p, began, rare); got < 80 {
			t.Errorf("stores that send a request now and then: %.0f %% ok, want 80: %v", got, p.state("z7").Refusals)
		}
		if got := p.worstOf("z7"); got > 22 {
			t.Errorf("the zone occupied %d workers", got)
		}
		t.Logf("%.0f %% ok, %d workers at worst", okPercent(p, began, rare), p.worstOf("z7"))
	})
}

// TestRestartBesideHangs: of the pool, half is remembered to hang when firebreak is
// restarted, and no store is known to be well any more.
func TestRestartBesideHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t, twoSeconds())
		defer p.close()
		guilty := map[string]bool{}
		p.load(5*time.Second, 300, allZones)
		for i := range 20 {
			guilty[fmt.Sprintf("s%d", i*5)] = true
			p.freeze(fmt.Sprintf("z7/s%d", i*5))
		}
		p.load(time.Minute, 300, allZones)
		p.restart()
		began := time.Now()
		p.load(30*time.Second, 300, allZones)
		innocent := func(r result) bool { return r.zone == "z7" && !guilty[r.store] }
		if got := okPercent(p, began.Add(5*time.Second), innocent); got < 90 {
			t.Errorf("innocent stores of the zone: %.1f %% ok after the restart, want 90: %v", got, p.state("z7").Refusals)
		}
		t.Logf("%.1f %% ok, %d workers at worst", okPercent(p, began.Add(5*time.Second), innocent), p.worstOf("z7"))
	})
}

// TestReturnAfterLostQueries: the host of a database is rebooted; its queries are
// lost, and their workers hang until the pool kills them.
func TestReturnAfterLostQueries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t, twoSeconds())
		p.killAfter = 30 * time.Second
		defer p.close()
		p.load(10*time.Second, 300, allZones)
		froze := time.Now()
		p.freeze("z7")
		p.load(20*time.Second, 300, allZones)
		p.lose("z7")
		healed := time.Now()
		for range 600 {
			p.load(100*time.Millisecond, 300, allZones)
			if p.state("z7").State == breaker.Troubled || p.state("z7").State == breaker.Calm {
				break
			}
		}
		if got := time.Since(healed); got > 10500*time.Millisecond {
			t.Errorf("the zone was back %s after the heal, want 10.5 s: its workers were killed %s after it froze", got, 30*time.Second)
		}
		t.Logf("back %s after the heal, %s after the freeze, %d workers", time.Since(healed), time.Since(froze), p.worstOf("z7"))
	})
}

// TestReturnWhileWorkersHang: the queries of culprits are lost with the network, so that
// their workers hang for ever, also those of requests that tried them again. The stores
// are well again, and are not kept out for ever.
func TestReturnWhileWorkersHang(t *testing.T) {
	for _, k := range []int{3, 14} {
		t.Run(fmt.Sprint(k), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPool(t, twoSeconds())
				defer p.close()
				p.load(5*time.Second, 300, allZones)
				for i := range k {
					p.freeze(fmt.Sprintf("z7/s%d", i*7))
				}
				p.load(3*time.Minute, 300, allZones)
				if got := p.state("z7").QuarantinedCount; got != k {
					t.Fatalf("%d stores in quarantine, want %d", got, k)
				}
				for i := range k {
					p.lose(fmt.Sprintf("z7/s%d", i*7))
				}
				p.load(30*time.Minute, 60, allZones)
				if got := p.state("z7"); got.QuarantinedCount > 0 {
					t.Errorf("%d stores in quarantine half an hour after they were well again: %v, %d hung", got.QuarantinedCount, got.Quarantined, got.Hung)
				}
			})
		})
	}
}
