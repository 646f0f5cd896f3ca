package breaker

import (
	"hash/maphash"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/firebreak-proxy/firebreak/config"
)

var hashSeed = maphash.MakeSeed()

func (g *Guard) hashOf(store string) uint64 {
	if g.simulation != nil {
		return g.simulation.hashOf(store)
	}
	return maphash.String(hashSeed, store)
}

// zone is the state of one zone. A calm zone has no books: admitting and
// settling a request takes its lock for a few dozen nanoseconds and touches
// counters. The lock is never held over I/O, a callback or another zone's lock.
type zone struct {
	name string
	g    *Guard

	lastOKAt atomic.Int64 // copy of lastOK for readers without the lock
	occupied atomic.Int64 // copy of live+hung, likewise
	eventful atomic.Bool  // the sweeper has something to look at

	mu     sync.Mutex // guards below
	policy *config.ZonePolicy
	store  *config.StorePolicy

	slots     slotList // in order of admission
	live      int
	hung      int
	hungCheck int // of the hung ones, checks of recoveries
	explained int // stuck slots that take no room from the innocent

	remembered int // slots of an earlier process, see Remember
	trials     int // slots in the probe lane
	expresses  int // slots in the express lane
	streams    int
	lent       int   // probe slots lent beyond the policy's
	lentAt     int64 // when the probe lane was found full, or the last one was lent

	seen        *seen
	lastOK      int64  // latest success, and whose it was
	lastOKStore uint64 //
	otherOK     int64  // latest success of any other store
	fastOK      int64  // the same for successes that were not slow
	fastStore   uint64 //
	otherFast   int64  //
	latency     int64  // moving average of the time to a first byte that was ok

	state        State
	since        int64
	episodeSince int64
	openedAt     int64
	turn         int
	evidence     string
	machine      machine
	counted      bool // this opening is counted in the guard's openZones
	window       int  // requests at once in triage
	probing      int  // unsettled probes
	triages      int  // counts triages, so that results of an earlier one are told apart
	triageOK     int
	strikes      int // stores that failed in this triage
	lateOK       map[string]struct{}
	lastTrouble  int64
	idleSince    int64

	books    books
	broken   []broken          // connections that broke a moment ago
	bad      map[*record]int64 // stores that speak against the zone, and since when; see badStores
	slow     map[uint64]int64  // stores whose latest outcome was slow; only with slow_share
	culprits []Culprit         // of the last episodes
	worst    int

	held       *Hold            // by hand; nil: it is not held
	heldStores map[string]*Hold // stores held by hand

	waiters waitQueue

	checking atomic.Bool
	checkOK  bool  // latest result of the zone's check
	checkAt  int64 // when the latest check began

	passedAt int64               // when a store last passed a check of a recovery
	passed   map[string]struct{} // stores that passed one since the zone opened

	totals      totals
	refusals    map[Reason]uint64
	wouldRefuse map[Reason]uint64
	kept        *counts // of the last moments in which it was well
}

func newZone(g *Guard, name string, p *config.Policy) *zone {
	z := &zone{name: name, g: g, bad: make(map[*record]int64), checkOK: true}
	z.apply(p)
	return z
}

// apply puts the policy of a new configuration in force.
func (z *zone) apply(p *config.Policy) {
	policy, store := p.Zone(z.name), p.Store
	z.mu.Lock()
	defer z.mu.Unlock()
	z.policy, z.store = &policy, &store
	z.books.limit = store.Records
	if z.books.rest != nil {
		z.books.rest.Resize(max(1, store.Records))
	}
}

// inUse says that forgetting the zone would lose something.
func (z *zone) inUse() bool {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.slots.len > 0 || z.streams > 0 || z.state != Calm || z.waiters.len() > 0 || z.isHeld()
}

// isHeld says that people hold the zone's breaker or one of its stores'.
func (z *zone) isHeld() bool { return z.held != nil || len(z.heldStores) > 0 }

// shared is the bucket of unknown keys: nobody is to blame by name in it.
func (z *zone) shared() bool { return z.name == config.UnknownZone }

// limit is max_inflight as it stands now: beside its own limit a zone never
// takes more than half of the workers that are not hung elsewhere, so that
// several zones hanging one after the other cannot eat the pool.
func (z *zone) limit() int {
	limit := z.policy.MaxInflight
	return max(1, min(limit, z.halfOfWhatIsLeft()-z.probeSlots()))
}

// halfOfWhatIsLeft is half of the workers that are not hung elsewhere: what
// the zone may occupy at most, probe slots and explained slots included.
func (z *zone) halfOfWhatIsLeft() int {
	workers := z.g.policy.Load().Workers
	if workers == 0 {
		return math.MaxInt32
	}
	elsewhere := int(z.g.hung.Load()) - z.hung
	return max(1, (workers-elsewhere)/2)
}

func (z *zone) countLane(l lane, n int) {
	switch l {
	case trial:
		z.trials += n
	case express:
		z.expresses += n
	case regular:
	}
}

// probeSlots is how many slots the probe lane has now.
func (z *zone) probeSlots() int { return z.policy.ProbeSlots + z.lent }

// otherOKSince says that another store of the zone had a success since t.
func (z *zone) otherOKSince(hash uint64, t int64) bool {
	if z.lastOKStore != hash {
		return z.lastOK > t
	}
	return z.otherOK > t
}

// othersFastSince says that another store of the zone was answered, and not
// slowly, since t.
func (z *zone) othersFastSince(hash uint64, t int64) bool {
	if z.fastStore != hash {
		return z.fastOK > t
	}
	return z.otherFast > t
}

// suspectAfter is the age from which a request in flight makes its store wait
// behind others while room is scarce: four times what is usual in the zone.
// It is no evidence, only an order of precedence.
func (z *zone) suspectAfter() int64 {
	return min(max(4*z.latency, int64(100*time.Millisecond)), int64(z.policy.SlowAfter))
}

// inDoubt says that the zone has a request in flight for four times as long as
// is usual in it, and that nobody was answered since. That is no evidence either:
// but if several zones hang at the same moment, none of their requests is hung
// yet when the pool is full of them.
func (z *zone) inDoubt(now int64) bool {
	after := z.suspectAfter()
	if z.latency > 0 {
		after = min(after, max(4*z.latency, int64(20*time.Millisecond)))
	}
	for s := z.slots.head; s != nil && now-s.start >= after; s = s.next {
		if s.stuck() && s.start >= z.lastOK && s.remembered == 0 {
			return true
		}
	}
	return false
}

// reserve is how many workers of the pool are kept from zones in doubt, all
// together: a quarter. An eighth is, from requests that find out whether a zone
// is well, and from the first ones of a zone, without which it could not be
// judged. It is one worker at least, unless there is only one.
func (z *zone) reserve(workers int, probe bool) int {
	least := min(1, workers-1)
	if probe || z.live+z.hung < (z.policy.MaxInflight+1)/2 {
		return max(least, workers/8)
	}
	return max(least, workers/4)
}

// oldestStuck is when the oldest slot began that has no answer and is older
// than d, or 0.
func (z *zone) oldestStuck(now, d int64) int64 {
	for s := z.slots.head; s != nil && now-s.start >= d; s = s.next {
		if s.stuck() {
			return s.start
		}
	}
	return 0
}

// mostOccupied is how many workers the zone may occupy, whatever is explained:
// half of what is left, and no more than twice its own limit.
func (z *zone) mostOccupied() int {
	return min(z.halfOfWhatIsLeft(), 2*z.policy.MaxInflight)
}

// stuck counts the hung slots and those that are likely to hang, and their
// stores. Were the latter not counted, as many culprits again could come in
// while the explained slots of the first ones have made room.
func (z *zone) stuck(now int64) (slots, stores int) {
	age := int64(z.policy.SlowAfter)
	if z.explained > 0 {
		age = z.suspectAfter()
	}
	var seen map[uint64]struct{}
	for s := z.slots.head; s != nil; s = s.next {
		if s.check || s.phase != hung && (!s.stuck() || now-s.start < age) {
			continue
		}
		if seen == nil {
			seen = make(map[uint64]struct{})
		}
		slots++
		seen[s.hash] = struct{}{}
	}
	return slots, len(seen)
}

// okSince says that the store is known to have had a success since t.
func (z *zone) okSince(store string, hash uint64, t int64) bool {
	if r := z.books.get(store); r != nil && r.lastOK > t {
		return true
	}
	return z.seen != nil && z.seen.since(hash, t)
}

// proven says that the store had a success after the oldest hung slot of its
// zone began.
func (z *zone) proven(store string, hash uint64, now int64) bool {
	for s := z.slots.head; s != nil; s = s.next {
		if !s.check && (s.phase == hung || s.aging(now)) {
			return z.okSince(store, hash, s.start)
		}
	}
	return true
}
