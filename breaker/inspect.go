package breaker

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"time"
)

const (
	listedQuarantines = 100
	listedCulprits    = 20
	keptCulprits      = 100
)

// Status is the whole picture, the most troubled zones first.
func (g *Guard) Status() Status {
	s := g.Summary()
	s.Zones = g.Zones()
	return s
}

// Summary is the picture without zones. It costs the same with one zone and with
// thousands.
func (g *Guard) Summary() Status {
	s := Status{
		Workers: g.workers(), Servers: g.Servers(),
		Occupied: int(g.occupied.Load()), Hung: int(g.hung.Load()), Waiting: int(g.queue.waiting.Load()),
		NoUpstream: g.noUpstream.Load(), EventsDropped: g.dropped.Load(), InternalErrors: g.panics.Load(),
	}
	s.Live = s.Occupied - s.Hung
	if suspicion := g.suspect.Load(); suspicion != nil {
		s.PoolSuspect, s.PoolSuspectText = true, suspicion.text
	}
	return s
}

// Zones is the picture of every zone, the most troubled first.
func (g *Guard) Zones() []ZoneStatus {
	zones := g.allZones()
	all := make([]ZoneStatus, 0, len(zones))
	for _, z := range zones {
		all = append(all, z.status())
	}
	sortByTrouble(all)
	return all
}

// Troubled is the picture of every zone that is not calm, the most troubled first.
func (g *Guard) Troubled() (all []ZoneStatus) {
	for _, z := range g.activeZones() {
		if s := z.status(); s.State != Calm {
			all = append(all, s)
		}
	}
	sortByTrouble(all)
	return all
}

func sortByTrouble(all []ZoneStatus) {
	slices.SortFunc(all, func(a, b ZoneStatus) int {
		return cmp.Or(-cmp.Compare(trouble[a.State], trouble[b.State]), -cmp.Compare(a.Hung, b.Hung),
			-cmp.Compare(a.QuarantinedCount, b.QuarantinedCount), cmp.Compare(a.Zone, b.Zone))
	})
}

var trouble = [...]int{Calm: 0, Troubled: 1, HalfOpen: 2, Open: 3}

// Zone is the picture of one zone; false if no request ever asked for it.
func (g *Guard) Zone(name string) (ZoneStatus, bool) {
	z := g.find(name)
	if z == nil {
		return ZoneStatus{}, false
	}
	return z.status(), true
}

func (z *zone) status() ZoneStatus {
	z.mu.Lock()
	defer z.mu.Unlock()
	now := z.g.now()
	s := ZoneStatus{
		Zone: z.name, State: z.state, Observe: z.policy.Observe,
		Since: z.g.wall(z.stateSince), EpisodeSince: z.g.wall(z.episodeSince), OpenedAt: z.g.wall(z.openedAt),
		Turn: z.turn, Evidence: z.evidence, Cause: z.cause, Window: z.window,
		Doubt: z.inDoubt(now), PatienceMS: time.Duration(z.patience()).Milliseconds(),
		Live: z.live, Hung: z.hung, Remembered: z.remembered, Waiting: z.waiters.count, Streams: z.streams,
		MaxInflight: z.limitNow(), WorstOccupied: z.worst,
		StoresSeen: z.storesSeen(now), StoresBad: z.storesBad(),
		Quarantined: []string{}, QuarantinedCount: z.sick,
		Outcomes: make(map[string]uint64, outcomes), Refusals: named(z.refusals), WouldRefuse: named(z.wouldRefuse),
		Abandoned: z.totals.abandoned, Cancelled: z.totals.cancelled,
	}
	s.DatabaseTrouble = z.said.trouble
	if z.said.listedAt != 0 && now-z.said.listedAt < int64(findingsHold) {
		s.Blockers = slices.Clone(z.said.blockers)
	}
	if z.state == Open {
		s.OpenUntil = z.g.wall(z.machine.until)
		s.RetryAfterMS = max(0, time.Duration(z.machine.until-now).Milliseconds())
	}
	s.Hold, s.HeldStores = copyHold(z.held), len(z.heldStores)
	if z.held.open() {
		s.State, s.Since, s.Evidence = Open, z.held.Since, z.held.words()
		s.OpenUntil, s.RetryAfterMS = z.held.Until, z.held.refusal("", z.g, now).after.Milliseconds()
	}
	for _, rec := range z.books.pins {
		if rec.state != Calm {
			s.Quarantined = append(s.Quarantined, rec.store)
		}
	}
	slices.Sort(s.Quarantined)
	s.Quarantined = s.Quarantined[:min(len(s.Quarantined), listedQuarantines)]
	s.Culprits = z.culpritList(now)
	s.Culprits = s.Culprits[:min(len(s.Culprits), listedCulprits)]
	for o, n := range z.totals.outcomes {
		s.Outcomes[Outcome(o).String()] = n
	}
	return s
}

// copyHold keeps readers from sharing memory with the zone.
func copyHold(h *Hold) *Hold {
	if h == nil {
		return nil
	}
	c := *h
	return &c
}

func named(counts map[Reason]uint64) map[string]uint64 {
	out := make(map[string]uint64, len(counts))
	for reason, n := range counts {
		out[string(reason)] = n
	}
	return out
}

// Culprits names the stores that are or were the cause of trouble, of one zone
// or ("") of all: by worker-seconds wasted in hung slots, then by failures,
// never by how many requests they sent.
func (g *Guard) Culprits(zoneName string) []Culprit {
	all := []Culprit{}
	for name, z := range g.allZones() {
		if zoneName == "" || zoneName == name {
			z.mu.Lock()
			all = append(all, z.culpritList(g.now())...)
			z.mu.Unlock()
		}
	}
	slices.SortFunc(all, byWaste)
	return all
}

func byWaste(a, b Culprit) int {
	return cmp.Or(-cmp.Compare(a.WorkerSeconds, b.WorkerSeconds), -cmp.Compare(a.Failures, b.Failures),
		cmp.Compare(a.Zone, b.Zone), cmp.Compare(a.Store, b.Store))
}

// culpritList is the culprits of this episode and those kept of earlier ones.
func (z *zone) culpritList(now int64) []Culprit {
	list := []Culprit{}
	known := make(map[string]bool)
	wasted := z.wastedNow(now)
	z.books.each(func(rec *record) bool {
		if rec.culprit || rec.failed {
			known[rec.store] = true
			list = append(list, Culprit{
				Zone: z.name, Store: rec.store, State: rec.state,
				WorkerSeconds: time.Duration(rec.wasted + wasted[rec.store]).Seconds(),
				Failures:      rec.failures, Hung: rec.hung,
				FirstSeen: z.g.wall(rec.firstBad), LastSeen: z.g.wall(rec.lastBad), Evidence: rec.evidence,
			})
		}
		return true
	})
	for _, c := range z.culprits {
		if !known[c.Store] {
			list = append(list, c)
		}
	}
	slices.SortFunc(list, byWaste)
	return list
}

// wastedNow is the worker time lost so far in slots that are still hung.
func (z *zone) wastedNow(now int64) map[string]int64 {
	wasted := make(map[string]int64)
	for s := z.slots.head; s != nil; s = s.next {
		if s.phase == hung {
			wasted[s.store] += now - s.hungAt
		}
	}
	return wasted
}

// keepCulprits keeps the names when the books are closed.
func (z *zone) keepCulprits() {
	list := z.culpritList(z.g.now())
	for i := range list {
		list[i].State, list[i].Hung = Calm, 0
	}
	z.culprits = list[:min(len(list), keptCulprits)]
}

// Store is the picture of one store.
func (g *Guard) Store(zoneName, store string) StoreStatus {
	s := StoreStatus{Zone: zoneName, Store: store, Proven: true, Recent: []string{}}
	z := g.find(zoneName)
	if z == nil {
		return s
	}
	now := g.now()
	z.mu.Lock()
	defer z.mu.Unlock()
	for slot := z.slots.head; slot != nil; slot = slot.next {
		if slot.store == store && slot.phase == live {
			s.Live++
		}
	}
	s.Proven = z.proven(store, g.hashOf(store))
	rec := z.books.get(store)
	s.Hold = copyHold(z.heldStores[store])
	if rec == nil {
		return s.asHeld()
	}
	s.State, s.Hung, s.LastOutcome = rec.state, rec.hung, g.wall(max(rec.lastAt, rec.answeredAt))
	s.WorkerSeconds = time.Duration(rec.wasted + z.wastedNow(now)[store]).Seconds()
	if rec.state != Calm {
		s.Since, s.Evidence = g.wall(rec.since), rec.evidence
	}
	if rec.state == Open {
		s.OpenUntil = g.wall(rec.machine.until)
		s.RetryAfterMS = max(0, time.Duration(rec.machine.until-now).Milliseconds())
	}
	for i := range min(rec.outcomes, recentCount) {
		s.Recent = append(s.Recent, rec.recent[(rec.outcomes-1-i)%recentCount].String())
	}
	return s.asHeld()
}

// asHeld shows a store that is held open as open.
func (s StoreStatus) asHeld() StoreStatus {
	if s.Hold.open() {
		s.State, s.Since, s.Evidence = Open, s.Hold.Since, s.Hold.words()
		s.OpenUntil = s.Hold.Until
		if !s.OpenUntil.IsZero() {
			s.RetryAfterMS = max(0, time.Until(s.OpenUntil).Milliseconds())
		}
	}
	return s
}

// ZoneNames lists the zones the guard knows, sorted.
func (g *Guard) ZoneNames() []string { return slices.Sorted(maps.Keys(g.allZones())) }

// limitNow is how many workers the zone may occupy, for readers.
func (z *zone) limitNow() int {
	capacity := z.g.capacity()
	limit := z.limit(capacity)
	if capacity > 0 {
		return min(limit, capacity)
	}
	if limit == math.MaxInt32 {
		return 0
	}
	return limit
}

// storesBad counts the stores without an answer, in quarantine, or failing.
func (z *zone) storesBad() (n int) {
	z.books.each(func(rec *record) bool {
		if _, failing := z.failing[rec]; failing || rec.state != Calm || rec.questions > 0 || rec.hung > 0 {
			n++
		}
		return true
	})
	return n
}
