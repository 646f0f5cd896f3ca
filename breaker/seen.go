package breaker

import (
	"math"
	"slices"
	"time"
)

// seenSize is how many places the table of seen stores has. A zone's stores
// are counted well up to about three times as many.
const seenSize = 1024

// seenFew is how many stores are remembered by themselves, before there is a table:
// most zones of those who have a zone for each tenant have one.
const seenFew = 8

// seen remembers which stores of a zone had a success and when.
type seen struct {
	few   []seenStore // until there is a table
	table *seenTable
}

type seenStore struct {
	hash uint64
	at   int64
}

// mark notes a success of the store.
func (t *seen) mark(hash uint64, now int64) {
	if t.table != nil {
		t.table.mark(hash, now)
		return
	}
	for i := range t.few {
		if t.few[i].hash == hash {
			t.few[i].at = now
			return
		}
	}
	if len(t.few) < seenFew {
		t.few = append(t.few, seenStore{hash, now})
		return
	}
	t.table = new(seenTable)
	for _, s := range t.few {
		t.table.mark(s.hash, s.at)
	}
	t.few = nil
	t.table.mark(hash, now)
}

// at is when the store had its latest success, if that is known.
func (t *seen) at(hash uint64) (int64, bool) {
	if t.table != nil {
		return t.table.at(hash)
	}
	for _, s := range t.few {
		if s.hash == hash {
			return s.at, true
		}
	}
	return 0, false
}

// since reports whether the store is known to have had a success after t0.
func (t *seen) since(hash uint64, t0 int64) bool {
	if t.table != nil {
		return t.table.since(hash, t0)
	}
	at, ok := t.at(hash)
	return ok && at > t0
}

// count is how many stores had a success at or after t0.
func (t *seen) count(t0 int64) (n int) {
	if t.table != nil {
		return t.table.count(t0)
	}
	for _, s := range t.few {
		if s.at >= t0 {
			n++
		}
	}
	return n
}

// clone is a copy that does not change.
func (t *seen) clone() *seen {
	c := &seen{few: slices.Clone(t.few)}
	if t.table != nil {
		table := *t.table
		c.table = &table
	}
	return c
}

// seenTable remembers which stores of a zone had a success and when, without an
// object per store: a store's hash picks a place, which holds the first bits of
// the hash and the time. When another store of the same place succeeds, the entry
// moves to a second table, and is forgotten when another displaced one falls on
// its place there. The count corrects for shared places, and "when" errs on the
// side of "not lately".
type seenTable struct {
	places    [seenSize]uint64
	displaced [seenSize]uint64 // by the first bits of the hash
}

// An entry is the first bits of a store's hash, and the time in ticks, which last
// for 348 years.
const (
	seenTick     = int64(10 * time.Millisecond)
	seenTickBits = 40
	seenTicks    = 1<<seenTickBits - 1
)

func seenEntry(hash uint64, now int64) (place, entry uint64) {
	return hash % seenSize, hash&^seenTicks | uint64(now/seenTick)
}

// mark notes a success of the store.
func (t *seenTable) mark(hash uint64, now int64) {
	place, entry := seenEntry(hash, now)
	if old := t.places[place]; old != 0 && (old^entry)>>seenTickBits != 0 {
		t.displaced[old>>seenTickBits%seenSize] = old
	}
	t.places[place] = entry
}

// find is when the store had its latest success, in ticks, if the table knows.
func (t *seenTable) find(hash uint64) (tick int64, ok bool) {
	place, entry := seenEntry(hash, 0)
	for _, got := range [...]uint64{t.places[place], t.displaced[entry>>seenTickBits%seenSize]} {
		if got != 0 && (got^entry)>>seenTickBits == 0 {
			return int64(got & seenTicks), true
		}
	}
	return 0, false
}

// since reports whether the store is known to have had a success after t0.
func (t *seenTable) since(hash uint64, t0 int64) bool {
	tick, ok := t.find(hash)
	return ok && tick > t0/seenTick
}

// at is when the store had its latest success, if the table knows.
func (t *seenTable) at(hash uint64) (int64, bool) {
	tick, ok := t.find(hash)
	return tick * seenTick, ok
}

// count estimates how many stores had a success at or after t0. With few
// stores it is exact but for two stores in one place; with many the number of
// used places tells how many collided (linear counting: n = -m ln(empty/m)).
func (t *seenTable) count(t0 int64) int {
	from, used := uint64(max(0, t0)/seenTick), 0
	for _, e := range t.places {
		if e != 0 && e&seenTicks >= from {
			used++
		}
	}
	if used == seenSize {
		used--
	}
	empty := float64(seenSize-used) / seenSize
	return int(math.Round(-seenSize * math.Log(empty)))
}
