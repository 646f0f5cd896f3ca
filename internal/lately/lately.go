// Package lately remembers to which of many things something happened, and when, in
// little memory: things are known by a hash, and about a thousand of those to which it
// happened last are remembered.
package lately

import (
	"math"
	"slices"
	"time"
)

// size is how many places the table has. Things are counted well up to about three times
// as many.
const size = 1024

// few is how many things are remembered by themselves, before there is a table.
const few = 8

// Seen remembers when something last happened to each of many things. The zero value
// remembers nothing.
type Seen struct {
	few   []thing // until there is a table
	table *table
}

type thing struct {
	hash uint64
	at   int64
}

// Mark notes that it happened.
func (t *Seen) Mark(hash uint64, now int64) {
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
	if len(t.few) < few {
		t.few = append(t.few, thing{hash, now})
		return
	}
	t.table = new(table)
	for _, s := range t.few {
		t.table.mark(s.hash, s.at)
	}
	t.few = nil
	t.table.mark(hash, now)
}

// At is when it last happened, if that is known.
func (t *Seen) At(hash uint64) (int64, bool) {
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

// Since reports whether it is known to have happened after t0.
func (t *Seen) Since(hash uint64, t0 int64) bool {
	if t.table != nil {
		return t.table.since(hash, t0)
	}
	at, ok := t.At(hash)
	return ok && at > t0
}

// Count estimates to how many things it happened at or after t0.
func (t *Seen) Count(t0 int64) (n int) {
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

// Clone is a copy that does not change.
func (t *Seen) Clone() *Seen {
	c := &Seen{few: slices.Clone(t.few)}
	if t.table != nil {
		copied := *t.table
		c.table = &copied
	}
	return c
}

// table remembers without an object per thing: its hash picks a place, which holds the
// first bits of the hash and the time. When it happens to another thing of the same place, the entry
// moves to a second table, and is forgotten when another displaced one falls on
// its place there. The count corrects for shared places, and "when" errs on the
// side of "not lately".
type table struct {
	places    [size]uint64
	displaced [size]uint64 // by the first bits of the hash
}

// An entry is the first bits of a hash, and the time in ticks, which last
// for 348 years.
const (
	tickLength = int64(10 * time.Millisecond)
	tickBits   = 40
	ticks      = 1<<tickBits - 1
)

func entryOf(hash uint64, now int64) (place, entry uint64) {
	return hash % size, hash&^ticks | uint64(now/tickLength)
}

// mark notes that it happened.
func (t *table) mark(hash uint64, now int64) {
	place, entry := entryOf(hash, now)
	if old := t.places[place]; old != 0 && (old^entry)>>tickBits != 0 {
		t.displaced[old>>tickBits%size] = old
	}
	t.places[place] = entry
}

// find is when it last happened, in ticks, if the table knows.
func (t *table) find(hash uint64) (tick int64, ok bool) {
	place, entry := entryOf(hash, 0)
	for _, got := range [...]uint64{t.places[place], t.displaced[entry>>tickBits%size]} {
		if got != 0 && (got^entry)>>tickBits == 0 {
			return int64(got & ticks), true
		}
	}
	return 0, false
}

// since reports whether it is known to have happened after t0.
func (t *table) since(hash uint64, t0 int64) bool {
	tick, ok := t.find(hash)
	return ok && tick > t0/tickLength
}

// at is when it last happened, if the table knows.
func (t *table) at(hash uint64) (int64, bool) {
	tick, ok := t.find(hash)
	return tick * tickLength, ok
}

// count estimates to how many things it happened at or after t0. With few
// things it is exact but for two of them in one place; with many the number of
// used places tells how many collided (linear counting: n = -m ln(empty/m)).
func (t *table) count(t0 int64) int {
	from, used := uint64(max(0, t0)/tickLength), 0
	for _, e := range t.places {
		if e != 0 && e&ticks >= from {
			used++
		}
	}
	if used == size {
		used--
	}
	empty := float64(size-used) / size
	return int(math.Round(-size * math.Log(empty)))
}
