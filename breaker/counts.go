package breaker

import "time"

// Counts is what became of a zone's requests since the start, in few numbers.
type Counts struct {
	OK      uint64 // answered, slow answers included
	Bad     uint64 // failed, broken, hung
	Refused uint64 // by firebreak; those of maintenance are not known here
	Neutral uint64 // gone, refused by the upstream, not sent
}

// EachCounts calls yield with the counts of every zone until yield returns
// false. It is cheap enough to be called every second with thousands of zones:
// it allocates nothing and holds each zone's lock for a dozen additions.
func (g *Guard) EachCounts(yield func(zone string, c Counts) bool) {
	for name, z := range g.allZones() {
		if !yield(name, z.counts()) {
			return
		}
	}
}

// EachActive calls yield with the counts of the zones in which they have changed within
// the last five seconds, and of some others. It costs nothing for zones that are idle.
func (g *Guard) EachActive(yield func(zone string, c Counts) bool) {
	for _, z := range g.activeZones() {
		if !yield(z.name, z.counts()) {
			return
		}
	}
}

// CountsOf is the counts of one zone; false if no request ever asked for it.
func (g *Guard) CountsOf(name string) (Counts, bool) {
	z := g.find(name)
	if z == nil {
		return Counts{}, false
	}
	return z.counts(), true
}

// countsSettle is for how long the counts of a zone must not have changed for it to be
// idle: longer than EachActive promises.
const countsSettle = 6 * time.Second

func (z *zone) counts() (c Counts) {
	z.mu.Lock()
	defer z.mu.Unlock()
	for o, n := range z.totals.outcomes {
		switch outcome := Outcome(o); {
		case outcome.good():
			c.OK += n
		case outcome.bad():
			c.Bad += n
		default:
			c.Neutral += n
		}
	}
	for _, n := range z.refusals {
		c.Refused += n
	}
	return c
}
