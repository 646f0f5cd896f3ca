package breaker

import (
	"fmt"
	"time"
)

// judgeStore puts a store into quarantine if the evidence says so. While its
// zone is open or in triage it is not judged: the zone explains it.
func (z *zone) judgeStore(rec *record, hash uint64, now int64) {
	if rec.state != Calm || z.shared() || (z.state != Calm && z.state != Troubled) || z.g.silent(now) {
		return
	}
	good, bad := rec.counts(now, z.policy.Window)
	switch {
	case rec.hung == 0 && z.g.errorsEverywhere():
	case rec.badInRow >= z.store.BadInRow:
		z.quarantine(rec, now, fmt.Sprintf("%d bad outcomes in a row, last %s", rec.badInRow, rec.last))
	case good+bad >= z.store.MinRequests && float64(bad) >= z.store.BadShare*float64(good+bad):
		z.quarantine(rec, now, fmt.Sprintf("%d of %d outcomes bad within %s", bad, good+bad, z.policy.Window))
	case rec.hung >= z.store.MaxHung && rec.last.bad():
		z.quarantine(rec, now, fmt.Sprintf("%d requests hung", rec.hung))
	case rec.hung > 0 && rec.last.bad() && z.state == Troubled && z.otherOKSince(hash, rec.lastHung):
		z.quarantine(rec, now, "a request hung while other stores of the zone were answered")
	}
}

// judgeAging puts stores into quarantine whose requests are aging while other
// stores of the zone are answered: no need to wait for the deadline. Should the
// request be answered after all, the quarantine is lifted at once.
func (z *zone) judgeAging(now int64) {
	if z.state != Troubled || z.shared() || z.g.silent(now) {
		return
	}
	for s := z.slots.head; s != nil; s = s.next {
		if !s.aging(now) || !z.othersFastSince(s.hash, s.start) {
			continue
		}
		if z.okSince(s.store, s.hash, s.start) {
			continue // merely a slow request
		}
		if rec := z.books.ensure(s.store); rec.state == Calm {
			z.quarantine(rec, now, fmt.Sprintf("a request has no answer for %s while other stores of the zone are answered", brief(now-s.start)))
			if s.phase == live && rec.state == Open {
				rec.cause = s
			}
		}
	}
}

// judge opens the zone if the evidence says so.
func (z *zone) judge(now int64) {
	if (z.state != Calm && z.state != Troubled) || z.g.silent(now) {
		return
	}
	if why := z.caseForOpening(now); why != "" {
		z.toOpen(now, why)
	}
}

// caseForOpening says why the zone must open, or nothing.
func (z *zone) caseForOpening(now int64) string {
	stuckStores, stuckSlots, inFlight := z.stuckSinceLastOK(now)
	switch {
	case stuckStores >= z.policy.MinBadStores && stuckStores*2 >= inFlight:
		return fmt.Sprintf("%d of %d stores in flight have no answer for over %s, and nobody was answered %s",
			stuckStores, inFlight, z.policy.SlowAfter, z.unanswered(now))
	case z.hungRequests() >= z.policy.MaxHung && stuckSlots*2 >= z.hungRequests() && (stuckStores > 1 || z.shared() || z.live+z.hung >= z.mostOccupied()):
		// Several stores, or one that leaves no room to try another: a pool of
		// three workers has one for a zone.
		return fmt.Sprintf("%d hung requests, the limit, and nobody was answered %s", z.hungRequests(), z.unanswered(now))
	}
	bad := z.badStores(now)
	if z.g.errorsEverywhere() || bad < z.policy.MinBadStores && len(z.slow) < z.policy.MinBadStores {
		return ""
	}
	seen := z.storesSeen(now)
	if bad >= z.policy.MinBadStores && float64(bad) >= z.policy.BadShare*float64(seen) {
		return fmt.Sprintf("%d of %d stores seen within %s are bad", bad, seen, z.policy.Window)
	}
	slow := z.slowStores(now)
	if z.policy.SlowShare > 0 && slow >= z.policy.MinBadStores && float64(slow) >= z.policy.SlowShare*float64(seen) {
		return fmt.Sprintf("%d of %d stores seen within %s are slow", slow, seen, z.policy.Window)
	}
	return ""
}

// unanswered says in words since when nobody was answered.
func (z *zone) unanswered(now int64) string {
	if z.lastOK == 0 {
		return "yet"
	}
	return "for " + brief(now-z.lastOK)
}

// stuckSinceLastOK counts the aging and hung requests that began after the
// zone's latest success, and their stores: requests from before say nothing
// about now. inFlight counts these stores and those that may yet prove the zone
// alive: answered already, or too young to tell. Requests in between, overdue
// but not aging yet, speak for neither side; were they counted, a zone with
// many slots would open late only because it has many.
func (z *zone) stuckSinceLastOK(now int64) (stores, slots, inFlight int) {
	if z.oldestStuck(now, 0) == 0 {
		return 0, 0, 0
	}
	young := z.suspectAfter()
	stuck, all := make(map[uint64]struct{}), make(map[uint64]struct{})
	for s := z.slots.head; s != nil; s = s.next {
		switch {
		case s.explained || s.check:
		case s.aging(now) && s.start > z.lastOK:
			stuck[s.hash], all[s.hash] = struct{}{}, struct{}{}
			slots++
		case !s.stuck() || s.aging(now) || now-s.start < young:
			all[s.hash] = struct{}{}
		}
	}
	return len(stuck), slots, len(all)
}

// badStores counts the stores that speak against the zone: those whose latest
// outcome within the window is bad, or that have a hung request which nothing
// explains. What quarantine explains is no news of the zone: neither a store
// that is tried again and fails while others are answered, nor a request that
// hangs on for as long as the pool lets it. A few damaged stores would open a
// zone again and again otherwise when hardly anybody else is awake.
func (z *zone) badStores(now int64) int {
	from := now - int64(z.policy.Window)
	for rec, at := range z.bad {
		if at < from && (rec.hung == 0 || z.isExplained(rec, rec.lastHung)) {
			delete(z.bad, rec)
		}
	}
	return len(z.bad)
}

// isExplained says that the store's quarantine explains what it has done since
// t: other stores were answered after that.
func (z *zone) isExplained(rec *record, t int64) bool {
	return rec.state != Calm && z.otherOKSince(z.g.hashOf(rec.store), t)
}

// storesSeen counts the stores with an outcome within the window: those that
// are bad and those that had a success, each once.
func (z *zone) storesSeen(now int64) int {
	from := now - int64(z.policy.Window)
	ok := 0
	if z.seen != nil {
		ok = z.seen.count(from)
	}
	for rec := range z.bad {
		if rec.lastOK >= from {
			ok--
		}
	}
	return len(z.bad) + max(ok, 0)
}

// noteSlow keeps which stores are slow, for slow_share. The set is bounded.
func (z *zone) noteSlow(s *Slot, o Outcome, now int64) {
	if o == OK {
		z.slowForget(s.hash)
		return
	}
	if z.slow == nil {
		z.slow = make(map[uint64]int64)
	}
	if len(z.slow) < seenSize {
		z.slow[s.hash] = now
	}
	z.judge(now)
}

func (z *zone) slowForget(hash uint64) { delete(z.slow, hash) }

func (z *zone) slowStores(now int64) int {
	for hash, at := range z.slow {
		if time.Duration(now-at) > z.policy.Window {
			delete(z.slow, hash)
		}
	}
	return len(z.slow)
}
