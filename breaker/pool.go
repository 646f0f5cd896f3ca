package breaker

import (
	"fmt"
	"slices"
	"time"
)

// suspicion is why verdicts are held back.
type suspicion struct {
	text  string
	until int64
}

// suspectPool says that verdicts are held back, and why.
func (g *Guard) suspectPool(now int64, text string) {
	s := &suspicion{text: text, until: now + int64(5*time.Second)}
	if old := g.suspect.Swap(s); old == nil {
		g.emit(Event{Kind: EventPoolSuspect, At: g.wall(now), Evidence: text})
	}
}

// listen finds out whether the pool itself is ill, so that no verdict on a zone
// or a store would be worth anything: the API server is the cause, or the
// machine, or firebreak. It is if requests of at least two zones are aging and
// nobody at all was answered meanwhile, or if most of the zones that have
// requests are aging at once, as when the API server boots and its first
// workers answer some zones by chance.
func (g *Guard) listen(zones map[string]*zone, now int64) {
	p := g.policy.Load()
	if g.deaf(now) { // answers may be waiting to be read
		g.silentAt.Store(now)
		g.suspectPool(now, fmt.Sprintf("firebreak itself was not run for %s: this machine is overloaded or was stopped", brief(now-g.heardAt.Load())))
	}
	// The time from before any lock was waited for: what was seen is as old.
	defer g.heardAt.Store(now)
	aging, active, lastOK := 0, 0, int64(0)
	for _, z := range zones {
		ok := z.lastOKAt.Load()
		lastOK = max(lastOK, ok)
		busy := z.occupied.Load() > 0
		if busy || ok != 0 && now-ok < int64(p.Default.Window) {
			active++
		}
		if busy && z.eventful.Load() && z.isAging(now) {
			aging++
		}
	}
	quiet := int64(p.Default.SlowAfter) * 8 / 10
	switch {
	case aging >= 2 && now-lastOK >= quiet:
		g.silentAt.Store(now)
		g.suspectPool(now, fmt.Sprintf("requests of %d zones have no answer and nobody at all was answered for the last %s: the API server, this machine or the network, not a zone", aging, brief(quiet)))
	case aging >= fewestForMajority && 2*aging > active && float64(aging) > p.MaxOpenZones*float64(active):
		g.silentAt.Store(now)
		g.suspectPool(now, fmt.Sprintf("requests of %d of the %d zones with traffic have no answer for over %s at the same time: the API server, this machine or the network, not a zone", aging, active, p.Default.SlowAfter))
	}
}

// fewestForMajority is how many zones must be aging at once for their majority
// to speak against the pool: of three zones two may well break together.
const fewestForMajority = 4

// isAging says that requests of a closed zone are aging.
func (z *zone) isAging(now int64) bool {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.state == Open || z.state == HalfOpen {
		return false
	}
	for s := z.slots.head; s != nil; s = s.next {
		if s.aging(now) {
			return true
		}
	}
	return false
}

// silent says that the whole pool answered nobody a moment ago, or that nobody
// listened, so that no zone and no store can be told to be the cause.
func (g *Guard) silent(now int64) bool {
	at := g.silentAt.Load()
	return at != 0 && now-at < int64(g.policy.Load().Default.SlowAfter) || g.deaf(now)
}

// deaf says that this process was not run, so that it did not listen to the
// pool: what looks like the silence of a zone may be its own. It happens on a
// machine that is overloaded, stopped or moved.
func (g *Guard) deaf(now int64) bool {
	return now-g.heardAt.Load() > max(int64(10*sweepEvery), int64(g.policy.Load().Default.SlowAfter)/2)
}

const (
	// errorsEvery is how often errors are counted; errorsHold is how long it takes
	// to believe that they are over.
	errorsEvery = 200 * time.Millisecond
	errorsHold  = 2 * time.Second

	// errorShare is the share of a zone's stores from which their errors may be
	// part of what is wrong everywhere. It is far less than what opens a zone: if
	// one request in ten fails in most zones, no store is to blame for three in a
	// row.
	errorShare = 0.1
)

// listenToErrors finds out whether requests of most zones that have any end in
// errors at the same time: a release, a setting, something that all zones share.
// Then no zone and no store is to blame for its errors. To refuse its requests
// would help nobody, since quick errors cost no more than answers, and would go on
// for a while after the cause is gone. Slow errors do keep workers busy, which those
// zones need that are well, if there are any. What hangs is judged as ever.
func (g *Guard) listenToErrors(zones map[string]*zone, now int64) {
	if now-g.countedErrors < int64(errorsEvery) {
		return
	}
	g.countedErrors = now
	active, failing, quickly := 0, 0, 0
	for _, z := range zones {
		if z.shared() {
			continue
		}
		has, fails, quick := z.countErrors(now)
		active, failing, quickly = active+has, failing+fails, quickly+quick
	}
	all := failing >= 2 && failing == active
	most := quickly >= fewestForMajority && 2*quickly > active && float64(quickly) > g.policy.Load().MaxOpenZones*float64(active)
	if all || most {
		g.suspectPool(now, fmt.Sprintf("requests of %d of the %d zones with traffic end in errors at the same time: the API server, or something that all zones share, not a zone", failing, active))
		g.slowErrors.Store(all)
		if g.errorsUntil.Swap(now+int64(errorsHold)) == 0 {
			g.eachZone(zones, (*zone).absolve)
		}
		return
	}
	if until := g.errorsUntil.Load(); until != 0 && now >= until {
		g.eachZone(zones, (*zone).forgetErrors)
		g.errorsUntil.Store(0)
	}
}

// errorsEverywhere says that errors are nobody's fault that can be named.
func (g *Guard) errorsEverywhere() bool { return g.errorsUntil.Load() != 0 }

// excused says that this error is one of those.
func (g *Guard) excused(quick bool) bool {
	return g.errorsEverywhere() && (quick || g.slowErrors.Load())
}

func (g *Guard) eachZone(zones map[string]*zone, f func(z *zone, now int64)) {
	for z := range g.inTurn(zones) {
		z.do(f)
	}
}

// countErrors is 1 for each of: the zone has traffic; so many of its stores got an
// error last that something is wrong with all of it; and a quick one.
func (z *zone) countErrors(now int64) (has, fails, quickly int) {
	ok := z.lastOKAt.Load()
	if z.occupied.Load() > 0 || ok != 0 && now-ok < int64(z.g.policy.Load().Default.Window) {
		has = 1
	}
	if !z.eventful.Load() {
		return has, 0, 0
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	failing, quick, from := 0, 0, now-int64(z.policy.Window)
	for rec, at := range z.bad {
		if at < from || !rec.last.isError() || z.seen != nil && z.seen.since(z.g.hashOf(rec.store), at) {
			continue
		}
		failing++
		if rec.quickError {
			quick++
		}
	}
	if failing == 0 {
		return has, 0, 0
	}
	seen := z.storesSeen(now)
	enough := func(n int) int {
		if n >= min(z.policy.MinBadStores, seen) && float64(n) >= errorShare*float64(seen) {
			return 1
		}
		return 0
	}
	return 1, enough(failing), enough(quick)
}

// absolve takes back what errors have led to, now that they are everywhere. What
// hangs stays as it is.
func (z *zone) absolve(now int64) {
	const why = "errors are everywhere, which explains it"
	if (z.state == Open || z.state == HalfOpen) && z.held == nil && z.hungRequests() == 0 && z.oldestStuck(now, z.suspectAfter()) == 0 {
		z.toClosed(now, why)
	}
	sick := z.sick()
	slices.SortFunc(sick, byStore)
	for _, rec := range sick {
		if rec.hung == 0 && rec.cause == nil {
			rec.culprit = false
			z.release(rec, now, why)
		}
	}
	z.forgetErrors(now)
}

// forgetErrors forgets errors that say nothing about who got them.
func (z *zone) forgetErrors(int64) {
	for rec := range z.bad {
		if rec.hung == 0 {
			rec.badInRow, rec.buckets = 0, [bucketCount]bucket{}
			delete(z.bad, rec)
		}
	}
}

// isQuickError says that a request ended in an error as soon as others get their
// answers.
func (z *zone) isQuickError(s *Slot, o Outcome, now int64) bool {
	return o.isError() && now-s.start < z.suspectAfter()
}

// noteError takes in an error while errors are everywhere: it is seen, and held
// against nobody.
func (z *zone) noteError(rec *record, o Outcome, quick bool, now int64) {
	rec.last, rec.lastAt, rec.quickError = o, now, quick
	z.lastTrouble = now
	z.eventful.Store(true)
	if z.state != Open {
		z.bad[rec] = now
	}
}
