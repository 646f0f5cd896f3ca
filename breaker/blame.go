package breaker

import (
	"fmt"
	"slices"
	"time"
)

// blamed is what the silence of a request speaks against.
type blamed uint8

const (
	blamePool   blamed = iota // nothing was answered since: this cannot be told apart
	blameZone                 // its server answers, its zone does not
	blameServer               // its zone is answered elsewhere, its server does not answer
	blameStore                // its zone and its server answer others
)

// blame attributes the silence of an unanswered request: to what is silent where
// others are answered.
//
//	others of the zone answered since   the server answered since   blamed
//	no                                  no                          the pool
//	no                                  yes                         the zone
//	yes                                 no                          the server
//	yes                                 yes                         the store
func blame(zoneAnswered, serverAnswered bool) blamed {
	switch {
	case zoneAnswered && serverAnswered:
		return blameStore
	case zoneAnswered:
		return blameServer
	case serverAnswered:
		return blameZone
	default:
		return blamePool
	}
}

func (z *zone) blame(s *Slot) blamed {
	server := z.g.answeredAt.Load() > s.start
	if s.server != nil {
		server = s.server.answeredAt.Load() > s.start
	}
	return blame(z.answered.elsewhereSince(s.hash, s.start), server)
}

// judge passes verdicts on the zone and its stores.
func (z *zone) judge(now int64) {
	if (z.state != Calm && z.state != Troubled) || z.g.verdictsSuspended(now) {
		return
	}
	if why := z.caseForOpening(now); why != "" {
		z.toOpen(now, why+z.blocked(now))
		return
	}
	if !z.shared() {
		z.judgeStores(now)
		z.judgeWitnessed(now)
	}
}

// judgeStores counts strikes, and puts stores into quarantine.
func (z *zone) judgeStores(now int64) {
	if z.questions == 0 {
		return
	}
	var guilty []*record
	need := z.strikesNeeded()
	for s := z.lates.head; s != nil && now-s.start >= s.slowAfter; s = s.lnext {
		if !s.question {
			continue
		}
		rec := z.books.ensure(s.store)
		if !s.struck && s.aging(now) {
			s.struck = z.strikes(s, rec)
			if s.struck {
				z.struck++
				rec.strikes++
				rec.lastBad = now
				if rec.firstBad == 0 {
					rec.firstBad = s.start
				}
			}
		}
		if rec.strikes >= need && rec.state == Calm && z.heldStores[rec.store] == nil && !slices.Contains(guilty, rec) {
			guilty = append(guilty, rec)
		}
	}
	for _, rec := range guilty {
		z.quarantine(rec, now, z.accusation(rec, now))
	}
	z.judgeHoarders(now)
}

// strikes reports whether the slot's silence is a strike against its store. If
// no other request of the zone was answered since it began, it is one only if it
// hangs and the store hangs alone: then the smallest part is blamed that explains
// it.
func (z *zone) strikes(s *Slot, rec *record) bool {
	switch z.blame(s) {
	case blameStore:
		return true
	case blameZone, blamePool:
		return s.phase == hung && rec.questions >= 2 && z.silent() < z.hear(z.g.capacity())
	case blameServer:
	}
	return false
}

func (z *zone) accusation(rec *record, now int64) string {
	what := "a request has no answer"
	if rec.strikes > 1 {
		what = fmt.Sprintf("%d requests one after the other have no answer", rec.strikes)
	}
	since := now - rec.firstBad
	if z.answered.elsewhereSince(z.g.hashOf(rec.store), rec.firstBad) {
		return fmt.Sprintf("%s for %s, while other stores of the zone are answered", what, brief(since))
	}
	return fmt.Sprintf("%s for %s", what, brief(since))
}

// judgeHoarders puts a store into quarantine that is answered now and then, but
// whose hung requests hold most of the workers that the zone has lost.
func (z *zone) judgeHoarders(now int64) {
	capacity := z.g.capacity()
	least := max(4, capacity/8)
	if z.hung < least {
		return
	}
	for _, rec := range z.books.pins {
		if rec.state == Calm && rec.hung >= least && 4*rec.hung >= 3*z.hung && z.heldStores[rec.store] == nil && z.answered.elsewhereSince(z.g.hashOf(rec.store), rec.lastHung) {
			z.quarantine(rec, now, fmt.Sprintf("%d of the %d hung requests of the zone are its own", rec.hung, z.hung))
			return
		}
	}
}

// fewLasts is for how many timeouts fewer stores than min_bad_stores must be silent to
// be enough. It is so long that requests that hang by chance have mostly ended.
const fewLasts = 4

// caseForOpening says why the zone must be cut off, or nothing: no request was
// answered since min_bad_stores stores were asked, for slow_after. In a small pool
// without room to ask so many, fewer are enough if they are silent for much longer; in
// one in which one store is all that can be asked, after its timeout. Stores that may
// hang by themselves count only if they are more, and for longer.
func (z *zone) caseForOpening(now int64) string {
	if z.lates.len == 0 || now-z.heardAt() < int64(z.policy.SlowAfter) || z.held != nil {
		return ""
	}
	hear, few := z.policy.MinBadStores, z.hear(z.g.capacity())
	silent, young := make(map[uint64]struct{}), make(map[uint64]struct{})
	servers, sure := make(map[*server]struct{}), make(map[uint64]struct{})
	slots, witness, oldest, latest := 0, false, now, int64(0)
	for s := z.slots.tail; s != nil && s.start > z.heardAt(); s = s.prev {
		switch {
		case s.check || s.void || s.awaitsClient() || s.remembered != 0:
		case s.aging(now) && (few > 1 || hear == 1 || s.phase == hung):
			silent[s.hash], servers[s.server] = struct{}{}, struct{}{}
			slots++
			if s.server == nil || s.server.answeredAt.Load() > s.sentAt {
				sure[s.hash] = struct{}{}
			}
			witness = witness || s.witness
			oldest, latest = s.start, max(latest, s.start)
		case !s.silent() || !s.late:
			young[s.hash] = struct{}{} // answered, or too young to tell
		}
	}
	if few == 1 || now-latest >= fewLasts*int64(z.policy.Timeout) {
		hear = few
	}
	if !witness {
		if now-oldest < 2*int64(z.policy.Timeout) {
			return ""
		}
		hear += 2
	}
	for hash := range silent {
		delete(young, hash)
	}
	enough := len(silent) >= hear && len(silent) >= len(young)
	if z.shared() {
		enough = slots >= hear
	}
	// What is silent on one server only, which does not answer other zones either,
	// may be the server's fault.
	if !enough || len(sure) < hear && len(servers) < 2 && z.g.servers.inService() > 1 {
		return ""
	}
	return fmt.Sprintf("%d stores have no answer for over %s, and no request of the zone was answered %s", len(silent), z.policy.SlowAfter, z.unansweredFor(now))
}

// heardAt is when the zone was last answered, or reset by hand: requests from
// before are no evidence.
func (z *zone) heardAt() int64 { return max(z.answered.last, z.resetAt) }

// forgetSilence takes what is unanswered now out of the evidence.
func (z *zone) forgetSilence(now int64) {
	z.resetAt, z.since, z.lost = now, nil, false
	z.silence.end()
	for s := z.lates.head; s != nil; s = s.lnext {
		if rec := z.books.get(s.store); rec != nil {
			z.explained(s, rec)
			rec.strikes = 0
		}
	}
}

// unansweredFor says since when no request of the zone was answered.
func (z *zone) unansweredFor(now int64) string {
	if z.answered.last == 0 {
		return "yet"
	}
	return "for " + brief(now-z.answered.last)
}

// silentFor counts the requests of the zone that have no answer for slow_after, if the
// zone as a whole does not answer, or nearly so: if they began after its latest answer,
// and are half of those. If many zones do not, that speaks for a failure of the pool.
func (z *zone) silentFor(now int64) int {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.state == Open || z.state == HalfOpen || z.since == nil {
		return 0
	}
	late, all := 0, 0
	for s := z.since; s != nil; s = s.next {
		switch {
		case s.check || s.void || s.awaitsClient() || s.remembered != 0:
		case s.aging(now):
			if rec := z.books.get(s.store); rec == nil || rec.state == Calm {
				late++
				all++
			}
		case !s.silent() || !s.late:
			all++
		}
	}
	if 2*late < all {
		return 0
	}
	return late
}

const awayGrace = 2 * time.Second
