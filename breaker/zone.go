package breaker

import (
	"hash/maphash"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/internal/lately"
)

var hashSeed = maphash.MakeSeed()

func (g *Guard) hashOf(store string) uint64 {
	if g.simulation != nil {
		return g.simulation.hashOf(store)
	}
	return maphash.String(hashSeed, store)
}

// zone is the state of one zone. A calm zone keeps no records of stores:
// admitting and settling a request takes its lock for a few dozen nanoseconds
// and changes counters. The lock is never held over I/O, a callback or another
// zone's lock.
type zone struct {
	name string
	g    *Guard

	answeredAt atomic.Int64 // copy of answered.last for readers without the lock, as of the last sweep
	occupied   atomic.Int64 // copy of live+hung, likewise; up to date while requests wait
	busyAt     int64        // when it last had a request, as of the last sweep; of the sweeper alone
	eventful   atomic.Bool  // the sweeper has something to look at

	below *zone // in the stack of stirred zones; of the pusher, then guarded by activeMu

	mu     sync.Mutex // guards below
	swept  bool       // it is stirred, or among the zones that are swept
	policy *config.ZonePolicy
	store  *config.StorePolicy

	// Slots.
	slots      slotList // in order of start
	block      []Slot   // free ones, see newSlot
	blockSize  int      // of the latest block
	live       int
	hung       int
	hungCheck  int // of the hung ones, checks of recoveries
	remembered int // slots of an earlier process, see Restore
	streams    int

	// Progress. A slot is unanswered until the worker was heard from, late once
	// it is unanswered for longer than patience, and a question while nothing
	// explains that it is late.
	pace      pace
	answered  latest         // answers, by store
	resetAt   int64          // when it was last reset by hand
	answeredX latest         // answers, by server
	since     *Slot          // the first unanswered witness that began after the latest answer
	lost      bool           // a late witness has ended without an answer, and no request was answered since
	unlooked  *Slot          // the first slot that was not looked at for being late
	lates     lates          // late slots
	questions int            // questions among them
	struck    int            // strikes among the questions
	inFlight  map[uint64]int // unanswered slots by store; nil unless a slot is late, requests wait, or a quarter of the pool is the zone's
	silence   silence
	window    int     // slow start: live requests at once; 0: no limit
	answers   float64 // answers lately, decaying over chanceOver
	hangs     float64 // requests of known stores that hung lately, likewise
	cleared   float64 // late requests lately whose store was answered nevertheless
	decayed   int64   // when these two last decayed

	seen *lately.Seen // stores answered lately

	// The breaker.
	state        State
	stateSince   int64
	episodeSince int64
	openedAt     int64
	turn         int // openings in this episode
	steps        int // how far the open time has grown
	evidence     string
	cause        string // evidence with which the episode began
	machine      machine
	counted      bool // this opening is counted in the guard's openZones
	probing      *Slot
	asking       int // unanswered requests of unproven stores that are not late
	seconds      int // second requests of stores in doubt that are unanswered
	retries      int // requests in flight that try a quarantined store again
	lastTrouble  int64
	idleSince    int64

	books    books
	sick     int               // stores in quarantine
	sure     int               // those among them that are there for more than what may be chance
	failing  map[*record]int64 // stores whose latest outcome is an error, and since when; nil: none yet
	culprits []Culprit         // of the last episodes
	worst    int

	held       *Hold            // by hand; nil: it is not held
	heldStores map[string]*Hold // stores held by hand

	waiters waitQueue
	listed  bool // it is in the dispatcher's list

	checking atomic.Bool
	checkOK  bool  // latest result of the zone's check
	checkAt  int64 // when the latest check began

	curious    bool // its database is asked about its stores
	inquiring  atomic.Bool
	inquiredAt int64     // when its database was last asked about its stores
	said       testimony // what it said
	confirmed  bool      // the quarantine that begins is confirmed by the database
	cancels    cancels   // queries of its database that were cancelled

	passedAt int64               // when a store last passed a check of a recovery
	passed   map[string]struct{} // stores that passed one since the zone opened

	joint    *joint       // what the rest of the fleet has said; nil: nothing
	back     []cameBack   // what came back lately, for the fleet
	renewals []trialLease // what the fleet is to be asked for

	totals      totals
	refusals    map[Reason]uint64
	wouldRefuse map[Reason]uint64
	kept        counts // of the last moments in which it was well
}

func newZone(g *Guard, name string, p *config.Policy) *zone {
	z := &zone{name: name, g: g, checkOK: true}
	z.silence.end()
	z.apply(p)
	return z
}

// apply puts the policy of a new configuration in force.
func (z *zone) apply(p *config.Policy) {
	policy := &p.Default // shared: there may be many zones
	if own, ok := p.Zones[z.name]; ok {
		policy = &own
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	z.policy, z.store = policy, &p.Store
	if z.curious = z.asks(); z.curious {
		z.stir() // its database is asked on calm days too
	}
	z.books.limit = p.Store.Records
	if z.books.rest != nil {
		z.books.rest.Resize(max(1, p.Store.Records))
	}
}

// inUse reports whether forgetting the zone would lose something.
func (z *zone) inUse() bool {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.slots.len > 0 || z.streams > 0 || z.state != Calm || z.waiters.count > 0 || z.isHeld()
}

// isHeld reports whether the zone's breaker or one of its stores' is held by hand.
func (z *zone) isHeld() bool { return z.held != nil || len(z.heldStores) > 0 }

// shared reports whether the zone is the bucket of unknown keys, in which no
// store can be told from another.
func (z *zone) shared() bool { return z.name == config.UnknownZone }

// latest is when something last happened, by what it happened to, and when it
// last happened to anything else.
type latest struct {
	last  int64
	by    uint64
	other int64
}

func (l *latest) note(by uint64, now int64) {
	if by != l.by {
		l.other, l.by = l.last, by
	}
	l.last = now
}

// elsewhereSince reports whether it happened to anything else than by after t.
func (l *latest) elsewhereSince(by uint64, t int64) bool {
	if l.by != by {
		return l.last > t
	}
	return l.other > t
}

// lookForLate marks the slots that have become late.
func (z *zone) lookForLate(now int64) {
	if z.unlooked == nil {
		return
	}
	for after := z.lateAfter(); z.unlooked != nil && now-z.unlooked.start >= after; {
		s := z.unlooked
		z.unlooked = s.next
		if s.silent() && !s.late {
			z.markLate(s)
		}
	}
}

func (z *zone) markLate(s *Slot) {
	z.countStores()
	s.late = true
	z.stopAsking(s)
	z.lates.push(s)
	z.g.late.Add(1)
	rec := z.books.ensure(s.store)
	rec.late++
	z.reconsider(s, rec)
	z.books.repin(rec)
}

// unmark takes a slot that is heard from, or has ended, out of what is counted
// of unanswered slots.
func (z *zone) unmark(s *Slot) {
	z.silence.remove(s)
	if z.since == s {
		z.nextSince(s)
	}
	z.stopAsking(s)
	if s.second {
		s.second = false
		z.seconds--
	}
	if z.inFlight != nil {
		if z.inFlight[s.hash]--; z.inFlight[s.hash] <= 0 {
			delete(z.inFlight, s.hash)
		}
	}
	if !s.late {
		return
	}
	s.late = false
	z.lates.remove(s)
	z.g.late.Add(-1)
	if rec := z.books.get(s.store); rec != nil {
		z.explained(s, rec)
		rec.late--
		z.books.repin(rec)
	}
}

// reconsider makes a late slot a question, or no question any more: it is one
// while neither an answer to its store, nor its store's quarantine, nor the
// silence of its server explains it.
func (z *zone) reconsider(s *Slot, rec *record) {
	v := s.server
	excused := v != nil && v.is(InDoubt) && v.answeredAt.Load() < s.sentAt
	is := s.remembered == 0 && s.start > z.resetAt && rec.state == Calm && !excused && !z.answeredSince(s.store, s.hash, s.start)
	if is == s.question {
		return
	}
	if !is {
		z.explained(s, rec)
		return
	}
	s.question = true
	z.questions++
	rec.questions++
	if s.struck {
		z.struck++
	}
}

// stopAsking takes a slot out of those whose stores are being asked.
func (z *zone) stopAsking(s *Slot) {
	if s.asks {
		s.asks = false
		z.asking--
	}
}

// explained takes a slot out of the questions.
func (z *zone) explained(s *Slot, rec *record) {
	if s.question {
		s.question = false
		z.questions--
		rec.questions--
		if s.struck {
			z.struck--
		}
	}
}

// countStores begins to count unanswered slots by store.
func (z *zone) countStores() {
	if z.inFlight != nil {
		return
	}
	z.inFlight = make(map[uint64]int)
	for s := z.slots.head; s != nil; s = s.next {
		if s.silent() {
			z.inFlight[s.hash]++
		}
	}
}

// answerQuestions takes the store's slots out of the questions: something
// explains why they are late. It returns how many of them are aging.
func (z *zone) answerQuestions(rec *record, now int64) (aging int) {
	for s := z.lates.head; s != nil && rec.questions > 0; s = s.lnext {
		if s.question && s.store == rec.store {
			z.explained(s, rec)
			if s.aging(now) {
				aging++
			}
		}
	}
	return aging
}

// inDoubt reports whether the zone is in doubt: a request is unanswered for
// longer than patience, or has ended so, and no other was answered since it began.
func (z *zone) inDoubt(now int64) bool {
	return z.lost || z.since != nil && now-z.since.start >= z.patience()
}

// silence is the time since the latest answer of a zone: how many witnesses that
// began in it are unanswered, and of how many stores.
type silence struct {
	number uint32         // of the silence; slots that are counted in it have it
	asked  int            // unanswered witnesses
	stores map[uint64]int // the same by store; nil: not counted yet
}

func (q *silence) add(s *Slot) {
	if s.silence == q.number || !s.witness || !s.silent() {
		return
	}
	s.silence = q.number
	q.asked++
	if q.stores != nil {
		q.stores[s.hash]++
	}
}

func (q *silence) remove(s *Slot) {
	if s.silence != q.number {
		return
	}
	s.silence = 0
	q.asked--
	if q.stores == nil {
		return
	}
	if q.stores[s.hash]--; q.stores[s.hash] == 0 {
		delete(q.stores, s.hash)
	}
}

// end is for when the zone is answered.
func (q *silence) end() { *q = silence{number: max(1, q.number+1)} }

// silent counts the stores with unanswered witnesses that began after the latest
// answer.
func (z *zone) silent() int {
	q := &z.silence
	if q.stores == nil {
		q.stores = make(map[uint64]int)
		for s := z.since; s != nil; s = s.next {
			if s.silence == q.number {
				q.stores[s.hash]++
			}
		}
	}
	return len(q.stores)
}

// hear is how many stores must have been asked to judge a zone of a pool:
// min_bad_stores, fewer in a small pool, where so many workers are too many to
// lose.
func (z *zone) hear(capacity int) int {
	if capacity == 0 {
		return z.policy.MinBadStores
	}
	return min(z.policy.MinBadStores, max(1, min(capacity/2, max(2, capacity/4))))
}

// toAsk is how many stores of a zone in doubt may be asked by now: hear, and in a small
// pool one more once all that were asked have missed their deadline. Two may hang by
// chance.
func (z *zone) toAsk(hear int) int {
	if hear < 2 || hear >= z.policy.MinBadStores {
		return hear
	}
	asked := 0
	for s := z.since; s != nil; s = s.next {
		switch {
		case s.silence != z.silence.number:
		case s.phase != hung:
			return hear
		default:
			asked++
		}
	}
	return min(max(hear, asked+1), z.policy.MinBadStores)
}

// stuck is how many workers late and hung requests hold.
func (z *zone) stuck() int { return max(z.lates.len, z.hung) }

// limit is how many workers the zone may occupy now.
func (z *zone) limit(capacity int) int {
	limit := math.MaxInt32
	if z.policy.MaxInflight > 0 {
		limit = z.policy.MaxInflight
	}
	switch {
	case capacity == 0:
		return limit
	case z.window > 0: // it catches up
		return min(limit, z.leaves(capacity))
	}
	return min(limit, z.borrowable(capacity))
}

// picture is what decides about the request of a store.
func (z *zone) picture(store string, hash uint64, now int64) picture {
	z.lookForLate(now)
	capacity := z.g.capacity()
	p := picture{
		state: z.state, doubt: z.inDoubt(now), hear: z.hear(capacity), open: z.questions, mixed: z.mixed(), ill: z.hangs >= 5 && z.hangs > z.answers/4, stuck: z.stuck(), remembered: z.remembered,
		taken: z.live + z.hung, limit: z.limit(capacity), window: z.window, live: z.live,
		proven: true, shared: z.shared(),
		capacity: capacity, occupied: int(z.g.occupied.Load()), asked: z.silence.asked, stuckAll: int(z.g.late.Load()), needed: z.g.needed(z),
	}
	if z.answered.last == 0 && capacity > 0 {
		p.window = max(p.hear, capacity/2) // it was never seen to answer
	}
	if p.doubt || 4*z.live >= capacity && capacity > 0 {
		z.countStores()
	}
	if z.inFlight != nil {
		p.mine = z.inFlight[hash]
		p.greedy = p.mine >= 4 && 2*p.mine > p.taken && z.answered.elsewhereSince(hash, now-int64(awake))
	}
	if z.lates.len == 0 && !p.doubt && z.sick == 0 {
		return p
	}
	if z.lates.tail != nil {
		p.quiet = time.Duration(now - z.lates.tail.start)
	}
	if p.doubt {
		p.silent, p.hear = z.silent(), z.toAsk(p.hear)
	}
	p.strikes, p.seconds = z.strikesNeeded(), z.seconds
	p.asking = z.asking
	p.proven = z.proven(store, hash)
	rec := z.books.get(store)
	p.vouched = z.lates.head != nil && z.vouched(store, z.lates.head.start)
	p.tried = !p.proven && z.asksDatabase(store, rec, now)
	if rec != nil {
		p.mineOpen, p.mineLate, p.struck = rec.questions, rec.late, rec.questions > 0 && rec.strikes >= rec.questions
		p.lost = rec.strikes > 0 && rec.questions == 0
	}
	return p
}

// awake is for how long after an answer to another store a store that holds most
// of the zone's workers leaves some to the others.
const awake = time.Second

// answeredSince reports whether the store is known to have been answered since t.
func (z *zone) answeredSince(store string, hash uint64, t int64) bool {
	if r := z.books.get(store); r != nil && r.answeredAt > t {
		return true
	}
	return z.seen != nil && z.seen.Since(hash, t)
}

// proven reports whether the store was answered since the oldest late request of
// its zone began, or, while stores are in quarantine, since the episode began.
func (z *zone) proven(store string, hash uint64) bool {
	switch {
	case z.lates.head != nil:
		return z.answeredSince(store, hash, z.lates.head.start) || z.vouched(store, z.lates.head.start)
	case z.sick > 0:
		return z.answeredSince(store, hash, z.episodeSince) || z.vouched(store, z.episodeSince)
	}
	return true
}

// mixed reports whether requests of some stores hang while others are answered.
func (z *zone) mixed() bool {
	if z.sick > 0 {
		return true
	}
	return z.questions > 0 && z.answered.last-z.lates.head.start >= z.patience()
}

// lates is the late slots of a zone, in order of start.
type lates struct {
	head, tail *Slot
	len        int
}

func (l *lates) push(s *Slot) {
	after := l.tail
	for after != nil && after.start > s.start {
		after = after.lprev
	}
	s.lprev = after
	if after != nil {
		s.lnext, after.lnext = after.lnext, s
	} else {
		s.lnext, l.head = l.head, s
	}
	if s.lnext != nil {
		s.lnext.lprev = s
	} else {
		l.tail = s
	}
	l.len++
}

func (l *lates) remove(s *Slot) {
	if s.lprev != nil {
		s.lprev.lnext = s.lnext
	} else {
		l.head = s.lnext
	}
	if s.lnext != nil {
		s.lnext.lprev = s.lprev
	} else {
		l.tail = s.lprev
	}
	s.lprev, s.lnext = nil, nil
	l.len--
}
