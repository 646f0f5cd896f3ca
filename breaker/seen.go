package breaker

import (
	"math"
	"time"
)

// seenSize is how many places the table of seen stores has. A zone's stores
// are counted well up to about three times as many.
const seenSize = 1024

// seen remembers which stores of a zone had a success and when, without an
// object per store: a store's hash picks a place, which holds the rest of the
// hash and the time. When another store of the same place succeeds, the entry
// moves to a second table, and is forgotten when another displaced one falls on
// its place there. The count corrects for shared places, and "when" errs on the
// side of "not lately".
type seen struct {
	places    [seenSize]uint64
	displaced [seenSize]uint64 // by the rest of the hash
}

const seenTick = int64(10 * time.Millisecond)

func seenEntry(hash uint64, now int64) (place, entry uint64) {
	return hash % seenSize, hash&^math.MaxUint32 | uint64(uint32(now/seenTick))
}

// mark notes a success of the store.
func (t *seen) mark(hash uint64, now int64) {
	place, entry := seenEntry(hash, now)
	if old := t.places[place]; old != 0 && old>>32 != entry>>32 {
		t.displaced[old>>32%seenSize] = old
	}
	t.places[place] = entry
}

// find is the store's entry, or 0.
func (t *seen) find(hash uint64) uint64 {
	place, entry := seenEntry(hash, 0)
	for _, got := range [...]uint64{t.places[place], t.displaced[entry>>32%seenSize]} {
		if got>>32 == entry>>32 {
			return got
		}
	}
	return 0
}

// since says whether the store is known to have had a success after t0.
func (t *seen) since(hash uint64, t0 int64) bool {
	_, entry := seenEntry(hash, t0)
	got := t.find(hash)
	return got != 0 && int32(uint32(got)-uint32(entry)) > 0 // ticks wrap after 497 days
}

// at is when the store had its latest success, if the table knows.
func (t *seen) at(hash uint64) (int64, bool) {
	got := t.find(hash)
	return int64(uint32(got)) * seenTick, got != 0
}

// count estimates how many stores had a success at or after t0. With few
// stores it is exact but for two stores in one place; with many the number of
// used places tells how many collided (linear counting: n = -m ln(empty/m)).
func (t *seen) count(t0 int64) int {
	from, used := uint32(t0/seenTick), 0
	for _, e := range t.places {
		if e != 0 && int32(uint32(e)-from) >= 0 {
			used++
		}
	}
	if used == seenSize {
		used--
	}
	empty := float64(seenSize-used) / seenSize
	return int(math.Round(-seenSize * math.Log(empty)))
}
