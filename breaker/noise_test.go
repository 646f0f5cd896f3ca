package breaker_test

import (
	"fmt"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
)

// noise is healthy days in virtual time: nothing is broken, and much looks as if
// it were. Service times have heavy tails, one request in a thousand takes longer
// than the timeout, zones and the pool stand still for moments, the API server is
// deployed every hour, stores surge, run batches, and get errors.
type noise struct {
	*world

	workers, zones, stores int
	rate                   float64
	median                 time.Duration

	stalls  map[string]interval // of zones, and "" of the pool
	down    interval            // the API server refuses connections
	failing string              // a store, as zone/store
	fleet   *apiServers         // the API servers; nil: one, which is not named

	asked, refused, hung  int
	reasons               map[string]int
	openings, alarms      int
	quarantined           map[string]time.Duration // since when
	quarantines           int
	longQuarantines       int
	worst                 time.Duration
	details               []string
	lastDeploy, lastStall time.Duration
}

type interval struct{ from, to time.Duration }

func newNoise(t testing.TB, workers, zones int, utilisation float64, seed uint64) *noise {
	t.Helper()
	names := make([]string, zones)
	for i := range names {
		names[i] = fmt.Sprint("z", i)
	}
	app := twoSeconds()
	app.Workers = workers
	n := &noise{
		world: newWorld(t, &app, names, seed), workers: workers, zones: zones, stores: 100,
		median: 20 * time.Millisecond, stalls: map[string]interval{}, quarantined: map[string]time.Duration{}, reasons: map[string]int{},
	}
	n.rate = float64(workers) * utilisation / 0.045 // the mean, the slow ones included
	n.world.serve, n.world.done, n.swept = n.serve, n.done, n.look
	return n
}

func (n *noise) zone() string { return fmt.Sprint("z", n.random.IntN(n.zones)) }

// store is a store by a popularity that falls with its number.
func (n *noise) store() string {
	u := n.random.Float64()
	return fmt.Sprint("s", int(u*u*float64(n.stores)))
}

func (n *noise) takes() time.Duration {
	switch u := n.random.Float64(); {
	case u < .001: // over the timeout
		return 2*time.Second + time.Duration(n.random.ExpFloat64()*float64(6*time.Second))
	case u < .01:
		return time.Duration(200+n.random.IntN(700)) * time.Millisecond
	}
	return time.Duration(float64(n.median) * lognormal(n.random, .8))
}

// run lets it be noisy for so long.
func (n *noise) run(d time.Duration) {
	n.every(time.Duration(float64(time.Second)/n.rate), func() { n.send(n.zone(), n.store()) })
	n.every(4*time.Minute, func() { n.stall(n.zone(), 900*time.Millisecond) })
	n.every(10*time.Minute, func() { n.stall("", 700*time.Millisecond) })
	n.every(15*time.Minute, func() { n.surge(20 * time.Second) })
	n.every(15*time.Minute, func() {
		n.failing = n.zone() + "/" + n.store()
		n.at(n.now+time.Minute, func() { n.failing = "" })
	})
	if n.fleet == nil {
		n.every(time.Hour, n.deploy)
	}
	n.world.run(d)
	for name, since := range n.quarantined {
		n.released(name, since)
	}
}

func (n *noise) stall(zone string, most time.Duration) {
	d := time.Duration(n.random.Int64N(int64(most)))
	n.stalls[zone] = interval{n.now, n.now + d}
	n.lastStall = n.now + d
}

// surge lets one store send thirty times as much.
func (n *noise) surge(d time.Duration) {
	zone, store := n.zone(), n.store()
	until, gap := n.now+d, time.Duration(float64(time.Second)/(n.rate*.2))
	var next func()
	next = func() {
		if n.now < until {
			n.send(zone, store)
			n.at(n.now+gap, next)
		}
	}
	next()
}

// deploy restarts the API server: for two seconds it refuses connections.
func (n *noise) deploy() {
	n.down = interval{n.now, n.now + 2*time.Second}
	n.lastDeploy = n.down.to
}

func (n *noise) serve(zone, store string) (time.Duration, breaker.Outcome) {
	if n.now < n.down.to {
		return 0, breaker.NoUpstream
	}
	outcome := breaker.OK
	if zone+"/"+store == n.failing {
		outcome = breaker.Failure
	}
	takes := n.takes()
	for _, name := range []string{"", zone} {
		if s := n.stalls[name]; s.to > n.now {
			takes += s.to - max(s.from, n.now)
		}
	}
	return takes, outcome
}

func (n *noise) done(_ request, _ *breaker.Slot, outcome breaker.Outcome, refusal *breaker.Refusal) {
	n.asked++
	if outcome == breaker.Hung {
		n.hung++
	}
	if refusal == nil || n.now < n.lastDeploy+5*time.Second {
		return // when the API server is away nothing would have been answered
	}
	n.refused++
	n.reasons[refusal.Detail]++
}

// look takes in what the guard has found out, all of which is wrong.
func (n *noise) look() {
	for events := n.sim.Guard().Events(); len(events) > 0; {
		e := <-events
		name := e.Zone + "/" + e.Store
		switch e.Kind {
		case breaker.EventZoneOpened:
			n.openings++
			n.details = append(n.details, fmt.Sprint(n.now, " ", e.Kind, " ", e.Zone, " ", e.Evidence))
		case breaker.EventPoolSuspect:
			if n.now > n.lastDeploy+5*time.Second && n.now > n.lastStall+5*time.Second {
				n.alarms++
				n.details = append(n.details, fmt.Sprint(n.now, " ", e.Kind, " ", e.Evidence))
			}
		case breaker.EventStoreQuarantined:
			if _, ok := n.quarantined[name]; !ok {
				n.quarantined[name] = n.now
				n.quarantines++
				n.details = append(n.details, fmt.Sprint(n.now, " ", e.Kind, " ", name, " ", e.Evidence))
			}
		case breaker.EventServerOut:
			if n.fleet.foundIll(e.Server) {
				n.details = append(n.details, fmt.Sprint(n.now, " ", e.Kind, " ", e.Server, " ", e.Evidence))
			}
		case breaker.EventStoreHalfOpen, breaker.EventStoreReleased:
			n.released(name, n.quarantined[name])
		}
	}
}

func (n *noise) released(name string, since time.Duration) {
	if _, ok := n.quarantined[name]; !ok {
		return
	}
	d := n.now - since
	n.worst = max(n.worst, d)
	if d > time.Second {
		n.longQuarantines++
	}
	delete(n.quarantined, name)
}

// TestHealthyNoise: on healthy days next to nothing is refused, no zone is cut
// off, no store is named for longer than a moment, and the pool is not suspected.
// FIREBREAK_NOISE_HOURS asks for more than a few minutes of each: for so many hours in
// all, of which the pools with fewer requests get more, as much work each.
func TestHealthyNoise(t *testing.T) {
	var total struct {
		sync.Mutex
		asked, refused int
	}
	t.Cleanup(func() {
		if share := 100 * float64(total.refused) / float64(total.asked); share > .01 {
			t.Errorf("%.4f %% of all requests refused, want at most 0.01 %%", share)
		}
	})
	hours, _ := strconv.ParseFloat(os.Getenv("FIREBREAK_NOISE_HOURS"), 64)
	pools := []struct {
		workers, zones int
		utilisation    float64
	}{
		{8, 4, .2},
		{8, 12, .3},
		{32, 12, .2},
		{32, 12, .5},
		{128, 4, .5},
		{1000, 100, .3},
		{8, 4, .02},
		{32, 12, .02},
	}
	inverse := 0.0
	for _, tt := range pools {
		inverse += 1 / (float64(tt.workers) * tt.utilisation)
	}
	for i, tt := range pools {
		t.Run(fmt.Sprintf("%d workers, %d zones, %.0f %% busy", tt.workers, tt.zones, 100*tt.utilisation), func(t *testing.T) {
			t.Parallel()
			n := newNoise(t, tt.workers, tt.zones, tt.utilisation, uint64(i+1))
			d := time.Duration(float64(thorough(6*time.Minute, 2*time.Minute)) * min(1, 200/n.rate))
			if hours > 0 {
				d = time.Duration(hours * float64(time.Hour) / (float64(tt.workers) * tt.utilisation * inverse))
			}
			n.run(d)
			share := 100 * float64(n.refused) / float64(max(1, n.asked))
			t.Logf("%s: %d requests, %d refused (%.4f %%), %d over the timeout; %d openings, %d alarms, %d quarantines over 1 s (longest %s); refused: %v",
				d.Round(time.Second), n.asked, n.refused, share, n.hung, n.openings, n.alarms, n.longQuarantines, n.worst, n.reasons)
			total.Lock()
			defer total.Unlock()
			total.asked, total.refused = total.asked+n.asked, total.refused+n.refused
			if share > .05 {
				t.Errorf("%.4f %% of good requests refused, want at most 0.01 %% of all: %v", share, n.reasons)
			}
			if n.openings+n.alarms+n.longQuarantines > 0 {
				t.Errorf("%d zones cut off, %d false alarms, %d wrong quarantines: %q", n.openings, n.alarms, n.longQuarantines, n.details[:min(len(n.details), 10)])
			}
		})
	}
}
