package breaker

import (
	"fmt"
	"slices"
	"time"
)

// ObservationKind is what an Observation says.
type ObservationKind uint8

const (
	// ObservedSilent is that requests have no answer for slow_after.
	ObservedSilent ObservationKind = iota + 1

	// ObservedAnswered is that a request was answered.
	ObservedAnswered
)

// Observation is what the guard of one sidecar sees of a zone, a store or a server,
// for the guards of other sidecars that share a fleet. It has ages and no times, since
// clocks differ.
type Observation struct {
	Kind ObservationKind

	// What was observed: a store if Store is set, a server if Server is set (its
	// address; Zone is empty), and the zone otherwise.
	Zone, Store, Server string

	// Stores is how many stores are silent, of a silent zone or server. Of a server it
	// is stores whose zones are answered by other servers, and zones that are not.
	Stores int

	// Some are fingerprints of up to three of these, by which the fleet counts how many
	// different ones there are; 0: none. They are the same in every sidecar.
	Some [3]uint32

	// For is how long ago the oldest request began that has no answer, or how long
	// ago the latest answer came.
	For time.Duration
}

// Agreement is what enough sidecars of a fleet observe, and none contradicts.
type Agreement struct {
	// Of kind ObservedSilent. For is since the begin of the youngest observation that
	// counts, Stores how many different stores are silent in all.
	Observation

	// Sidecars is how many observe it.
	Sidecars int
}

// Fleet is asked before a zone or a store that is cut off is tried again, so that one
// sidecar tries it for all.
type Fleet interface {
	// Lease asks for the right to try the zone, or a store of it if store is set,
	// and to keep the others from it for d. It returns at once: false if there is no
	// fleet to ask, so that the guard decides by itself. Otherwise the answer comes
	// by a call of Guard.Leased, or never. Who has the right and asks again keeps it
	// for another d.
	Lease(zone, store string, d time.Duration) bool

	// LeaseServer does the same for a server that is out of service; the answer comes
	// by Guard.ServerLeased.
	LeaseServer(address string, d time.Duration) bool
}

// joint is what the rest of the fleet has to do with a zone, or with a store in
// quarantine. Guarded by z.mu.
type joint struct {
	answeredAt int64 // when another sidecar was last answered
	agreedAt   int64 // when enough sidecars last agreed that it is silent
	askedAt    int64 // when the right to try it was asked for; 0: it is not being asked for
	trying     bool  // this sidecar tries it for all
	hinted     bool  // it is tried since another sidecar was answered
	misled     bool  // it was, in vain: the next answer of another sidecar is nothing
	pace       int   // of a store: how much longer it stays cut off than by its own turns
}

func ensureJoint(j **joint) *joint {
	if *j == nil {
		*j = new(joint)
	}
	return *j
}

// answered is when another sidecar was last answered; 0: not known.
func (j *joint) answered() int64 {
	if j == nil {
		return 0
	}
	return j.answeredAt
}

// agreed reports whether enough sidecars observe its silence now.
func (j *joint) agreed(now int64) bool {
	return j != nil && j.agreedAt != 0 && now-j.agreedAt < int64(agreedHold)
}

// believes reports whether an answer of another sidecar ends the open state that began
// at since. One that has led to a request that hangs is not followed by another.
func (j *joint) believes(at, since int64) bool {
	if at <= since || j.misled {
		return false
	}
	j.hinted = true
	return true
}

func (j *joint) isHinted() bool { return j != nil && j.hinted }

// slower is by how many turns a store stays cut off for longer than by its own.
func (j *joint) slower() int {
	if j == nil {
		return 0
	}
	return j.pace
}

// settle takes in how the trial ended.
func (j *joint) settle(answered bool) {
	if j == nil {
		return
	}
	j.misled = !answered && (j.misled || j.hinted)
	j.hinted, j.trying, j.askedAt = false, false, 0
	if answered {
		j.pace = 0
	}
}

const (
	// agreedHold is for how long an agreement counts that is not repeated.
	agreedHold = 2 * time.Second

	// tellBack is for how long the guard tells that a zone or a store has come back.
	tellBack = time.Second

	// mostBack is how many it tells of at once, in a zone.
	mostBack = 16

	// mostObserved is how many stores of a zone are observed at once.
	mostObserved = 16
)

// cameBack is a zone, or a store, that has come back here.
type cameBack struct {
	store string
	at    int64
}

// tellBack has the fleet told that the zone, or a store of it, has come back.
func (z *zone) tellBack(store string, now int64) {
	if z.g.fleet.Load() == nil || z.shared() {
		return
	}
	if len(z.back) == mostBack {
		z.back = slices.Delete(z.back, 0, 1)
	}
	z.back = append(z.back, cameBack{store, now})
	z.g.backAt.Store(now)
}

// Observe appends what this guard observes now and other sidecars should know: what is
// silent, as far as it is not the silence of all, and what has come back. While nothing
// is wrong that is one look at a counter.
func (g *Guard) Observe(buf []Observation) []Observation {
	now := g.now()
	if g.late.Load() == 0 && g.hung.Load() == 0 && now-g.backAt.Load() > int64(tellBack) {
		return buf
	}
	// Who cannot be told to be at fault here may be told by others.
	trusted := !g.verdictsSuspended(now) && g.suspect.Load() == nil
	buf = g.observeServers(buf, trusted, now)
	g.activeMu.Lock()
	defer g.activeMu.Unlock()
	for _, z := range g.takeStirred() {
		buf = z.observe(buf, trusted, now)
	}
	return buf
}

func (z *zone) observe(buf []Observation, trusted bool, now int64) []Observation {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.back = slices.DeleteFunc(z.back, func(b cameBack) bool { return now-b.at > int64(tellBack) })
	for _, b := range z.back {
		buf = append(buf, Observation{Kind: ObservedAnswered, Zone: z.name, Store: b.store, For: time.Duration(now - z.lastAnswer(b.store))})
	}
	if !trusted || z.lates.len == 0 || z.held != nil || z.shared() {
		return buf
	}
	heard := max(z.heardAt(), z.joint.answered())
	silent, first := Observation{Kind: ObservedSilent, Zone: z.name}, len(buf)
	for s := z.lates.head; s != nil; s = s.lnext {
		if !s.aging(now) {
			continue
		}
		age := time.Duration(now - s.start)
		switch z.blameOfAll(s) {
		case blameZone:
			if s.witness && s.start > heard {
				silent.add(s.store, age)
			}
		case blameStore:
			if !z.excusedStore(s) && len(buf)-first < mostObserved && !slices.ContainsFunc(buf[first:], func(o Observation) bool { return o.Store == s.store }) {
				buf = append(buf, Observation{Kind: ObservedSilent, Zone: z.name, Store: s.store, Stores: 1, For: age})
			}
		case blamePool, blameServer:
		}
	}
	if silent.Stores > 0 {
		buf = append(buf, silent)
	}
	return buf
}

// add counts a silent store, by its oldest request: it is called with these first.
func (o *Observation) add(store string, age time.Duration) {
	f := fingerprint(store)
	if slices.Contains(o.Some[:], f) {
		return
	}
	if o.Stores == 0 {
		o.For = age
	}
	if o.Stores < len(o.Some) {
		o.Some[o.Stores] = f
		o.Stores++
	}
}

// blameOfAll is blame, with what other sidecars have said of the zone.
func (z *zone) blameOfAll(s *Slot) blamed {
	b := z.blame(s)
	if z.joint.answered() > s.start {
		switch b {
		case blameZone:
			return blameStore
		case blamePool:
			return blameServer
		case blameServer, blameStore:
		}
	}
	return b
}

// excusedStore reports whether something else than its store explains that a request
// has no answer, or the store is known to be well.
func (z *zone) excusedStore(s *Slot) bool {
	if z.openedAt > s.start || s.start <= z.resetAt || z.heldStores[s.store] != nil {
		return true
	}
	rec := z.books.get(s.store)
	return z.answeredSince(s.store, s.hash, s.start) || rec != nil && rec.joint.answered() > s.start
}

// fingerprint is a hash of a name that is the same in every process (FNV-1a), and not 0.
func fingerprint(name string) uint32 {
	h := uint32(2166136261)
	for i := range len(name) {
		h = (h ^ uint32(name[i])) * 16777619
	}
	return max(h, 1)
}

// Answers appends what contradicts the observations of other sidecars: zones, stores
// and servers that they observe to be silent, and that this one was answered by since.
func (g *Guard) Answers(asked, buf []Observation) []Observation {
	now := g.now()
	for i := range asked {
		o := &asked[i]
		if o.Kind != ObservedSilent {
			continue
		}
		if o.Server != "" {
			if answer, ok := g.serverAnswer(o, now); ok {
				buf = append(buf, answer)
			}
			continue
		}
		z := g.find(o.Zone)
		if z == nil || z.shared() {
			continue
		}
		z.mu.Lock()
		at := z.lastAnswer(o.Store)
		z.mu.Unlock()
		if at > now-int64(o.For) {
			buf = append(buf, Observation{Kind: ObservedAnswered, Zone: o.Zone, Store: o.Store, For: time.Duration(now - at)})
		}
	}
	return buf
}

// lastAnswer is when the zone, or a store of it, was last answered here; 0: not known.
func (z *zone) lastAnswer(store string) (at int64) {
	if store == "" {
		return z.answered.last
	}
	if rec := z.books.get(store); rec != nil {
		at = rec.answeredAt
	}
	if z.seen != nil {
		seen, _ := z.seen.At(z.g.hashOf(store))
		at = max(at, seen)
	}
	return at
}

// Agree takes in what enough sidecars observe: the zone is cut off, the store is put into
// quarantine, or the server is taken out of service, unless this sidecar was answered
// since. It is to be called for as long as they observe it.
func (g *Guard) Agree(a Agreement) {
	defer g.survive()
	if a.Kind == ObservedSilent && a.Server != "" {
		g.agreeOnServer(&a)
		g.wake()
		return
	}
	if a.Kind != ObservedSilent || a.Zone == "" || g.find(a.Zone) == nil && g.openZones.Load() >= g.mostOpen() {
		return
	}
	g.zone(a.Zone).do(func(z *zone, now int64) {
		if z.held != nil || z.shared() {
			return
		}
		z.lookForLate(now)
		if a.Store != "" {
			z.agreeOnStore(&a, now)
			return
		}
		z.agree(&a, now)
	})
	g.wake()
}

// since is when the silence that was agreed on began, at the latest.
func (a *Agreement) since(z *zone, now int64) int64 {
	return now - max(int64(a.For), int64(z.policy.SlowAfter))
}

func (z *zone) agree(a *Agreement, now int64) {
	since := a.since(z, now)
	if a.Stores < z.policy.MinBadStores || max(z.heardAt(), z.joint.answered()) > since {
		return
	}
	j := ensureJoint(&z.joint)
	j.agreedAt = now
	if (z.state != Calm && z.state != Troubled) || z.g.verdictsSuspended(now) {
		return
	}
	z.toOpen(now, fmt.Sprintf("%d sidecars observe that its requests have no answer, of %d stores, the latest for %s, and none was answered since", a.Sidecars, a.Stores, brief(now-since))+z.blocked(now))
}

func (z *zone) agreeOnStore(a *Agreement, now int64) {
	since := a.since(z, now)
	rec := z.books.get(a.Store)
	if z.heldStores[a.Store] != nil || z.resetAt > since || z.lastAnswer(a.Store) > since || rec != nil && rec.joint.answered() > since {
		return
	}
	if rec != nil && rec.state != Calm {
		ensureJoint(&rec.joint).agreedAt = now
		if !rec.sure { // others have had it
			z.makeSure(rec)
			rec.machine.until = max(rec.machine.until, rec.since+int64(z.store.OpenTime))
		}
		return
	}
	// Where many requests hang by chance, more of them are needed.
	if (z.state != Calm && z.state != Troubled) || z.g.verdictsSuspended(now) || a.Sidecars < z.strikesNeeded() {
		return
	}
	rec = z.books.ensure(a.Store)
	ensureJoint(&rec.joint).agreedAt = now
	z.confirmed = true
	z.quarantine(rec, now, fmt.Sprintf("%d sidecars observe that its requests have no answer, the latest for %s, while other stores of the zone are answered", a.Sidecars, brief(now-since)))
	z.confirmed = false
}

// PeerAnswered takes in that another sidecar was answered: what is cut off here since
// before that answer is tried.
func (g *Guard) PeerAnswered(o Observation) {
	defer g.survive()
	if o.Kind != ObservedAnswered || o.For < 0 {
		return
	}
	if o.Server != "" {
		g.serverAnsweredElsewhere(&o)
		g.wake()
		return
	}
	z := g.find(o.Zone)
	if z == nil || z.shared() {
		return
	}
	z.do(func(z *zone, now int64) {
		at := now - int64(o.For)
		if o.Store != "" {
			z.storeAnsweredElsewhere(o.Store, at, now)
		}
		if j := ensureJoint(&z.joint); at > j.answeredAt {
			j.answeredAt = at
			if z.state == Open && z.held == nil && j.believes(at, z.openedAt) {
				z.toHalfOpen(now, "requests to another sidecar are answered")
			}
		}
	})
	g.wake()
}

func (z *zone) storeAnsweredElsewhere(store string, at, now int64) {
	rec := z.books.get(store)
	if rec == nil || at <= rec.joint.answered() {
		return
	}
	j := ensureJoint(&rec.joint)
	j.answeredAt = at
	if rec.state == Open && z.heldStores[store] == nil && j.believes(at, rec.since) {
		z.storeHalfOpen(rec, now, "requests to another sidecar are answered")
	}
}
