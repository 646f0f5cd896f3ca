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
// hash and the time. A store that shares its place with another is forgotten
// when the other succeeds; the count corrects for that, and "when" errs on the
// side of "not lately".
type seen [seenSize]uint64

const seenTick = int64(10 * time.Millisecond)

func seenEntry(hash uint64, now int64) (place, entry uint64) {
	return hash % seenSize, hash&^math.MaxUint32 | uint64(uint32(now/seenTick))
}

// mark notes a success of the store.
func (t *seen) mark(hash uint64, now int64) {
	place, entry := seenEntry(hash, now)
	t[place] = entry
}

// since says whether the store is known to have had a success at or after t0.
func (t *seen) since(hash uint64, t0 int64) bool {
	place, entry := seenEntry(hash, t0)
	got := t[place]
	return got>>32 == entry>>32 && got != 0 && uint32(got) > uint32(entry)
}

// count estimates how many stores had a success at or after t0. With few
// stores it is exact but for two stores in one place; with many the number of
// used places tells how many collided (linear counting: n = -m ln(empty/m)).
func (t *seen) count(t0 int64) int {
	from, used := uint32(t0/seenTick), 0
	for _, e := range t {
		if e != 0 && uint32(e) >= from {
			used++
		}
	}
	if used == seenSize {
		used--
	}
	empty := float64(seenSize-used) / seenSize
	return int(math.Round(-seenSize * math.Log(empty)))
}
