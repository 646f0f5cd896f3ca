package scenario

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/config"
)

// The API that all scenarios play on.
const (
	workers       = 32
	zones         = 12
	storesPerZone = 100
	perSecond     = 300
	typical       = 20 * time.Millisecond // median time of a worker
	spread        = 0.6                   // of its logarithm
	longest       = 400 * time.Millisecond
	patience      = 30 * time.Second // of clients
	backlog       = 2048             // gunicorn's
	calm          = 30 * time.Second // before the fault, and after it
)

// App is firebreak's settings in all scenarios.
func App() config.App {
	return config.App{Workers: workers, Zones: []config.Zone{{Name: config.AllZones, Timeout: config.Duration(2 * time.Second)}}}
}

// Start is when each scenario begins.
var Start = time.Date(2026, 1, 14, 9, 0, 0, 0, time.UTC)

func zoneName(zone int) string         { return fmt.Sprintf("z%d", zone) }
func storeName(zone, store int) string { return fmt.Sprintf("s%02d%02d", zone, store) }

// Zones are the names of all zones.
func Zones() []string {
	names := make([]string, zones)
	for i := range names {
		names[i] = zoneName(i + 1)
	}
	return names
}

// request is one request of a scenario.
type request struct {
	at          time.Duration
	zone, store int
	name        breaker.Request
	takes       time.Duration // without a fault
	luck        float64       // 0 to 1, for faults that do not touch every request
	touched     bool          // by the fault
}

// demand is what clients ask for, in order: many stores a little and a few
// stores a lot, at random times.
func (o *Outage) demand() []*request {
	chance := rand.New(rand.NewPCG(o.seed, 1))
	var all []*request
	for at := time.Duration(0); ; {
		rate := float64(perSecond)
		if o.surging(at) {
			rate += o.surge
		}
		at += time.Duration(chance.ExpFloat64() / rate * float64(time.Second))
		if at >= o.length() {
			return all
		}
		r := &request{at: at, zone: chance.IntN(zones) + 1, luck: chance.Float64()}
		share := chance.Float64()
		r.store = int(share * share * storesPerZone)
		if o.surging(at) && chance.Float64() < o.surge/rate {
			r.zone, r.store = o.zone, 0
		}
		r.name = breaker.Request{Zone: zoneName(r.zone), Store: storeName(r.zone, r.store)}
		r.takes = min(longest, time.Duration(float64(typical)*math.Exp(spread*chance.NormFloat64())))
		r.touched = o.faulty(at) && o.touches(r)
		all = append(all, r)
	}
}

// length is how long the scenario is.
func (o *Outage) length() time.Duration { return calm + o.lasts + calm }

// healed is when the fault is over. It begins after the calm time.
func (o *Outage) healed() time.Duration { return calm + o.lasts }

func (o *Outage) faulty(at time.Duration) bool { return at >= calm && at < o.healed() }

func (o *Outage) surging(at time.Duration) bool { return o.surge > 0 && o.faulty(at) }
