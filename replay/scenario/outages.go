package scenario

import (
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
)

// Outage is one of the outages that Firebreak was made for.
type Outage struct {
	Name   string        // of its files
	When   string        // it happened
	What   string        // happened
	People time.Duration // it took until people had isolated it, by the public report

	// Verdict is what firebreak should come to.
	Verdict Verdict

	seed  uint64
	lasts time.Duration // the fault
	zone  int           // the zone that is ill; 0: not one
	surge float64       // requests per second that a customer sends beside the others

	// touches reports whether a request that is sent during the fault meets it.
	touches func(r *request) bool
	// strike says how a request fares that meets the fault: for how long its
	// worker is busy from now on, and what comes of it.
	strike func(o *Outage, r *request, now time.Duration, busy int) (time.Duration, breaker.Outcome)
}

// Verdict is a kind of verdict.
type Verdict uint8

// The verdicts.
const (
	VerdictZone   Verdict = iota // its zone opens
	VerdictStores                // its stores are put into quarantine
	VerdictPool                  // no zone and no store is to blame
	VerdictLimits                // none is needed: limits do
)

// Outages are the five outages, in the order of their dates.
func Outages() []*Outage {
	return []*Outage{redis(), damaged(), dark(), connections(), surge()}
}

// Again is the outage with other clients: the same demand in the mean, at other
// times and of other stores.
func (o *Outage) Again(n int) *Outage {
	again := *o
	again.seed += uint64(n) << 32
	return &again
}

// Shortened is the outage with a fault of at most this length.
func (o *Outage) Shortened(lasts time.Duration) *Outage {
	short := *o
	short.lasts = min(o.lasts, lasts)
	return &short
}

// redis is a hung Redis that half of the requests of all zones ask: not one
// zone is to blame.
func redis() *Outage {
	return &Outage{
		Name: "2019-redis", When: "08/2019", What: "Redis hangs; half of the requests of all zones ask it",
		People: 14 * time.Minute, Verdict: VerdictPool, seed: 2019, lasts: 14 * time.Minute,
		touches: func(r *request) bool { return r.luck < 0.5 },
		strike:  hang,
	}
}

// damaged is a database that is back with damaged data of some stores, on which
// queries hang.
func damaged() *Outage {
	return &Outage{
		Name: "2020-damaged", When: "07/2020", What: "queries on the damaged data of 12 of 100 stores hang",
		People: 6 * time.Minute, Verdict: VerdictStores, seed: 2020, lasts: 6 * time.Minute, zone: 7,
		touches: func(r *request) bool { return r.zone == 7 && r.store%8 == 3 && r.store < 96 },
		strike:  hang,
	}
}

// dark is a database instance that answers nothing any more.
func dark() *Outage {
	return &Outage{
		Name: "2024-dark", When: "03/2024", What: "a database instance goes dark",
		People: 9 * time.Minute, Verdict: VerdictZone, seed: 202403, lasts: 9 * time.Minute, zone: 1,
		touches: func(r *request) bool { return r.zone == 1 },
		strike:  hang,
	}
}

// connections is a database that times out on new connections: slow at first,
// then failing. One in ten requests finds a connection that is still open.
func connections() *Outage {
	return &Outage{
		Name: "2024-connections", When: "12/2024", What: "a database times out on new connections: slow, then failing",
		People: 7 * time.Minute, Verdict: VerdictZone, seed: 202412, lasts: 7 * time.Minute, zone: 2,
		touches: func(r *request) bool { return r.zone == 2 && r.luck >= 0.1 },
		strike: func(o *Outage, r *request, now time.Duration, _ int) (time.Duration, breaker.Outcome) {
			switch {
			case now >= o.healed():
				return r.takes, breaker.OK
			case now < calm+slowAtFirst:
				return 1500*time.Millisecond + 10*r.takes, breaker.OK
			}
			return connectTimeout + r.takes, breaker.Failure
		},
	}
}

const (
	slowAtFirst    = 15 * time.Second
	connectTimeout = 10 * time.Second
)

// surge is one customer that sends a hundred times its usual traffic to one
// shard. Nothing fails; the shard's database serves so many at once and no more.
func surge() *Outage {
	return &Outage{
		Name: "overload", When: "14 Jan", What: "one customer sends 100x its traffic to one shard",
		People: 9 * time.Minute, Verdict: VerdictLimits, seed: 114, lasts: 9 * time.Minute, zone: 5, surge: 250,
		touches: func(r *request) bool { return r.zone == 5 && r.store == 0 },
	}
}

// shardServes is how many queries a shard's database serves at once without
// getting slower.
const shardServes = 4

// hang waits until the fault is over.
func hang(o *Outage, r *request, now time.Duration, _ int) (time.Duration, breaker.Outcome) {
	return max(0, o.healed()-now) + r.takes, breaker.OK
}

// fare is how a request fares whose worker starts now, in a zone that keeps so
// many workers busy, this one included.
func (o *Outage) fare(r *request, now time.Duration, busy int) (time.Duration, breaker.Outcome) {
	if r.touched && o.strike != nil {
		return o.strike(o, r, now, busy)
	}
	if o.surge > 0 && r.zone == o.zone {
		return r.takes * time.Duration(max(busy, shardServes)) / shardServes, breaker.OK
	}
	return r.takes, breaker.OK
}
