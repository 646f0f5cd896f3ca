package breaker

import (
	"fmt"
	"time"
)

// Errors that come quickly keep no worker: to refuse those requests would help
// no other request, and would go on after the cause is gone. They are named:
// the zone is troubled, its failing stores are culprits, and events tell of it.

// errorsInRow is how many errors in a row make a store a culprit.
const errorsInRow = 3

// noteError takes in an error.
func (z *zone) noteError(s *Slot, o Outcome, now int64) {
	if o == Broken && z.g.awaySince(now-int64(awayGrace)) {
		return // the API server is away
	}
	rec := z.books.ensure(s.store)
	rec.note(o, now)
	if rec.errorsInRow == 0 {
		rec.firstError = now
	}
	rec.errorsInRow++
	rec.failures++
	if z.failing == nil {
		z.failing = make(map[*record]int64)
	}
	z.failing[rec] = now
	z.stir()
	if z.state != Calm {
		z.lastTrouble = now
		rec.failed = rec.failed || rec.errorsInRow >= errorsInRow && !z.fails(now)
	}
}

// noteGood takes in that the store was answered without an error.
func (z *zone) noteGood(store string) {
	if rec := z.books.get(store); rec != nil && rec.errorsInRow > 0 {
		rec.errorsInRow = 0
		delete(z.failing, rec)
	}
}

// dropFailing forgets errors that are older than the window, and connections that
// broke because the API server went away.
func (z *zone) dropFailing(now int64) {
	for rec, at := range z.failing {
		away := rec.last == Broken && z.g.awaySince(at-int64(awayGrace))
		if away || now-at > int64(z.policy.Window) {
			rec.errorsInRow = 0
			delete(z.failing, rec)
		}
	}
}

// fails reports whether the zone itself fails: the latest outcome of half of
// the stores seen within the window, and of min_bad_stores at least, is an
// error.
func (z *zone) fails(now int64) bool {
	n := len(z.failing)
	return n >= z.policy.MinBadStores && 2*n >= z.storesSeen(now)
}

// errorsPersist is for how long errors must go on until an episode begins: when
// the API server is killed, many connections break at once.
const errorsPersist = time.Second

// persist reports whether the errors of the zone have gone on for long enough.
func (z *zone) persist(now int64) bool {
	for rec := range z.failing {
		if now-rec.firstError >= int64(errorsPersist) {
			return true
		}
	}
	return false
}

// failsInPart reports whether so many stores of the zone get errors that
// something may be wrong that all zones share.
func (z *zone) failsInPart(now int64) bool {
	n := len(z.failing)
	if n == 0 {
		return false
	}
	seen := z.storesSeen(now)
	return n >= min(z.policy.MinBadStores, seen) && 10*n >= seen
}

// judgeErrors begins an episode if the zone fails, or a store of it.
func (z *zone) judgeErrors(now int64) {
	z.dropFailing(now)
	if z.state != Calm || len(z.failing) == 0 || z.g.verdictsSuspended(now) || !z.persist(now) {
		return
	}
	if z.fails(now) {
		z.trouble(now, fmt.Sprintf("requests of %d of the %d stores seen within %s end in errors; they are not refused, since quick errors keep no worker", len(z.failing), z.storesSeen(now), z.policy.Window))
		return
	}
	for rec := range z.failing {
		if rec.errorsInRow >= max(errorsInRow, 10) {
			rec.failed = true
			z.trouble(now, fmt.Sprintf("the last %d requests of store %s ended in errors; they are not refused, since quick errors keep no worker", rec.errorsInRow, rec.store))
			return
		}
	}
}

// storesSeen counts the stores that were answered within the window, with an
// error or without.
func (z *zone) storesSeen(now int64) int {
	n := 0
	if z.seen != nil {
		n = z.seen.Count(now - int64(z.policy.Window))
	}
	return max(n, len(z.failing))
}
