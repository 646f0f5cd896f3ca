package breaker

import (
	"cmp"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

const (
	bucketCount = 10
	recentCount = 8
)

// record is what firebreak keeps on one store during an episode.
type record struct {
	store    string
	buckets  [bucketCount]bucket // outcomes within the window
	recent   [recentCount]Outcome
	outcomes uint64 // how many outcomes there were; recent is a ring over them

	last     Outcome // latest outcome that was not neutral
	lastAt   int64
	lastOK   int64
	badInRow int

	hung     int   // hung slots now
	lastHung int64 // when the latest slot that hung began
	wasted   int64 // worker time lost in hung slots that have ended
	failures int

	quickError bool // its latest outcome is an error that came quickly

	askedAt  int64 // when it last sent a request, admitted or not
	firstBad int64
	lastBad  int64

	state    State // Calm, Open or HalfOpen
	machine  machine
	turn     int
	since    int64 // when state began
	evidence string
	cause    *Slot // the aging request that alone caused the quarantine: its success lifts it
	culprit  bool  // was in quarantine in this episode
}

type bucket struct {
	epoch     int64
	good, bad uint32
}

// note counts an outcome that is not neutral.
func (r *record) note(o Outcome, now int64, window time.Duration) {
	epoch := now / (int64(window) / bucketCount)
	b := &r.buckets[epoch%bucketCount]
	if b.epoch != epoch {
		*b = bucket{epoch: epoch}
	}
	r.last, r.lastAt, r.quickError = o, now, false
	r.recent[r.outcomes%recentCount] = o
	r.outcomes++
	if o.good() {
		b.good++
		r.badInRow, r.lastOK = 0, now
		return
	}
	b.bad++
	r.badInRow++
	r.lastBad = now
	if r.firstBad == 0 {
		r.firstBad = now
	}
	if o == Failure || o == Broken {
		r.failures++
	}
}

// counts is the outcomes within the window.
func (r *record) counts(now int64, window time.Duration) (good, bad int) {
	epoch := now / (int64(window) / bucketCount)
	for _, b := range r.buckets {
		if b.epoch > epoch-bucketCount {
			good += int(b.good)
			bad += int(b.bad)
		}
	}
	return good, bad
}

// pinned records hold live evidence and are never evicted.
func (r *record) pinned() bool { return r.state != Calm || r.hung > 0 || r.cause != nil }

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
