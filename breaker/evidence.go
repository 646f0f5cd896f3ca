package breaker

import (
	"fmt"
	"time"
)

// settle takes in the verdict on a request: once, whatever comes later.
func (z *zone) settle(s *Slot, o Outcome, now int64) {
	if s.settled {
		return
	}
	s.settled, s.left = true, false
	if s.check {
		z.settleCheck(s, o, now)
		return
	}
	if o == OK && now-s.start >= s.slowAfter {
		o = Slow
	}
	z.totals.outcomes[o]++
	switch {
	case o.good():
		z.good(s, o, now)
	case o == NoUpstream:
		z.g.upstreamAway(now)
	case z.g.silent(now):
		// Nobody's fault that can be named.
	case o == Broken && !s.storePass.held() && !s.zonePass.held():
		z.broken = append(z.broken, broken{s, now})
		z.eventful.Store(true)
	case o == Broken && z.g.awaySince(now-int64(awayGrace)):
		// The API server is away.
	case o.bad():
		z.badOutcome(s, o, now)
	}
	z.neutral(s) // whatever it was to find out and did not
}

// restate turns an answer that was good into a hang: its body stalled.
func (z *zone) restate(s *Slot, o Outcome, now int64) {
	if !z.g.silent(now) && !s.check {
		z.badOutcome(s, o, now)
	}
}

// neutral gives back the probes that are not settled yet.
func (z *zone) neutral(s *Slot) {
	s.storePass.settle(errNeutral)
	z.settleZonePass(s, errNeutral)
}

func (z *zone) settleZonePass(s *Slot, err error) {
	if s.zonePass.held() {
		z.probing--
		s.zonePass.settle(err)
	}
}

// good takes in a success.
func (z *zone) good(s *Slot, o Outcome, now int64) {
	z.noteOK(s.hash, now)
	z.forgetFor(s, now)
	if o == OK {
		if s.hash != z.fastStore {
			z.otherFast, z.fastStore = z.fastOK, s.hash
		}
		z.fastOK = now
		z.latency += (now - s.start - z.latency) / 8
	}
	if z.state == Calm {
		if z.policy.SlowShare > 0 {
			z.noteSlow(s, o, now)
		}
		return
	}
	rec := z.books.ensure(s.store)
	rec.note(o, now, z.policy.Window)
	delete(z.bad, rec)
	if z.policy.SlowShare > 0 {
		z.noteSlow(s, o, now)
	}
	z.storeGood(s, rec, now)
	z.triageGood(s, now)
	z.explain()
	z.judgeStore(rec, s.hash, now)
	z.judge(now)
}

// storeGood releases the store if this success is what its breaker waits for:
// its probe, or the aging request that alone had put it into quarantine.
func (z *zone) storeGood(s *Slot, rec *record, now int64) {
	why := fmt.Sprintf("a request was answered after %s", brief(now-s.start))
	if rec.cause == s {
		rec.culprit = false
		z.release(rec, now, why)
		return
	}
	s.storePass.settle(nil)
	if rec.state == HalfOpen && rec.machine.closed() {
		z.release(rec, now, why)
	}
}

func (z *zone) noteOK(hash uint64, now int64) {
	if z.seen == nil {
		z.seen = new(seen)
	}
	z.seen.mark(hash, now)
	if hash != z.lastOKStore {
		z.otherOK, z.lastOKStore = z.lastOK, hash
	}
	z.lastOK = now
	z.lastOKAt.Store(now)
}

// badOutcome takes in a failure or a hang.
func (z *zone) badOutcome(s *Slot, o Outcome, now int64) {
	rec := z.books.ensure(s.store)
	quick := z.isQuickError(s, o, now)
	if o.isError() && z.g.excused(quick) {
		z.noteError(rec, o, quick, now)
		return
	}
	oldNews := s.storePass.held() && z.isExplained(rec, rec.lastBad)
	rec.note(o, now, z.policy.Window)
	rec.quickError = quick
	if s.phase == hung && rec.cause == s {
		rec.cause = nil // it is no longer merely slow
	}
	z.lastTrouble = now
	z.eventful.Store(true)
	if z.state == Open {
		return // admitted before it opened: the zone explains it
	}
	if !oldNews {
		z.bad[rec] = now
	}
	z.slowForget(s.hash)
	if z.state == Calm && (o != Failure && o != Broken || len(z.bad) >= z.policy.MinBadStores) {
		z.trouble(now, fmt.Sprintf("%s of store %s", o, s.store))
	}
	if s.storePass.held() {
		s.storePass.settle(errBad)
		z.quarantine(rec, now, fmt.Sprintf("tried again, and the request ended as %s", o))
	}
	if z.state == HalfOpen {
		z.triageBad(s, rec, now, o.String())
		return
	}
	z.judgeStore(rec, s.hash, now)
	z.judge(now)
}

// turnHung moves a slot from live to hung.
func (z *zone) turnHung(s *Slot, now int64) {
	s.phase, s.hungAt = hung, now
	z.live--
	z.hung++
	z.g.hung.Add(1)
	z.eventful.Store(true)
	if s.check {
		z.hungCheck++
		return
	}
	rec := z.books.ensure(s.store)
	rec.hung++
	rec.lastHung = max(rec.lastHung, s.start)
	z.books.repin(rec)
	z.lastTrouble = now
}

// end frees the worker. o is the verdict if there was none, or the late answer
// of a hung request.
func (z *zone) end(s *Slot, o Outcome, now int64) {
	switch s.phase {
	case ended:
		return
	case stream:
		s.phase = ended
		z.streams--
		return
	case live, hung:
	}
	wasHung, late := s.phase == hung, s.settled
	z.noteEnd(s, o)
	z.remove(s)
	s.phase = ended
	switch {
	case !late:
		z.settle(s, o, now)
	case wasHung && o.good() && !s.check:
		z.cameBack(s, now)
	}
	if rec := z.books.get(s.store); rec != nil && rec.cause == s {
		rec.cause = nil
		z.books.repin(rec)
	}
	z.explain()
}

// remove takes the slot off the books of the zone and of the pool.
func (z *zone) remove(s *Slot) {
	if s.phase == hung {
		z.hung--
		z.g.hung.Add(-1)
		if s.check {
			z.hungCheck--
		} else if rec := z.books.get(s.store); rec != nil {
			rec.hung--
			rec.wasted += z.g.now() - s.hungAt
			z.books.repin(rec)
		}
	} else {
		z.live--
	}
	if s.explained {
		z.explained--
	} else {
		z.countLane(s.lane, -1)
	}
	if s.remembered != 0 {
		z.remembered--
	}
	z.slots.remove(s)
	z.occupied.Add(-1)
	z.g.occupied.Add(-1)
}

// cameBack takes in the late success of a hung request: the stuck requests are
// the best probes there are.
func (z *zone) cameBack(s *Slot, now int64) {
	z.noteOK(s.hash, now)
	rec := z.books.ensure(s.store)
	rec.lastOK = now
	switch z.state {
	case Open:
		z.answeredWhileOpen(s, now)
	case HalfOpen:
		z.grow()
	case Calm, Troubled:
		delete(z.bad, rec)
		if rec.state != Calm && rec.hung == 0 {
			z.release(rec, now, fmt.Sprintf("its hung request came back with an answer after %s", brief(now-s.start)))
		}
	}
}

// explain finds the stuck slots that are explained: their store is in
// quarantine and another store of the zone had a success after they began.
// They take no room from the innocent stores of the zone.
func (z *zone) explain() {
	if z.state == Calm && z.hungCheck == 0 {
		return
	}
	for s := z.slots.head; s != nil; s = s.next {
		if !s.stuck() && !s.explained && !s.check {
			continue
		}
		rec := z.books.get(s.store)
		explained := s.stuck() && rec != nil && rec.state != Calm && z.otherOKSince(s.hash, s.start)
		if s.check {
			explained = z.checkExplained(s)
		}
		if explained != s.explained {
			s.explained = explained
			if explained {
				z.explained++
				z.countLane(s.lane, -1)
			} else {
				z.explained--
				z.countLane(s.lane, 1)
			}
		}
	}
}

// upstreamAway notes that the API server could not be dialled.
func (g *Guard) upstreamAway(now int64) {
	g.noUpstream.Add(1)
	g.awayAt.Store(now)
}

// broken is a connection that broke, on which the verdict is still out.
type broken struct {
	slot *Slot
	at   int64
}

// brokenGrace is how long a broken connection waits for its verdict: an API
// server that is killed breaks many at once, and shows only at the next dial
// that it is away.
const brokenGrace = 500 * time.Millisecond

// judgeBroken takes in the connections that broke a while ago, unless the API
// server turned out to be away.
func (z *zone) judgeBroken(now int64) {
	for len(z.broken) > 0 && now-z.broken[0].at >= int64(brokenGrace) {
		b := z.broken[0]
		z.broken = z.broken[1:]
		if !z.g.awaySince(b.at-int64(awayGrace)) && !z.g.silent(now) {
			z.badOutcome(b.slot, Broken, now)
		}
	}
}

// brief is a guard duration for people.
func brief(d int64) string {
	switch v := time.Duration(d); {
	case v < time.Second:
		return v.Round(time.Millisecond).String()
	case v < time.Minute:
		return v.Round(100 * time.Millisecond).String()
	default:
		return v.Round(time.Second).String()
	}
}
