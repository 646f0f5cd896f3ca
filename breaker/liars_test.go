package breaker_test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
)

// strange is a fleet in which nothing is broken but sidecars: some claim what is not,
// some are cut off from the others, some have a network that loses requests, and old
// messages are sent again. Their clocks differ by up to ten minutes.
type strange struct {
	*sidecars
	zones, stores int

	apart map[int]time.Duration // sidecars that hear nobody, and are heard by nobody, until
	ill   map[int]time.Duration // sidecars whose requests are lost, until

	servers               []string // that all of them use; none: their pools are one each
	openings, quarantines int
	outs                  int // servers out of service
	details               []string
}

func newStrange(t testing.TB, n, zones, servers int, seed uint64) *strange {
	t.Helper()
	f := &strange{sidecars: newSidecars(t, n, 32, zones, seed), zones: zones, stores: 100, apart: map[int]time.Duration{}, ill: map[int]time.Duration{}}
	f.hangs = .001
	for _, s := range f.all {
		s.start = s.start.Add(time.Duration(f.random.IntN(20*60)-10*60) * time.Second)
		s.sim = simulateAt(t, s, zones)
		serve := s.serve
		s.serve = func(zone, store string) (time.Duration, breaker.Outcome) {
			if until := f.ill[s.id]; until > f.now {
				return until - f.now + 20*time.Millisecond, breaker.OK
			}
			return serve(zone, store)
		}
	}
	if servers > 0 {
		f.servers = f.useServers(servers)
	}
	f.lost = func(from, to int) bool { return f.apart[from] > f.now || f.apart[to] > f.now }
	f.told = func(s *sidecar, e breaker.Event) {
		switch {
		case f.ill[s.id]+10*time.Second > f.now:
			return // what it finds out about its own network by itself
		case e.Kind == breaker.EventZoneOpened:
			f.openings++
		case e.Kind == breaker.EventStoreQuarantined && strings.Contains(e.Evidence, "sidecars"):
			f.quarantines++
		case e.Kind == breaker.EventServerOut:
			f.outs++
		default:
			return
		}
		f.details = append(f.details, fmt.Sprint(f.now, " ", s.id, " ", e.Kind, " ", e.Zone, "/", e.Store, e.Server, " ", e.Evidence))
	}
	return f
}

// simulateAt is a guard whose clock is the sidecar's.
func simulateAt(t testing.TB, s *sidecar, zones int) *breaker.Simulation {
	t.Helper()
	names := make([]string, zones)
	for i := range names {
		names[i] = fmt.Sprint("z", i)
	}
	sim := breaker.Simulate(s.sim.Guard().Policy(), names, s.start, uint64(s.id))
	sim.Guard().SetFleet(s)
	return sim
}

// lie has a sidecar claim that so many zones are silent, of three stores, and a store of
// each, and all servers, until.
func (f *strange) lie(s *sidecar, zones int, until time.Duration) {
	first, since := f.random.IntN(f.zones), f.now-time.Duration(f.random.IntN(5000))*time.Millisecond
	moves := f.random.IntN(2) == 0 // as if it had begun anew each time
	s.lies = func() (obs []breaker.Observation) {
		if f.now > until {
			s.lies = nil
			return nil
		}
		age := f.now - since
		if moves {
			age = 1500 * time.Millisecond
		}
		for i := range zones {
			zone := fmt.Sprint("z", (first+i)%f.zones)
			obs = append(obs,
				breaker.Observation{Kind: breaker.ObservedSilent, Zone: zone, Stores: 3, Some: [3]uint32{1, 2, 3}, For: age},
				breaker.Observation{Kind: breaker.ObservedSilent, Zone: zone, Store: "s1", Stores: 1, For: age})
		}
		for _, address := range f.servers {
			obs = append(obs, breaker.Observation{Kind: breaker.ObservedSilent, Server: address, Stores: 3, Some: [3]uint32{1, 2, 3}, For: age})
		}
		return obs
	}
}

// run lets strange things happen for d, with so many requests per second. liars of the
// sidecars may lie at the same time.
func (f *strange) run(d time.Duration, perSecond float64, liars int) {
	f.load(perSecond, d, func() (zone, store string) {
		u := f.random.Float64()
		return fmt.Sprint("z", f.random.IntN(f.zones)), fmt.Sprint("s", int(u*u*float64(f.stores)))
	})
	every := func(mean time.Duration, do func()) {
		var next func()
		next = func() {
			do()
			f.at(f.now+time.Duration(f.random.ExpFloat64()*float64(mean)), next)
		}
		f.at(f.now+time.Duration(f.random.ExpFloat64()*float64(mean)), next)
	}
	every(4*time.Minute, func() {
		zones := f.zones
		if len(f.servers) > 0 && f.random.IntN(2) == 0 {
			zones = 0
		}
		for i := range liars {
			f.lie(f.all[i], zones, f.now+20*time.Second)
		}
	})
	every(5*time.Minute, func() { f.apart[f.random.IntN(len(f.all))] = f.now + 20*time.Second })
	every(6*time.Minute, func() {
		id := f.random.IntN(len(f.all))
		f.ill[id] = f.now + 15*time.Second
	})
	every(7*time.Minute, func() {
		for i := range len(f.all) / 2 { // half of them hear each other only by chance
			f.apart[i] = f.now + 10*time.Second
		}
	})
	every(time.Minute, func() {
		for _, again := range f.old {
			again()
		}
	})
	f.sidecars.run(d)
}

// TestFleetOfLiars: 0 zones are cut off wrongly, and 0 servers out of service, whatever a few sidecars of a fleet say, or
// the network does to their messages. FIREBREAK_NOISE_HOURS asks for more than some
// minutes of it, FIREBREAK_NOISE_SEED for other ones.
func TestFleetOfLiars(t *testing.T) {
	hours, _ := strconv.ParseFloat(os.Getenv("FIREBREAK_NOISE_HOURS"), 64)
	seed, _ := strconv.ParseUint(os.Getenv("FIREBREAK_NOISE_SEED"), 10, 32)
	for i, tt := range []struct {
		sidecars, zones, liars int
		servers                int
		perSecond              float64
		share                  float64 // of the hours
	}{
		{50, 12, 5, 0, 300, .02},
		{50, 12, 5, 0, 10, .15},
		{10, 4, 3, 0, 20, .4},
		{10, 12, 3, 0, 1, .4},
		{50, 12, 5, 10, 10, .03},
	} {
		t.Run(fmt.Sprintf("%d of %d, %g requests per second, %d servers", tt.liars, tt.sidecars, tt.perSecond, tt.servers), func(t *testing.T) {
			t.Parallel()
			d := thorough(20*time.Minute, 5*time.Minute)
			if tt.perSecond > 100 || tt.servers > 0 {
				d = thorough(5*time.Minute, time.Minute)
			}
			if hours > 0 {
				d = time.Duration(hours * tt.share * float64(time.Hour))
			}
			f := newStrange(t, tt.sidecars, tt.zones, tt.servers, 5*seed+uint64(i))
			f.run(d, tt.perSecond, tt.liars)
			t.Logf("%s: %d requests, %d not answered in time, %d messages; %d zones cut off, %d stores named together, %d servers out of service", d, f.asked, f.asked-f.ok, f.sent, f.openings, f.quarantines, f.outs)
			if f.openings+f.quarantines+f.outs > 0 {
				t.Errorf("%d zones cut off, %d stores named and %d servers out of service, all of them well: %q", f.openings, f.quarantines, f.outs, f.details[:min(len(f.details), 10)])
			}
		})
	}
}
