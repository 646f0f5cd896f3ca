package breaker

import (
	"fmt"
	"slices"
	"time"
)

// trouble begins an episode.
func (z *zone) trouble(now int64, why string) {
	if z.state == Calm {
		z.episode(now, now, why)
	}
}

// episode begins one that has been going on since an earlier moment.
func (z *zone) episode(now, since int64, why string) {
	z.totals.episodes++
	z.episodeSince, z.lastTrouble, z.worst, z.turn, z.lent = since, now, z.live+z.hung, 0, 0
	z.transit(now, EventZoneTroubled, Troubled, why, 0)
}

// toOpen opens the zone, or raises suspicion if too many zones are open.
func (z *zone) toOpen(now int64, why string) {
	if z.held != nil {
		return
	}
	if !z.policy.Observe && !z.counted {
		if !z.g.mayOpen() {
			z.g.suspectPool(now, fmt.Sprintf("zone %s should open (%s), but %d zones are open already", z.name, why, z.g.openZones.Load()))
			return
		}
		z.counted = true
	}
	z.trouble(now, why)
	z.turn++
	z.totals.openings++
	z.openFor(now, z.g.openTime(z.policy.OpenTime, z.policy.OpenTimeMax, z.turn), why)
}

// openFor opens the zone for d.
func (z *zone) openFor(now int64, d time.Duration, why string) {
	z.machine.open(now, d, z.policy.MaxInflight)
	z.openedAt, z.lateOK, z.passed = now, make(map[string]struct{}), nil
	z.checkOK = false
	z.pardon(now)
	clear(z.bad)
	clear(z.slow)
	z.transit(now, EventZoneOpened, Open, why, d)
}

// pardon releases the stores that were put into quarantine since the zone last
// answered anybody: the zone explains them.
func (z *zone) pardon(now int64) {
	var pardoned []*record
	for _, rec := range z.books.pins {
		if rec.state != Calm && rec.since > z.lastOK {
			pardoned = append(pardoned, rec)
		}
	}
	slices.SortFunc(pardoned, byStore)
	for _, rec := range pardoned {
		rec.culprit = false
		z.release(rec, now, "its zone opened, which explains it")
	}
}

// toHalfOpen begins the triage: one request at first, one more with every
// success.
func (z *zone) toHalfOpen(now int64, why string) {
	if z.machine.isOpen(now) {
		z.machine.halfOpen(now, z.policy.MaxInflight)
	}
	z.window, z.triageOK, z.strikes, z.idleSince = 1, 0, 0, now
	z.triages++
	z.transit(now, EventZoneHalfOpen, HalfOpen, why, 0)
}

// grow widens the triage's window by a success.
func (z *zone) grow() {
	z.triageOK++
	z.window = min(z.window+1, z.policy.MaxInflight)
}

// triageGood takes in a success while the zone is open or in triage.
func (z *zone) triageGood(s *Slot, now int64) {
	switch z.state {
	case Open:
		z.answeredWhileOpen(s, now)
	case HalfOpen:
		z.idleSince = now
		if s.triage != z.triages {
			return
		}
		z.settleZonePass(s, nil)
		z.grow()
		if z.machine.closed() || z.triageOK >= z.policy.MaxInflight {
			z.forgetInnocent(now)
			z.toClosed(now, fmt.Sprintf("%d requests in triage were answered", z.triageOK))
		}
	case Calm, Troubled:
	}
}

// storesToBelieve is how many stores must be answered while the zone is open
// for the open time to end early.
const storesToBelieve = 2

// answeredWhileOpen takes in that a request from before the opening, hung or
// not, was answered: the stuck requests are the best probes there are. One is
// enough if it is the last.
func (z *zone) answeredWhileOpen(s *Slot, now int64) {
	z.lateOK[s.store] = struct{}{}
	if n := len(z.lateOK); n >= storesToBelieve || z.shared() || z.live+z.hungRequests() == 0 {
		z.toHalfOpen(now, fmt.Sprintf("requests of %d stores that were stuck came back with an answer", n))
		z.window = min(z.window+n, z.policy.MaxInflight)
	}
}

// strikesToReopen is how many stores must fail in a triage without a single
// success for the zone to open again.
const strikesToReopen = 3

// triageBad takes in a bad outcome in triage. One strike puts the store into
// quarantine. It sends the zone back only if nobody succeeds.
func (z *zone) triageBad(s *Slot, rec *record, now int64, what string) {
	if s.triage != z.triages {
		return
	}
	z.idleSince = now
	if !z.shared() {
		z.quarantine(rec, now, "one strike in its zone's triage: "+what)
	}
	if z.triageOK > 0 {
		z.settleZonePass(s, errNeutral)
		return
	}
	z.strikes++
	if z.strikes < strikesToReopen && !z.shared() && z.roomToProbe() {
		z.settleZonePass(s, errNeutral)
		return
	}
	z.settleZonePass(s, errBad)
	z.toOpen(now, fmt.Sprintf("%d stores were tried and none was answered, last %s: %s", z.strikes, s.store, what))
}

// roomToProbe says that a probe could be admitted now.
func (z *zone) roomToProbe() bool {
	return !z.crowded() && (z.live+z.hung-z.explained < z.limit() || z.trials < z.probeSlots())
}

// toClosed ends the open state. The episode goes on until nothing is left of
// it.
func (z *zone) toClosed(now int64, why string) {
	z.machine.close()
	for rec := range z.bad {
		if rec.state != Calm {
			delete(z.bad, rec) // the triage has found them out
		}
	}
	z.uncount()
	z.transit(now, EventZoneClosed, Troubled, why, 0)
}

// toCalm ends the episode.
func (z *zone) toCalm(now int64) {
	z.machine.close()
	z.uncount()
	z.keepCulprits()
	z.transit(now, EventZoneCalm, Calm, fmt.Sprintf("nothing bad for %s; the episode lasted %s", brief(now-z.lastTrouble), brief(now-z.episodeSince)), 0)
	z.books.clear()
	clear(z.bad)
	clear(z.slow)
	z.episodeSince, z.openedAt, z.turn, z.evidence = 0, 0, 0, ""
}

func (z *zone) uncount() {
	if z.counted {
		z.counted = false
		z.g.openZones.Add(-1)
	}
}

// transit is the only place where a zone changes its state.
func (z *zone) transit(now int64, kind string, to State, why string, d time.Duration) {
	from := z.state
	z.state, z.since, z.evidence = to, now, why
	z.eventful.Store(true)
	tally, first := z.tallyAt(kind, now)
	z.g.emit(Event{
		Kind: kind, At: z.g.wall(now), Zone: z.name, From: from, To: to, For: d, Turn: z.turn, Evidence: why,
		Live: z.live, Hung: z.hung, Observe: z.policy.Observe, Since: z.g.wall(z.episodeSince), Tally: tally, First: first,
	})
}

// quarantine opens the store's breaker.
func (z *zone) quarantine(rec *record, now int64, why string) {
	z.trouble(now, "store "+rec.store+": "+why)
	if rec.state == Open || z.heldStores[rec.store] != nil {
		return
	}
	rec.turn++
	if rec.state == Calm {
		z.totals.quarantines++
	}
	z.shut(rec, now, z.g.openTime(z.store.OpenTime, z.store.OpenTimeMax, rec.turn), why)
	z.explain()
}

// shut opens the store's breaker for d.
func (z *zone) shut(rec *record, now int64, d time.Duration, why string) {
	rec.machine.open(now, d, 1)
	if rec.firstBad == 0 {
		rec.firstBad, rec.lastBad = now, now
	}
	rec.culprit, rec.cause = true, nil
	z.setStore(rec, now, EventStoreQuarantined, Open, why, d)
}

// storeHalfOpen lets the store be tried again.
func (z *zone) storeHalfOpen(rec *record, now int64, why string) {
	if rec.machine.isOpen(now) {
		rec.machine.halfOpen(now, 1)
	}
	z.setStore(rec, now, EventStoreHalfOpen, HalfOpen, why, 0)
}

// release closes the store's breaker.
func (z *zone) release(rec *record, now int64, why string) {
	rec.machine.close()
	rec.cause, rec.badInRow, rec.turn = nil, 0, 0
	rec.buckets = [bucketCount]bucket{}
	delete(z.bad, rec)
	z.setStore(rec, now, EventStoreReleased, Calm, why, 0)
	z.explain()
}

// setStore is the only place where a store changes its state.
func (z *zone) setStore(rec *record, now int64, kind string, to State, why string, d time.Duration) {
	from := rec.state
	rec.state, rec.since = to, now
	if to == Open {
		rec.evidence = why
	}
	z.books.repin(rec)
	z.eventful.Store(true)
	z.g.emit(Event{
		Kind: kind, At: z.g.wall(now), Zone: z.name, Store: rec.store, From: from, To: to, For: d, Turn: rec.turn,
		Evidence: why, Live: z.live, Hung: rec.hung, Observe: z.policy.Observe, Since: z.g.wall(rec.firstBad),
	})
}
