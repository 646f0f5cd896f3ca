package breaker_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
)

// useServers has all sidecars send their requests to so many servers that they share.
func (f *sidecars) useServers(n int) (addresses []string) {
	for i := range n {
		addresses = append(addresses, fmt.Sprintf("api%d:9000", i))
	}
	for _, s := range f.all {
		s.sim.Guard().SetServers("test", addresses)
		candidates := breaker.NewCandidates(addresses)
		s.fleet = func(zone, store string, slot *breaker.Slot) {
			address := addresses[slot.PickServer(candidates, func(int) bool { return true })]
			takes, outcome := s.serve(zone, store)
			if still := f.still[address]; f.now+takes > still.from && f.now < still.to {
				f.stuck[address]++
				takes = still.to - f.now + 20*time.Millisecond
			}
			s.answerAfter(request{zone, store, s.now}, slot, takes, outcome)
		}
	}
	return addresses
}

// outOfService is on how many sidecars a server is out of service.
func (f *sidecars) outOfService(address string) (n int) {
	for _, s := range f.all {
		if slices.ContainsFunc(s.sim.Guard().Servers(), func(v breaker.ServerStatus) bool {
			return v.Address == address && v.State == breaker.OutOfService
		}) {
			n++
		}
	}
	return n
}

// TestFleetTakesOutAFrozenServer: 300 requests/s over fifty sidecars and ten servers, so
// that a sidecar sends a request to each every 1.7 s.
func TestFleetTakesOutAFrozenServer(t *testing.T) {
	for _, alone := range []bool{true, false} {
		t.Run(map[bool]string{true: "each for itself", false: "together"}[alone], func(t *testing.T) {
			for seed := range uint64(thorough(2, 1)) {
				f := newSidecars(t, 50, 32, 12, seed+1)
				for _, s := range f.all {
					s.mute = alone
				}
				servers := f.useServers(10)
				wrong := 0
				f.told = func(_ *sidecar, e breaker.Event) {
					switch {
					case e.Kind == breaker.EventZoneOpened, e.Kind == breaker.EventStoreQuarantined && !alone, e.Kind == breaker.EventServerOut && e.Server != servers[3]:
						wrong++
						t.Logf("%s: %s %s/%s %s: %s", f.now, e.Kind, e.Zone, e.Store, e.Server, e.Evidence)
					}
				}
				const freeze, heal = 30 * time.Second, 70 * time.Second
				f.still[servers[3]] = interval{freeze, heal}
				f.load(300, 100*time.Second, f.thousandStores)
				f.run(freeze)
				everywhere, lost := time.Duration(0), 0
				for f.now < heal {
					f.run(f.now + 25*time.Millisecond)
					if everywhere == 0 && f.outOfService(servers[3]) == len(f.all) {
						everywhere, lost = f.now-freeze, f.stuck[servers[3]]
					}
				}
				all := f.stuck[servers[3]]
				back := time.Duration(0)
				for f.now < heal+25*time.Second && back == 0 {
					f.run(f.now + 50*time.Millisecond)
					if f.outOfService(servers[3]) == 0 {
						back = f.now - heal
					}
				}
				t.Logf("out of service everywhere after %s, %d workers lost until then and %d in 40 s, %d messages, back everywhere %s after the heal", everywhere, lost, all, f.sent, back)
				if wrong > 0 {
					t.Errorf("%d verdicts on zones, stores and servers that are well", wrong)
				}
				if alone {
					continue
				}
				if everywhere == 0 || everywhere > 2*time.Second {
					t.Errorf("out of service on all sidecars after %s, want at most slow_after + 1s", everywhere)
				}
				if all > 60 {
					t.Errorf("%d workers lost, want at most 60", all)
				}
				if back == 0 || back > 2*time.Second {
					t.Errorf("back on all sidecars %s after the heal, want at most 2s", back)
				}
			}
		})
	}
}

// lieAboutServers has a sidecar claim that servers have been silent for 1.5 s, by three
// stores, again and again until.
func (f *sidecars) lieAboutServers(s *sidecar, servers []string, until time.Duration) {
	s.lies = func() (obs []breaker.Observation) {
		if f.now > until {
			s.lies = nil
			return nil
		}
		for _, address := range servers {
			obs = append(obs, breaker.Observation{Kind: breaker.ObservedSilent, Server: address, Stores: 3, Some: [3]uint32{1, 2, 3}, For: 1500 * time.Millisecond})
		}
		return obs
	}
}

// TestLiarsAboutServers: no server that answers anybody is out of service for what others
// claim, nor one that gets few requests for what fewer than three do.
func TestLiarsAboutServers(t *testing.T) {
	for _, tt := range []struct {
		name      string
		liars     int
		servers   int // that each claims to be silent
		perSecond float64
	}{
		{"many claim one", 5, 1, 300},
		{"many claim as many as may be out", 5, 5, 300},
		{"many claim all, few requests", 5, 10, 10},
		{"two claim one, few requests", 2, 1, 5},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := newSidecars(t, 50, 32, 12, 7)
			servers := f.useServers(10)
			f.told = func(s *sidecar, e breaker.Event) {
				if e.Kind == breaker.EventServerOut || e.Kind == breaker.EventZoneOpened {
					t.Errorf("%s: %d %s %s%s: %s", f.now, s.id, e.Kind, e.Server, e.Zone, e.Evidence)
				}
			}
			d := thorough(time.Minute, 20*time.Second)
			f.load(tt.perSecond, d, f.thousandStores)
			for at := 5 * time.Second; at < d; at += 10 * time.Second {
				f.at(at, func() {
					for i := range tt.liars {
						f.lieAboutServers(f.all[i], servers[:tt.servers], f.now+5*time.Second)
					}
				})
			}
			f.run(d)
		})
	}
}

// TestFrozenZoneBehindServers: a zone stops, and the servers that its requests hang on are
// well.
func TestFrozenZoneBehindServers(t *testing.T) {
	for seed := range uint64(thorough(2, 1)) {
		f := newSidecars(t, 50, 32, 12, seed+1)
		f.useServers(10)
		f.told = func(s *sidecar, e breaker.Event) {
			if e.Kind == breaker.EventServerOut || e.Kind == breaker.EventZoneOpened && e.Zone != "z7" || e.Kind == breaker.EventStoreQuarantined {
				t.Errorf("%s: %d %s %s%s/%s: %s", f.now, s.id, e.Kind, e.Server, e.Zone, e.Store, e.Evidence)
			}
		}
		const freeze, heal = 20 * time.Second, 50 * time.Second
		f.load(300, heal, f.thousandStores)
		f.run(freeze)
		f.frozen["z7"] = heal
		everywhere := time.Duration(0)
		for f.now < heal {
			f.run(f.now + 25*time.Millisecond)
			if everywhere == 0 && f.open("z7") == len(f.all) {
				everywhere = f.now - f.stuckSince["z7"][2]
			}
		}
		t.Logf("open on all %s after the third stuck store, %d workers lost", everywhere, f.hung("z7"))
		if everywhere == 0 {
			t.Error("it is not open on all sidecars")
		}
	}
}
