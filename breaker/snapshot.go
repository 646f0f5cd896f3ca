package breaker

import (
	"slices"
	"strings"
	"time"
)

// Snapshot is what a guard must not forget when its process ends: which workers
// hang, although their ends will not be observed, which zones are open, which stores
// are in quarantine, and what is held by hand. A process that forgot it would lend
// each hung zone its share of the pool anew. What can be found out again at no
// cost (successes, windows of outcomes) is left out. It is made for JSON, and two
// snapshots of the same state are equal.
type Snapshot struct {
	Zones   []ZoneSnapshot   `json:"zones,omitempty"`   // by name
	Servers []ServerSnapshot `json:"servers,omitempty"` // by address; those whose workers are found out
}

// ServerSnapshot is how many workers a server was found to have.
type ServerSnapshot struct {
	Server  string `json:"server"`
	Workers int    `json:"workers"`
	Exact   bool   `json:"exact,omitempty"` // false: at least so many
}

// ZoneSnapshot is a zone of a Snapshot.
type ZoneSnapshot struct {
	Zone         string           `json:"zone"`
	State        State            `json:"state"`
	Since        time.Time        `json:"since,omitzero"`
	EpisodeSince time.Time        `json:"episode_since,omitzero"`
	OpenedAt     time.Time        `json:"opened_at,omitzero"`
	OpenUntil    time.Time        `json:"open_until,omitzero"`
	Turn         int              `json:"turn,omitempty"`
	Evidence     string           `json:"evidence,omitempty"`
	Hold         *Hold            `json:"hold,omitempty"`
	HeldStores   map[string]*Hold `json:"held_stores,omitempty"`
	Quarantined  []StoreSnapshot  `json:"quarantined,omitempty"` // by name
	Stuck        []StuckSnapshot  `json:"stuck,omitempty"`       // the oldest first
}

// StoreSnapshot is a store in quarantine.
type StoreSnapshot struct {
	Store     string        `json:"store"`
	Since     time.Time     `json:"since"`
	OpenUntil time.Time     `json:"open_until,omitzero"` // zero: it was being tried again
	Turn      int           `json:"turn"`
	Evidence  string        `json:"evidence"`
	FirstBad  time.Time     `json:"first_bad,omitzero"`
	LastBad   time.Time     `json:"last_bad,omitzero"`
	Failures  int           `json:"failures,omitempty"`
	Wasted    time.Duration `json:"wasted,omitempty"` // worker time, nanoseconds
}

// StuckSnapshot is a request that hangs, or is about to.
type StuckSnapshot struct {
	Store     string    `json:"store"`
	Server    string    `json:"server,omitempty"`    // where it was sent; "": not known
	Since     time.Time `json:"since"`               // its admission
	HungSince time.Time `json:"hung_since,omitzero"` // zero: its deadline was not over yet
	Check     bool      `json:"check,omitempty"`     // of a recovery
}

// Snapshot is what must not be forgotten now. It takes the zones' locks one after
// the other, each for a moment.
func (g *Guard) Snapshot() Snapshot {
	m := Snapshot{Servers: g.serverSnapshots()}
	for _, z := range g.activeZones() {
		z.do(func(z *zone, now int64) {
			if zm := z.snapshot(now); zm != nil {
				m.Zones = append(m.Zones, *zm)
			}
		})
	}
	slices.SortFunc(m.Zones, func(a, b ZoneSnapshot) int { return strings.Compare(a.Zone, b.Zone) })
	return m
}

// snapshot is what must not be forgotten of the zone, or nil.
func (z *zone) snapshot(now int64) *ZoneSnapshot {
	m := &ZoneSnapshot{
		Zone: z.name, State: z.state, Turn: z.turn, Evidence: z.evidence,
		Since: z.g.wall(z.stateSince), EpisodeSince: z.g.wall(z.episodeSince), OpenedAt: z.g.wall(z.openedAt),
		Hold: copyHold(z.held),
	}
	if z.state == Open {
		m.OpenUntil = z.g.wall(z.machine.until)
	}
	for store, h := range z.heldStores {
		if m.HeldStores == nil {
			m.HeldStores = make(map[string]*Hold, len(z.heldStores))
		}
		m.HeldStores[store] = copyHold(h)
	}
	sick := z.sickStores()
	slices.SortFunc(sick, byStore)
	for _, rec := range sick {
		m.Quarantined = append(m.Quarantined, rec.snapshot(z.g))
	}
	down := z.state == Open || z.state == HalfOpen // then its probes are about to hang
	for s := z.slots.head; s != nil; s = s.next {
		if s.phase == hung || s.aging(now) || down && s.unanswered() {
			m.Stuck = append(m.Stuck, StuckSnapshot{
				Store: s.store, Server: s.serverAddress(), Since: z.g.wall(s.start), HungSince: z.g.wall(s.hungAt), Check: s.check,
			})
		}
	}
	if !down && !z.isHeld() && len(sick)+len(m.Stuck) == 0 {
		return nil
	}
	return m
}

func (r *record) snapshot(g *Guard) StoreSnapshot {
	m := StoreSnapshot{
		Store: r.store, Since: g.wall(r.since), Turn: r.turn, Evidence: r.evidence,
		FirstBad: g.wall(r.firstBad), LastBad: g.wall(r.lastBad), Failures: r.failures, Wasted: time.Duration(r.wasted),
	}
	if r.state == Open {
		m.OpenUntil = g.wall(r.machine.until)
	}
	return m
}

// fromBefore stands before the evidence of what an earlier process found out.
const fromBefore = "from before firebreak was restarted: "

// Restore goes on where the guard of an earlier process ended. Zones that are
// open stay open for what is left of their open time, and so do quarantines. A
// worker that hung is taken to hang on: for hung_hold from now, since the end of its
// request is not observed, but not beyond abandon_after in all, not after its store
// was answered, or its zone if that is closed and the store not in quarantine, and
// not when the API server was found to be down. Where readings of its server tell
// which workers are busy (see Measure), it hangs for as long as they say so. It is no
// evidence against anybody. Call Restore once, soon after New and SetServers.
func (g *Guard) Restore(m Snapshot) {
	g.restoreServers(m.Servers)
	for i := range m.Zones {
		if m.Zones[i].Zone == "" {
			continue
		}
		func() {
			defer g.survive()
			g.zone(m.Zones[i].Zone).do(func(z *zone, now int64) { z.restore(&m.Zones[i], now) })
		}()
	}
}

func (z *zone) restore(m *ZoneSnapshot, now int64) {
	z.stir()
	for i := range slices.Backward(m.Stuck) {
		z.restoreStuck(&m.Stuck[i], now)
	}
	if z.state == Calm && (m.State == Open || m.State == HalfOpen || len(m.Quarantined) > 0) {
		z.restoreState(m, now)
	}
	z.restoreHolds(m, now)
}

// restoreState begins the episode where it was.
func (z *zone) restoreState(m *ZoneSnapshot, now int64) {
	why := fromBefore + strings.TrimPrefix(m.Evidence, fromBefore)
	z.episode(now, z.g.before(m.EpisodeSince, now), why)
	z.turn, z.steps = max(0, m.Turn), max(0, m.Turn)
	if m.State == Open || m.State == HalfOpen {
		if !z.policy.Observe {
			z.counted = true
			z.g.openZones.Add(1)
		}
		z.openFor(now, z.g.left(m.OpenUntil, now, z.policy.OpenTimeMax), why)
		z.openedAt = z.g.before(m.OpenedAt, now)
		z.stateSince = z.g.before(m.Since, now)
	}
	for i := range m.Quarantined {
		z.restoreStore(&m.Quarantined[i], now)
	}
}

func (z *zone) restoreStore(m *StoreSnapshot, now int64) {
	rec := z.books.ensure(m.Store)
	if rec.state != Calm || z.shared() {
		return
	}
	rec.turn, rec.failures, rec.wasted = max(1, m.Turn), m.Failures, int64(m.Wasted)
	rec.firstBad, rec.lastBad = z.g.before(m.FirstBad, now), z.g.before(m.LastBad, now)
	z.makeSure(rec) // it is not known how sure the earlier process was
	z.shut(rec, now, z.g.left(m.OpenUntil, now, z.store.OpenTimeMax), fromBefore+strings.TrimPrefix(m.Evidence, fromBefore))
	rec.since = z.g.before(m.Since, now)
}

// restoreStuck books the worker of a request that hung. Its place is before all
// others, which began later.
func (z *zone) restoreStuck(m *StuckSnapshot, now int64) {
	s := z.newSlot()
	s.store, s.hash, s.check, s.start = m.Store, z.g.hashOf(m.Store), m.Check, z.g.before(m.Since, now)
	s.settled, s.counted, s.remembered = true, true, now
	s.server = z.g.servers.get(m.Server)
	if s.hungAt = z.g.before(m.HungSince, now); s.hungAt == 0 {
		s.hungAt = min(s.start+s.timeout, now)
	}
	if now-s.hungAt > int64(forgetHung) || !z.g.takeRestored() {
		return
	}
	z.slots.pushFront(s)
	z.live++
	z.publish()
	z.remembered++
	if s.server != nil {
		s.server.occupied.Add(1)
		s.server.remembered.Add(1)
	}
	if z.inFlight != nil && !s.check {
		z.inFlight[s.hash]++
	}
	z.turnHung(s, s.hungAt)
	if !s.check {
		z.markLate(s)
	}
}

// forgetHung is the age at which a worker that an earlier process saw hang is
// no longer assumed to hang.
const forgetHung = 24 * time.Hour

// takeRestored books a worker that an earlier process saw hang. An eighth of the
// pool stays free, with which to find out that it is not so.
func (g *Guard) takeRestored() bool {
	workers := g.capacity()
	if workers == 0 { // not known
		return g.takeWorker(0, 0)
	}
	return g.takeWorker(workers, max(1, workers/8))
}

func (z *zone) restoreHolds(m *ZoneSnapshot, now int64) {
	if h := z.restoreHold(m.Hold, now); h != nil && z.held == nil {
		z.held = h
		z.tellHold("", h, now)
	}
	for store, kept := range m.HeldStores {
		h := z.restoreHold(kept, now)
		if h == nil || z.heldStores[store] != nil {
			continue
		}
		if z.heldStores == nil {
			z.heldStores = make(map[string]*Hold)
		}
		z.heldStores[store] = h
		z.tellHold(store, h, now)
	}
}

// restoreHold is a hold for what is left of it; nil if nothing is.
func (z *zone) restoreHold(h *Hold, now int64) *Hold {
	if h = copyHold(h); h == nil {
		return nil
	}
	if h.Until.IsZero() {
		return h
	}
	if h.until = z.g.moment(h.Until); h.until <= now {
		return nil
	}
	return h
}

// isRead reports whether readings tell if the slot's worker is busy, so that nothing
// needs to be guessed.
func (s *Slot) isRead(now int64) bool { return s.server != nil && s.server.isRead(now) }

func (s *Slot) serverAddress() string {
	if s.server == nil {
		return ""
	}
	return s.server.address
}

// dropRestored takes in that a request was answered: the workers that an earlier
// process saw hang with its store have come back in all likelihood, and if the
// zone is closed, those with stores that are not in quarantine. Where readings tell
// which workers are busy, nothing is guessed.
func (z *zone) dropRestored(answered *Slot, now int64) {
	if z.remembered == 0 {
		return
	}
	z.endRestored(now, func(s *Slot) bool { return s.store == answered.store && !s.isRead(now) })
	if z.state == Calm || z.state == Troubled {
		z.dropRestoredOfCalm(now)
	}
}

// dropRestoredOfCalm ends the workers whose stores are not in quarantine.
func (z *zone) dropRestoredOfCalm(now int64) {
	z.endRestored(now, func(s *Slot) bool {
		rec := z.books.get(s.store)
		return !s.isRead(now) && (rec == nil || rec.state == Calm)
	})
}

// endRestored takes remembered workers off the books. Those of checks are held: a
// recovery would send its check anew.
func (z *zone) endRestored(now int64, which func(*Slot) bool) {
	var next *Slot
	for s := z.slots.head; s != nil && z.remembered > 0; s = next {
		if next = s.next; s.remembered != 0 && !s.check && which(s) {
			z.end(s, Gone, now)
		}
	}
}

// moment is a time of day in the guard's time.
func (g *Guard) moment(t time.Time) int64 { return int64(t.Sub(g.base.Round(0))) }

// before is a time of day that should be over; 0 stays 0.
func (g *Guard) before(t time.Time, now int64) int64 {
	if t.IsZero() {
		return 0
	}
	return min(max(g.moment(t), 1), now)
}

// left is how long it is until a time of day, at most the longest open time:
// clocks may have been set.
func (g *Guard) left(until time.Time, now int64, longest time.Duration) time.Duration {
	if until.IsZero() {
		return 0
	}
	return min(max(time.Duration(g.moment(until)-now), 0), longest*6/5)
}
