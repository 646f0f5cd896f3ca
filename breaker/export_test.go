package breaker

import "fmt"

// Audit counts anew what each zone counts with every event, and says where the
// two differ.
func (g *Guard) Audit() string {
	all, late := 0, 0
	for name, z := range g.allZones() {
		z.mu.Lock()
		problem := z.audit()
		all, late = all+z.live+z.hung, late+z.lates.len
		z.mu.Unlock()
		if problem != "" {
			return "zone " + name + ": " + problem
		}
	}
	if got := int(g.late.Load()); got != late {
		return fmt.Sprintf("the pool has %d late slots, its zones %d", got, late)
	}
	if got := int(g.occupied.Load()); got != all {
		return fmt.Sprintf("the pool has %d slots, its zones %d", got, all)
	}
	return ""
}

func (z *zone) audit() string {
	type counts struct {
		slots, live, hung, checks, remembered, late, questions, struck, asking, seconds, retries, witnesses, stores, sick int
	}
	got := counts{
		z.slots.len, z.live, z.hung, z.hungCheck, z.remembered, z.lates.len, z.questions, z.struck, z.asking, z.seconds, z.retries, z.silence.asked, 0, z.sick,
	}
	var want counts
	since := (*Slot)(nil)
	inFlight, stores := make(map[uint64]int), make(map[uint64]int)
	last := int64(0)
	for s := z.slots.head; s != nil; s = s.next {
		if s.start < last {
			return "its slots are not in order"
		}
		last = s.start
		want.slots++
		count := func(n *int, is bool) {
			if is {
				*n++
			}
		}
		count(&want.live, s.phase == live)
		count(&want.hung, s.phase == hung)
		count(&want.checks, s.phase == hung && s.check)
		count(&want.remembered, s.remembered != 0)
		count(&want.late, s.late)
		count(&want.questions, s.question)
		count(&want.struck, s.question && s.struck)
		count(&want.asking, s.asks)
		count(&want.seconds, s.second)
		count(&want.retries, s.retry)
		if s.late && !s.silent() {
			return "a slot that is not silent is late"
		}
		if s.silent() {
			inFlight[s.hash]++
		}
		if s.silent() && s.witness && s.silence == z.silence.number {
			if since == nil {
				since = s
			}
			want.witnesses++
			stores[s.hash]++
		} else if s.silent() && s.witness && s.start > z.heardAt() {
			return "an unanswered witness is not counted"
		}
	}
	for _, rec := range z.books.pins {
		if rec.state != Calm {
			want.sick++
		}
	}
	if z.silence.stores != nil {
		got.stores, want.stores = len(z.silence.stores), len(stores)
	}
	if got != want {
		return fmt.Sprintf("counted\n%+v, there are\n%+v", got, want)
	}
	if z.since != since {
		return "its first unanswered witness is not known"
	}
	if z.inFlight != nil && fmt.Sprint(z.inFlight) != fmt.Sprint(inFlight) {
		return fmt.Sprintf("unanswered by store: counted %v, there are %v", z.inFlight, inFlight)
	}
	return ""
}

// Doubt is what limits a zone that is in doubt: the stores it may ask, and whether
// other rules hold since requests of some of its stores hang while others are
// answered.
func (g *Guard) Doubt(name string) (doubt, mixed bool, hear int) {
	z := g.zone(name)
	z.mu.Lock()
	defer z.mu.Unlock()
	z.lookForLate(g.now())
	return z.inDoubt(g.now()), z.mixed(), z.policy.MinBadStores
}

// Idle reports whether nothing is known against a zone, and more workers are free
// than are kept for other zones or the others usually need.
func (g *Guard) Idle(name string) bool {
	z := g.zone(name)
	z.mu.Lock()
	defer z.mu.Unlock()
	z.lookForLate(g.now())
	capacity := g.capacity()
	free := capacity - int(g.occupied.Load())
	return z.state == Calm && !z.inDoubt(g.now()) && z.lates.len == 0 && z.window == 0 && z.answered.last != 0 &&
		free > max(capacity/2, g.needed(z)) && z.live+z.hung < z.limit(capacity)
}

// Overlooked is a request that waits although it would be admitted now.
func (g *Guard) Overlooked() string {
	for name, z := range g.allZones() {
		if problem := z.overlooked(); problem != "" {
			return "zone " + name + ": " + problem
		}
	}
	return ""
}

func (z *zone) overlooked() string {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.yields() {
		return ""
	}
	for store, l := range z.waiters.lines {
		w := l.waiters.Front().Value.(*waiter)
		if v := z.decide(&w.request, w.hash, z.g.now()); v.admit {
			return fmt.Sprintf("a request of %s waits and would be admitted (%d wait; listed %t, over its share %t, %d of %d workers occupied)",
				store, z.waiters.count, z.listed, z.overShare(), z.g.occupied.Load(), z.g.capacity())
		}
	}
	return ""
}

// Swept is how many zones the sweeper looks at.
func (g *Guard) Swept() (n int) {
	for _, z := range g.allZones() {
		z.mu.Lock()
		if z.swept {
			n++
		}
		z.mu.Unlock()
	}
	return n
}

// Capacity is how many slots the pool has room for.
func Capacity(g *Guard) int { return g.capacity() }
