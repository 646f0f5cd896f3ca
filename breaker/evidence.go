package breaker

import (
	"fmt"
	"math"
	"time"

	"github.com/firebreak-proxy/firebreak/internal/lately"
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
	s.server.noteLost(o)
	z.learn(s, o, now)
	switch {
	case o == NoUpstream:
		z.g.upstreamAway(now)
	case o.isAnswer(now-s.start < s.slowAfter):
		z.answer(s, o, now)
	case o.isError():
		z.noteError(s, o, now)
	case o.bad():
		z.noteHang(s, o, now)
	}
	if s.storePass.held() {
		z.endRetry(s, o, now)
	}
	if z.probing == s && o.bad() {
		z.probeHangs(now)
	}
	z.endProbe(s, false, now) // no verdict: it found out nothing
}

// isAnswer reports whether the outcome shows that requests come back: any
// answer, unless it is an error that came so late that it says as little as
// none.
func (o Outcome) isAnswer(inTime bool) bool {
	return o.good() || inTime && (o == Failure || o == Refused)
}

// learn takes in how long the answer took.
func (z *zone) learn(s *Slot, o Outcome, now int64) {
	if o.good() {
		z.pace.observe(now-s.start, now)
	}
}

// answer takes in that a request was answered: the zone, the store and the
// server are alive.
func (z *zone) answer(s *Slot, o Outcome, now int64) {
	z.noteAnswer(s, now, o.isError())
	z.dropRestored(s, now)
	if o.isError() {
		z.noteError(s, o, now)
	} else if len(z.failing) > 0 {
		z.noteGood(s.store)
	}
	if z.books.rest != nil {
		z.storeAnswered(s, o, now)
	}
	switch z.state {
	case Open:
		z.toHalfOpen(now, fmt.Sprintf("a request of store %s that was stuck was answered after %s", s.store, brief(now-s.start)))
		z.toClosed(now, "requests are answered again")
	case HalfOpen:
		z.endProbe(s, true, now)
		z.toClosed(now, "requests are answered again")
	case Calm, Troubled:
	}
}

// noteAnswer records when the zone was last answered, and for which store.
func (z *zone) noteAnswer(s *Slot, now int64, failed bool) {
	if z.seen == nil {
		z.seen = new(lately.Seen)
	}
	z.seen.Mark(s.hash, now)
	if z.window > 0 {
		if z.window++; z.window >= startWindow && z.waiters.count == 0 {
			z.window = 0
		}
	} else if z.since != nil && z.waiters.count > 0 && z.inDoubt(now) {
		z.window = z.live + 1
	}
	z.answered.note(s.hash, now)
	z.answers++
	z.since, z.lost = nil, false // all slots began before this answer
	z.silence.end()
	if s.server != nil {
		z.answeredX.note(s.server.id, now)
		s.server.noteAnswer(s.sentAt, now, failed)
	}
	z.g.answeredAt.Store(now)
}

// startWindow is the window at which a slow start is over, once no request of
// the zone waits any more.
const startWindow = 16

// storeAnswered takes in that the store was answered, which clears it: a store
// that is answered although another of its requests hangs is not ill.
func (z *zone) storeAnswered(s *Slot, o Outcome, now int64) {
	rec := z.books.get(s.store)
	if rec == nil {
		return
	}
	if !o.isError() {
		rec.note(o, now)
	}
	rec.answeredAt, rec.strikes = now, 0
	z.cleared += float64(z.answerQuestions(rec, now))
	s.storePass.settle(nil)
	if rec.state != Calm {
		if s.retry && !rec.sure {
			z.cleared++ // it was in quarantine by chance
			rec.culprit = false
		}
		z.release(rec, now, fmt.Sprintf("a request was answered after %s", brief(now-s.start)))
	}
}

// noteHang takes in that the client of a request was sent away without an
// answer, or left late. Whose fault that is, is judged by [zone.judge].
func (z *zone) noteHang(s *Slot, o Outcome, now int64) {
	rec := z.books.ensure(s.store)
	rec.note(o, now)
	z.lastTrouble = now
	z.stir()
	z.lookForLate(now)
	z.judge(now)
}

// endRetry takes in what became of a request that tried a store in quarantine
// and was not answered.
func (z *zone) endRetry(s *Slot, o Outcome, now int64) {
	if !o.bad() || s.void {
		s.storePass.settle(errNeutral)
		return
	}
	s.storePass.settle(errBad)
	if rec := z.books.get(s.store); rec != nil && rec.state == HalfOpen {
		z.quarantine(rec, now, fmt.Sprintf("tried again, and the request ended as %s", o))
		z.keepOff(rec.store, rec.joint, rec.machine.until, now)
		rec.joint.settle(false)
	}
}

// turnHung moves a slot from live to hung.
func (z *zone) turnHung(s *Slot, now int64) {
	s.phase, s.hungAt = hung, now
	z.live--
	z.hung++
	z.g.hung.Add(1)
	z.stir()
	if s.check {
		z.hungCheck++
		return
	}
	rec := z.books.ensure(s.store)
	rec.hung++
	rec.lastHung = max(rec.lastHung, s.start)
	z.books.repin(rec)
	z.lastTrouble = now
	if s.answering {
		z.stalled(s, now)
	}
}

// stalled takes in that the body of an answer stands still: the request is
// unanswered again, as long as makes it evidence.
func (z *zone) stalled(s *Slot, now int64) {
	s.answering = false
	if late := now - s.slowAfter; late > s.start {
		z.rejuvenate(s, late-s.start)
	}
	z.resume(s)
	if !s.late && s.silent() {
		z.markLate(s)
	}
}

// heard takes in that the worker was heard from.
func (z *zone) heard(s *Slot) {
	if s.silent() {
		z.unmark(s)
	}
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
		s.server.release()
		return
	case live, hung:
	}
	wasHung, settled := s.phase == hung, s.settled
	z.noteEnd(s)
	z.remove(s)
	s.phase = ended
	switch {
	case !settled:
		z.settle(s, o, now)
	case s.cancelledAt != 0: // an answer says as little as an error
		z.lost = z.lost || s.witness && !s.void && s.start > z.answered.last
	case wasHung && o.good() && !s.check:
		z.cameBack(s, now)
	case wasHung && !s.check && s.remembered == 0:
		z.gaveUp(s, now)
	}
}

// remove takes the slot off the books of the zone, the server and the pool.
func (z *zone) remove(s *Slot) {
	if s.silent() {
		z.unmark(s)
	}
	if z.unlooked == s {
		z.unlooked = s.next
	}
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
		z.pace.ended++
	}
	if s.remembered != 0 {
		z.remembered--
		if s.server != nil {
			s.server.remembered.Add(-1)
		}
	}
	if s.retry {
		z.retries--
	}
	z.slots.remove(s)
	z.publish()
	z.g.occupied.Add(-1)
	s.server.release()
}

// cameBack takes in that a hung request was answered after all: the stuck
// requests are the best probes there are.
func (z *zone) cameBack(s *Slot, now int64) {
	z.answer(s, OK, now)
}

// gaveUp takes in that a hung request ended without an answer, as when its
// worker was killed: another one may be tried in its place, which costs no
// further worker.
func (z *zone) gaveUp(s *Slot, now int64) {
	if s.witness && !s.void && s.start > z.answered.last {
		z.lost = true
	}
	if z.state == Open && z.held == nil && z.probing == nil && !s.void {
		z.toHalfOpen(now, "a worker that hung is free again")
	}
}

// upstreamAway notes that the API server could not be dialled.
func (g *Guard) upstreamAway(now int64) {
	g.noUpstream.Add(1)
	g.awayAt.Store(now)
}

// Chance. Requests that hang at random, all over a zone, are not the stores'
// fault. How often that happens is measured by the hung requests of stores that
// were answered all the same.
const (
	chanceOver  = 10 * time.Second // time constant of answers and cleared
	tooUnlikely = 1.5e-6           // so many hangs in a row are no chance
	mostStrikes = 16

	// manyStruck is how many stores must hang at once, and more where innocent
	// ones do, for one strike to be enough. If one request in a thousand hangs
	// for 5 s, at 25 requests/s, six at once happen once in 25 years.
	manyStruck = 6
)

// decay lets what was counted lately fade.
func (z *zone) decay(now int64) {
	d := now - z.decayed
	if d < int64(100*time.Millisecond) {
		return
	}
	keep := math.Exp(-float64(d) / float64(chanceOver))
	z.answers, z.cleared, z.hangs, z.decayed = z.answers*keep, z.cleared*keep, z.hangs*keep, now
}

// strikesNeeded is how many requests of a store must hang one after the other,
// none answered in between, to put it into quarantine: so many that chance is
// ruled out at the rate at which requests of innocent stores hang, and two at
// least. Once two stores are in quarantine, and no other store's request was
// found to hang by chance, one is enough: the zone has damaged stores. So it is
// once so many stores hang at the same time as chance does not explain. Second looks
// at stores in quarantine find out whether that was right, see looksAgain.
func (z *zone) strikesNeeded() int {
	chance := z.cleared / max(1, z.answers+z.cleared)
	need := 2
	for p := chance * chance; p > tooUnlikely && need < mostStrikes; p *= chance {
		need++
	}
	switch {
	case need > 2:
	case z.cleared < 0.5 && z.sick >= 2, float64(z.struck) >= manyStruck+4*z.cleared:
		return 1
	}
	return need
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
