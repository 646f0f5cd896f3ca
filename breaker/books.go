package breaker

import (
	"cmp"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

const recentCount = 8

// record is what is kept of one store during an episode, and while one of its
// requests is late.
type record struct {
	store    string
	recent   [recentCount]Outcome
	outcomes uint64 // how many outcomes there were; recent is a ring over them

	last       Outcome // latest outcome that was not neutral
	lastAt     int64
	answeredAt int64 // latest answer, with an error or without

	late      int // unanswered requests that are late
	questions int // those that nothing explains yet
	strikes   int // requests that hung since the latest answer, while others were answered

	hung     int   // hung slots now
	lastHung int64 // when the latest slot that hung began
	wasted   int64 // worker time lost in hung slots that have ended

	failures    int // errors in this episode
	errorsInRow int
	firstError  int64
	failed      bool // named for its errors in this episode

	askedAt  int64 // when it last sent a request, admitted or not
	firstBad int64
	lastBad  int64

	state    State // Calm, Open or HalfOpen
	machine  machine
	turn     int
	sure     bool  // in quarantine for more than what may be chance
	since    int64 // when state began
	evidence string
	byProbe  bool   // its probe in the database failed
	culprit  bool   // was in quarantine in this episode
	joint    *joint // what the rest of the fleet has said; nil: nothing
}

// note counts an outcome that is not neutral.
func (r *record) note(o Outcome, now int64) {
	r.last, r.lastAt = o, now
	r.recent[r.outcomes%recentCount] = o
	r.outcomes++
	if o.bad() {
		r.lastBad = now
		if r.firstBad == 0 {
			r.firstBad = now
		}
	}
}

// pinned records hold live evidence and are never evicted.
func (r *record) pinned() bool { return r.state != Calm || r.hung > 0 || r.late > 0 }

// lastErrorAt is when its latest outcome came, if that is an error.
func (r *record) lastErrorAt() int64 {
	if r.errorsInRow == 0 {
		return 0
	}
	return r.lastAt
}

func byStore(a, b *record) int { return cmp.Compare(a.store, b.store) }

// books is the records of a zone: the pinned ones, whose number is bounded by
// the pool and by the zone's stores, and the others in an LRU of bounded size.
type books struct {
	pins  map[string]*record
	rest  *simplelru.LRU[string, *record]
	limit int
}

// get is the store's record, or nil.
func (b *books) get(store string) *record {
	if b.rest == nil {
		return nil
	}
	if r, ok := b.pins[store]; ok {
		return r
	}
	r, _ := b.rest.Get(store)
	return r
}

// ensure is the store's record, opened if there is none.
func (b *books) ensure(store string) *record {
	if r := b.get(store); r != nil {
		return r
	}
	if b.rest == nil {
		b.pins = make(map[string]*record)
		b.rest, _ = simplelru.NewLRU[string, *record](max(1, b.limit), nil)
	}
	r := &record{store: store}
	b.rest.Add(store, r)
	return r
}

// repin moves the record to where it belongs after a change.
func (b *books) repin(r *record) {
	_, isPinned := b.pins[r.store]
	switch {
	case r.pinned() && !isPinned:
		b.rest.Remove(r.store)
		b.pins[r.store] = r
	case !r.pinned() && isPinned:
		delete(b.pins, r.store)
		b.rest.Add(r.store, r)
	}
}

// each visits every record until yield returns false.
func (b *books) each(yield func(*record) bool) {
	for _, r := range b.pins {
		if !yield(r) {
			return
		}
	}
	if b.rest == nil {
		return
	}
	for _, r := range b.rest.Values() {
		if !yield(r) {
			return
		}
	}
}

// clear closes the books at the end of an episode.
func (b *books) clear() { b.pins, b.rest = nil, nil }
