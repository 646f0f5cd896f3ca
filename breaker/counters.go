package breaker

import (
	"time"

	"github.com/firebreak-proxy/firebreak/internal/histogram"
)

// Histogram is how long something took, counted in classic buckets and in the
// native buckets of Prometheus.
type Histogram = histogram.Counts

var (
	firstByteScale = histogram.NewScale(
		5*time.Millisecond, 10*time.Millisecond, 25*time.Millisecond, 50*time.Millisecond, 100*time.Millisecond, 250*time.Millisecond,
		500*time.Millisecond, time.Second, 2500*time.Millisecond, 5*time.Second, 10*time.Second, 30*time.Second)
	waitScale = histogram.NewScale(
		time.Millisecond, 5*time.Millisecond, 20*time.Millisecond, 50*time.Millisecond, 100*time.Millisecond, time.Second)
)

// Counters is what monitoring reads at every scrape: less than Status, and
// cheap for a thousand zones. Counts are since the process began and include
// zones that are no longer there.
type Counters struct {
	Workers, Occupied, Hung, Waiting int

	PoolSuspect  bool
	OpenZones    int // open or half-open, those that only observe left out
	MaxOpenZones int // opening one more than this makes the pool suspect

	Admitted    uint64 // requests that got a slot
	Outcomes    [outcomes]uint64
	Episodes    uint64 // zones that stopped being calm
	Openings    uint64 // of zones, reopenings included
	Quarantines uint64 // stores that were put into quarantine

	// How hung slots ended: the worker was seen to be free; it was given up at
	// abandon_after; or hung_hold was over, behind a transport that shows no
	// end.
	Returned, Abandoned, Presumed uint64

	Cancelled uint64 // queries of hung requests that were cancelled in zones' databases

	ChecksPassed, ChecksFailed uint64 // of zones' own checks
	NoUpstream                 uint64
	EventsDropped              uint64
	InternalErrors             uint64

	FirstByte Histogram // time from admission to the first byte of the response
	Wait      Histogram // time that requests waited for a slot, if they had to

	Servers []ServerStatus // by address
	Zones   []ZoneCounters // in no order
}

// ZoneCounters is one zone's part of Counters.
type ZoneCounters struct {
	Zone    string
	State   State
	Observe bool

	Live, Hung, Waiting, Streams, Quarantined int
	Doubt                                     bool

	MaxInflight int // workers it may occupy now

	Outcomes    [outcomes]uint64
	Refusals    map[Reason]uint64 // a copy; nil: none
	Would       uint64            // requests that a zone in mode observe would have refused
	Quarantines uint64
	Checked     bool // its own check has run
	CheckOK     bool // the latest one's result
	FirstByte   Histogram
}

// totals is what is counted in one zone, or in all that are forgotten.
type totals struct {
	admitted, episodes, openings, quarantines uint64
	returned, abandoned, presumed, stalled    uint64
	cancelled                                 uint64
	outcomes                                  [outcomes]uint64
	firstByte                                 *histogram.Histogram // nil: no answer yet
	wait                                      *histogram.Histogram // nil: no request has waited yet
}

func (t *totals) add(other *totals) {
	t.admitted += other.admitted
	t.episodes += other.episodes
	t.openings += other.openings
	t.quarantines += other.quarantines
	t.returned += other.returned
	t.abandoned += other.abandoned
	t.presumed += other.presumed
	t.stalled += other.stalled
	t.cancelled += other.cancelled
	for o, n := range other.outcomes {
		t.outcomes[o] += n
	}
	t.firstByte = t.firstByte.Plus(other.firstByte)
	t.wait = t.wait.Plus(other.wait)
}

// noteFirstByte counts how long the first byte of a response took.
func (z *zone) noteFirstByte(s *Slot, now int64) {
	if s.counted {
		return
	}
	s.counted = true
	if z.totals.firstByte == nil {
		z.totals.firstByte = new(histogram.Histogram)
	}
	z.totals.firstByte.Observe(now-s.start, firstByteScale)
}

// noteEnd counts how a hung slot ended.
func (z *zone) noteEnd(s *Slot) {
	switch {
	case s.phase != hung || s.abandonedAt != 0:
	case s.tracked.Load():
		z.totals.returned++
	default:
		z.totals.presumed++
	}
}

// countInto adds the zone's counts to those of others.
func (z *zone) countInto(all *totals) {
	z.mu.Lock()
	defer z.mu.Unlock()
	all.add(&z.totals)
}

func (g *Guard) countCheck(err error) {
	if err != nil {
		g.checksFailed.Add(1)
		return
	}
	g.checksPassed.Add(1)
}

// Counters reads all counters. It takes the zones' locks one after the other,
// each for a moment.
func (g *Guard) Counters() Counters {
	c := Counters{
		Workers: g.workers(), Occupied: int(g.occupied.Load()), Hung: int(g.hung.Load()), Waiting: int(g.queue.waiting.Load()),
		PoolSuspect: g.suspect.Load() != nil, OpenZones: int(g.openZones.Load()), MaxOpenZones: int(g.mostOpen()),
		ChecksPassed: g.checksPassed.Load(), ChecksFailed: g.checksFailed.Load(),
		NoUpstream: g.noUpstream.Load(), EventsDropped: g.dropped.Load(), InternalErrors: g.panics.Load(),
		Servers: g.Servers(),
	}
	zones := g.allZones()
	g.mu.Lock()
	var all totals
	all.add(&g.forgotten)
	g.mu.Unlock()
	c.Zones = make([]ZoneCounters, 0, len(zones))
	for _, z := range zones {
		c.Zones = append(c.Zones, z.counters(&all))
	}
	c.Admitted, c.Outcomes = all.admitted, all.outcomes
	c.Episodes, c.Openings, c.Quarantines = all.episodes, all.openings, all.quarantines
	c.Returned, c.Abandoned, c.Presumed = all.returned, all.abandoned, all.presumed
	c.Cancelled = all.cancelled
	c.FirstByte, c.Wait = all.firstByte.Counts(firstByteScale), all.wait.Counts(waitScale)
	return c
}

// counters reads the zone's, and adds them to those of all zones.
func (z *zone) counters(all *totals) ZoneCounters {
	z.mu.Lock()
	defer z.mu.Unlock()
	all.add(&z.totals)
	c := ZoneCounters{
		Zone: z.name, State: z.state, Observe: z.policy.Observe,
		Live: z.live, Hung: z.hung, Doubt: z.inDoubt(z.g.now()), Waiting: z.waiters.count, Streams: z.streams, Quarantined: z.sick,
		MaxInflight: z.limitNow(), Outcomes: z.totals.outcomes, Quarantines: z.totals.quarantines,
		Checked: z.checkable() && z.checkAt != 0, CheckOK: z.checkOK,
		FirstByte: z.totals.firstByte.Counts(firstByteScale),
	}
	if z.held.open() {
		c.State = Open
	}
	if len(z.refusals) > 0 {
		c.Refusals = make(map[Reason]uint64, len(z.refusals))
		for reason, n := range z.refusals {
			c.Refusals[reason] = n
		}
	}
	for _, n := range z.wouldRefuse {
		c.Would += n
	}
	return c
}
