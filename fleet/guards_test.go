package fleet_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/fleet"
)

// sidecars are guards as they are, with pools of their own, in a fleet.
type sidecars struct {
	*hub
	guards []*breaker.Guard
	work   sync.WaitGroup

	mu     sync.Mutex               // guards below
	frozen map[string]chan struct{} // zone, or zone/store
	stuck  map[string]int           // requests that got stuck there
	since  []time.Time              // when the first requests of a store each got stuck
	counts
}

// counts is how many requests came, and were answered in time.
type counts struct{ asked, ok int }

func (s *sidecars) counted() counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts
}

// lost is how many requests got stuck, and when the third store's first one did.
func (s *sidecars) lost(name string) (n int, third time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.since) > 2 {
		third = s.since[2]
	}
	return s.stuck[name], third
}

func startGuards(t *testing.T, n int) (s *sidecars, stop func()) {
	t.Helper()
	app := config.App{Workers: 32, Zones: []config.Zone{{Name: "*", Timeout: config.Duration(2 * time.Second)}}}
	policy, err := app.Policy()
	if err != nil {
		t.Fatal(err)
	}
	names := make([]string, 12)
	for i := range names {
		names[i] = fmt.Sprint("z", i)
	}
	s = &sidecars{hub: newHub(), frozen: make(map[string]chan struct{}), stuck: make(map[string]int)}
	ctx, cancel := context.WithCancel(context.Background())
	var fleets sync.WaitGroup
	for i := range n {
		g := breaker.New(policy, breaker.Options{})
		g.Apply(policy, names)
		f := fleet.New(fleet.Options{Guard: g, Transport: &wire{hub: s.hub}, ID: fmt.Sprint("h", i, ":1"), Host: fmt.Sprint("h", i)})
		g.SetFleet(f)
		s.guards = append(s.guards, g)
		fleets.Go(func() { f.Run(ctx) })
	}
	return s, func() {
		cancel()
		fleets.Wait()
		for name := range s.frozen {
			s.heal(name)
		}
		s.work.Wait()
		for _, g := range s.guards {
			g.Close()
		}
		time.Sleep(time.Minute) // what is on its way arrives
	}
}

func (s *sidecars) freeze(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.frozen[name] = make(chan struct{})
}

func (s *sidecars) heal(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.frozen[name])
	delete(s.frozen, name)
}

// wait is until the zone and the store answer.
func (s *sidecars) wait(zone, store string) {
	s.mu.Lock()
	frozen := s.frozen[zone]
	if frozen == nil {
		frozen = s.frozen[zone+"/"+store]
	}
	if frozen != nil {
		s.stuck[zone]++
		if s.stuck[zone+"/"+store]++; s.stuck[zone+"/"+store] == 1 {
			s.since = append(s.since, time.Now())
		}
	}
	s.mu.Unlock()
	if frozen != nil {
		<-frozen
	}
	time.Sleep(20 * time.Millisecond)
}

// send sends a request to any sidecar.
func (s *sidecars) send(zone, store string) {
	g := s.guards[rand.IntN(len(s.guards))]
	s.work.Go(func() {
		slot, _ := g.Admit(context.Background(), breaker.Request{Zone: zone, Store: store})
		answered := slot != nil && s.request(slot, zone, store)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.asked++
		if answered {
			s.ok++
		}
	})
}

func (s *sidecars) request(slot *breaker.Slot, zone, store string) bool {
	slot.Track()
	done := make(chan struct{})
	s.work.Go(func() {
		s.wait(zone, store)
		close(done)
		slot.End(breaker.OK)
	})
	select {
	case <-done:
		slot.Answer(breaker.OK)
		return true
	case <-time.After(slot.Timeout()):
		slot.Hang()
		return false
	}
}

// load sends 300 requests per second for d, and others as it goes.
func (s *sidecars) load(d time.Duration, others func(i int)) {
	for i := range int(d.Seconds() * 300) {
		u := rand.Float64()
		s.send(fmt.Sprint("z", rand.IntN(12)), fmt.Sprint("s", int(u*u*100)))
		if others != nil {
			others(i)
		}
		time.Sleep(time.Second / 300)
	}
}

func (s *sidecars) cutOff(zone, store string) (n int) {
	for _, g := range s.guards {
		z, _ := g.Zone(zone)
		if store == "" && z.State == breaker.Open || store != "" && g.Store(zone, store).State != breaker.Calm {
			n++
		}
	}
	return n
}

// TestGuardsCutOffAFrozenZone: fifty guards with 6 requests/s each.
func TestGuardsCutOffAFrozenZone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, stop := startGuards(t, 50)
		defer stop()
		s.load(20*time.Second, nil)
		s.freeze("z7")
		everywhere := time.Duration(0)
		s.load(40*time.Second, func(i int) {
			if everywhere == 0 && i%15 == 0 && s.cutOff("z7", "") == len(s.guards) {
				_, third := s.lost("z7")
				everywhere = time.Since(third)
			}
		})
		lost, _ := s.lost("z7")
		s.heal("z7")
		healed := time.Now()
		recovered := time.Duration(0)
		for recovered == 0 && time.Since(healed) < 20*time.Second {
			before := s.counted()
			s.load(500*time.Millisecond, nil)
			if now := s.counted(); 100*(now.ok-before.ok) >= 99*(now.asked-before.asked) {
				recovered = time.Since(healed)
			}
		}
		t.Logf("open on all %s after the third stuck store, %d workers lost after 40 s, well again within %s", everywhere, lost, recovered)
		if everywhere == 0 || everywhere > 1500*time.Millisecond || lost > 60 || recovered == 0 || recovered > 2*time.Second {
			t.Error("want at most slow_after + 500ms, 60 workers, 2s")
		}
	})
}

// TestGuardsNameACulprit: one store of a thousand, with a request per second.
func TestGuardsNameACulprit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, stop := startGuards(t, 50)
		defer stop()
		s.load(20*time.Second, nil)
		s.freeze("z3/bad")
		began, named := time.Now(), time.Duration(0)
		s.load(20*time.Second, func(i int) {
			if i%300 == 0 {
				s.send("z3", "bad")
			}
			if named == 0 && i%15 == 0 && s.cutOff("z3", "bad") == len(s.guards) {
				named = time.Since(began)
			}
		})
		lost, _ := s.lost("z3/bad")
		t.Logf("named everywhere after %s, %d workers lost to it", named, lost)
		// Two of its first three requests may come to the same sidecar.
		if named == 0 || named > 10*time.Second || lost > 7 || s.cutOff("z3", "") > 0 {
			t.Error("want 10s, 7 workers, and its zone open nowhere")
		}
	})
}
