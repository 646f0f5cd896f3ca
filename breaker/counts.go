package breaker

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
