package breaker

import "time"

// Tally is what a zone had counted at a moment. The difference between two of
// them is what happened in between.
type Tally struct {
	Outcomes    map[string]uint64 // requests by outcome
	Refusals    map[string]uint64 // by reason
	WouldRefuse uint64            // in mode observe
	Worst       int               // workers occupied at one time, of this episode
}

// tallyCount is how many counts of a calm zone are kept: as far back as a
// request can be stuck before it is noticed.
const tallyCount = 16

// count is a tally as the zone keeps it.
type count struct {
	at       int64
	outcomes [outcomes]uint64
	refusals [len(reasons)]uint64
	would    uint64
}

var reasons = [...]Reason{ReasonZoneOpen, ReasonQuarantine, ReasonBusy, ReasonGone}

// counts is a ring of the latest different counts of a zone while it was well.
type counts struct {
	ring []count // at most tallyCount
	n    int     // how many there were
}

// latest is the one that was kept last; nil: none was.
func (k *counts) latest() *count {
	if len(k.ring) == 0 {
		return nil
	}
	return &k.ring[(k.n-1)%len(k.ring)]
}

func (k *counts) keep(c *count) {
	if len(k.ring) < tallyCount {
		k.ring = append(k.ring, *c)
	} else {
		k.ring[k.n%tallyCount] = *c
	}
	k.n++
}

// shrink forgets all but the latest.
func (k *counts) shrink() {
	if c := k.latest(); c != nil {
		k.ring, k.n = []count{*c}, 1
	}
}

func (z *zone) countNow(now int64) count {
	c := count{at: now, outcomes: z.totals.outcomes}
	for i, reason := range reasons {
		c.refusals[i] = z.refusals[reason]
		c.would += z.wouldRefuse[reason]
	}
	return c
}

// keepCount remembers what was counted, while nothing is known to be wrong.
func (z *zone) keepCount(now int64) {
	latest := z.kept.latest()
	if latest != nil && now-latest.at < int64(z.policy.SlowAfter)*2/tallyCount {
		return
	}
	c := z.countNow(now)
	if same := c; latest != nil {
		if same.at = latest.at; same == *latest {
			return
		}
	}
	z.kept.keep(&c)
}

// firstWrong is when the first of the requests was admitted, or failed, that
// are stuck or bad now.
func (z *zone) firstWrong(now int64) int64 {
	first := now
	if z.lates.head != nil {
		first = z.lates.head.start
	}
	z.books.each(func(rec *record) bool {
		if rec.errorsInRow > 0 {
			first = min(first, rec.firstError)
		}
		if rec.firstBad != 0 {
			first = min(first, rec.firstBad)
		}
		return true
	})
	return first
}

// countBefore is what was counted before t: what an episode adds to. Requests
// are refused before anybody can know why there is no room.
func (z *zone) countBefore(t int64) count {
	k := &z.kept
	if k.n == 0 {
		return count{}
	}
	oldest := max(0, k.n-tallyCount)
	for i := k.n - 1; i > oldest; i-- {
		if c := k.ring[i%tallyCount]; c.at <= t {
			return c
		}
	}
	return k.ring[oldest%tallyCount]
}

// tally is a count for those outside.
func (c *count) tally(worst int) *Tally {
	t := &Tally{Outcomes: make(map[string]uint64, outcomes), Refusals: make(map[string]uint64), WouldRefuse: c.would, Worst: worst}
	for o, n := range c.outcomes {
		t.Outcomes[Outcome(o).String()] = n
	}
	for i, reason := range reasons {
		if c.refusals[i] > 0 {
			t.Refusals[string(reason)] = c.refusals[i]
		}
	}
	return t
}

// tallyAt is what an event tells of the zone's counts, and since when.
func (z *zone) tallyAt(kind string, now int64) (t *Tally, first time.Time) {
	c := z.countNow(now)
	if kind == EventZoneTroubled {
		since := z.firstWrong(now)
		c, first = z.countBefore(since), z.g.wall(since)
	}
	return c.tally(z.worst), first
}
