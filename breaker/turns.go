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
	z.episodeSince, z.lastTrouble, z.worst, z.turn, z.steps, z.cause = since, now, z.live+z.hung, 0, 0, why
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
	z.steps++
	if z.turn == 1 && z.stuck() > z.hear(z.g.capacity()) {
		z.steps++ // a zone that has cost more than it takes to judge it is tried later
	}
	z.totals.openings++
	if z.turn == 1 {
		z.cause = why
	}
	z.openFor(now, z.openTime(), why)
}

// openTime is for how long the zone is cut off until it is tried again. A try
// that hangs costs a worker for as long as it hangs, so each turn takes five times
// as long as the one before while requests of the zone hang, which would be seen to come back: with the first after
// 2 s it was tried twice after 40 s, four times after ten minutes. If nothing hangs
// any more, a try costs one worker at a time, and the longest open time holds.
func (z *zone) openTime() time.Duration {
	d := z.ownOpenTime()
	longest := z.policy.OpenTimeMax
	if watched := z.lates.len - z.remembered; watched > 0 && !z.checkable() {
		longest = max(longest, hungTryMax)
	}
	return z.g.jitter(min(d, longest))
}

func (z *zone) ownOpenTime() time.Duration {
	d := z.policy.OpenTime
	for range min(z.steps-1, 8) {
		d *= 5
	}
	return d
}

// hungTryMax bounds the open time of a zone whose requests hang.
const hungTryMax = time.Hour

// openFor opens the zone for d.
func (z *zone) openFor(now int64, d time.Duration, why string) {
	z.machine.open(now, d)
	z.openedAt, z.passed, z.window = now, nil, 0
	z.checkOK = false
	z.clearStores(now)
	z.transit(now, EventZoneOpened, Open, why, d)
	z.refuseWaiting(now)
}

// refuseWaiting refuses the requests that wait, now that the zone is cut off.
func (z *zone) refuseWaiting(now int64) {
	for z.waiters.count > 0 {
		w := z.waiters.order.Front().Value.(*line).waiters.Front().Value.(*waiter)
		v := z.decide(&w.request, w.hash, now)
		if v.admit || v.wait {
			return
		}
		z.settleWaiter(w, admission{refusal: z.refuse(&v)})
	}
}

// clearStores releases the stores that were put into quarantine since the latest
// answer of the zone: the zone explains them.
func (z *zone) clearStores(now int64) {
	var cleared []*record
	for _, rec := range z.books.pins {
		if rec.state != Calm && rec.since > z.answered.last {
			cleared = append(cleared, rec)
		}
	}
	slices.SortFunc(cleared, byStore)
	for _, rec := range cleared {
		rec.culprit = false
		z.release(rec, now, "its zone opened, which explains it")
	}
}

// toHalfOpen lets one request through, to find out whether the zone answers.
func (z *zone) toHalfOpen(now int64, why string) {
	if z.machine.isOpen(now) {
		z.machine.halfOpen(now)
	}
	z.probing, z.idleSince = nil, now
	z.joint.asked()
	z.transit(now, EventZoneHalfOpen, HalfOpen, why, 0)
}

// endProbe takes in what became of the request that tried the zone. One that
// hangs cuts the zone off again.
func (z *zone) endProbe(s *Slot, answered bool, now int64) {
	if !s.zonePass.held() {
		return
	}
	if z.probing == s {
		z.probing = nil
	}
	if answered {
		s.zonePass.settle(nil)
		return
	}
	s.zonePass.settle(errNeutral)
	z.idleSince = now
}

// probeHangs takes in that the request that tries the zone is aging.
func (z *zone) probeHangs(now int64) {
	s := z.probing
	z.probing = nil
	s.zonePass.settle(errBad)
	z.toOpen(now, fmt.Sprintf("a request of store %s tried it and has no answer for %s", s.store, brief(now-s.start)))
	z.keepOff("", z.joint, z.machine.until, now)
	z.joint.settle(false)
}

// toClosed ends the open state. The episode goes on until nothing is left of
// it.
func (z *zone) toClosed(now int64, why string) {
	z.machine.close()
	z.uncount()
	if z.answered.last == now && !z.joint.isHinted() {
		z.tellBack("", now)
	}
	z.joint.settle(true)
	z.probing, z.window, z.lastTrouble, z.lost = nil, startsWith, now, false
	z.transit(now, EventZoneClosed, Troubled, why, 0)
}

// startsWith is how many requests at once a zone gets that comes back.
const startsWith = 4

const openTimeOver = "its open time is over"

// toCalm ends the episode.
func (z *zone) toCalm(now int64) {
	z.machine.close()
	z.uncount()
	z.keepCulprits()
	z.transit(now, EventZoneCalm, Calm, fmt.Sprintf("nothing bad for %s; the episode lasted %s", brief(now-z.lastTrouble), brief(now-z.episodeSince)), 0)
	z.books.clear()
	clear(z.failing)
	z.episodeSince, z.openedAt, z.turn, z.steps, z.evidence, z.cause, z.window = 0, 0, 0, 0, "", "", 0
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
	z.state, z.stateSince, z.evidence = to, now, why
	z.stir()
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
	d := z.g.openTime(z.store.OpenTime, z.store.OpenTimeMax, rec.turn+rec.joint.slower())
	if rec.turn > 1 || z.confirmed {
		z.makeSure(rec)
	}
	if z.looksAgain(rec) {
		d = min(d, secondLook)
	}
	z.shut(rec, now, d, why)
}

const (
	// secondLook is the first open time of a store that may be in quarantine by chance.
	// Another request shows that soon, and costs a worker at most.
	secondLook = 900 * time.Millisecond

	// enoughSure is how many stores must fail their second look for those that follow to
	// get none, and chanceSure how many more for each store that was cleared lately.
	enoughSure = 2
	chanceSure = 4
)

// looksAgain reports whether another request of the store, which is in quarantine, shows
// soon whether chance has put it there, though a request of it hangs: until it is known
// that the zone has damaged stores.
func (z *zone) looksAgain(rec *record) bool {
	return !rec.sure && float64(z.sure) < enoughSure+chanceSure*z.cleared
}

// makeSure takes in that a store in quarantine is not there by chance: another request
// has hung, or the database has named it.
func (z *zone) makeSure(rec *record) {
	if !rec.sure {
		rec.sure = true
		z.sure++
	}
}

// shut opens the store's breaker for d.
func (z *zone) shut(rec *record, now int64, d time.Duration, why string) {
	rec.machine.open(now, d)
	if rec.firstBad == 0 {
		rec.firstBad, rec.lastBad = now, now
	}
	rec.culprit = true
	z.answerQuestions(rec, now)
	z.setStore(rec, now, EventStoreQuarantined, Open, why, d)
}

// storeHalfOpen lets the store be tried again.
func (z *zone) storeHalfOpen(rec *record, now int64, why string) {
	if rec.machine.isOpen(now) {
		rec.machine.halfOpen(now)
	}
	rec.joint.asked()
	z.setStore(rec, now, EventStoreHalfOpen, HalfOpen, why, 0)
}

// release closes the store's breaker.
func (z *zone) release(rec *record, now int64, why string) {
	rec.machine.close()
	if rec.answeredAt == now && !rec.joint.isHinted() {
		z.tellBack(rec.store, now)
	}
	rec.joint.settle(true)
	rec.strikes, rec.turn, rec.byProbe = 0, 0, false
	z.setStore(rec, now, EventStoreReleased, Calm, why, 0)
}

// setStore is the only place where a store changes its state.
func (z *zone) setStore(rec *record, now int64, kind string, to State, why string, d time.Duration) {
	from := rec.state
	rec.state, rec.since = to, now
	switch {
	case from == Calm && to != Calm:
		z.sick++
	case from != Calm && to == Calm:
		z.sick--
		if rec.sure {
			rec.sure = false
			z.sure--
		}
	}
	if to == Open {
		rec.evidence = why
	}
	z.books.repin(rec)
	z.stir()
	z.g.emit(Event{
		Kind: kind, At: z.g.wall(now), Zone: z.name, Store: rec.store, From: from, To: to, For: d, Turn: rec.turn,
		Evidence: why, Live: z.live, Hung: rec.hung, Observe: z.policy.Observe, Since: z.g.wall(rec.firstBad),
	})
}
