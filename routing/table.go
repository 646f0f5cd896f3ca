package routing

import (
	"hash/maphash"
	"slices"
)

// Table is an immutable directory in memory. It takes about 40 bytes for a
// store with a 13-byte id, and holds few pointers, so that the garbage
// collector does not walk a million stores.
//
//	slots   open addressing, linear probing; 0 is empty
//	        [ 32 bits of the name's hash | 32 bits place of its record ]
//	names   one record per name, a name being a store id or a key
//	        [ zone 2 | name length 1 | store length 1 | place of store id 4 | name ]
//
// A store's own record has the place of the name that follows it, that of a
// key the place in the record of its store.
type Table struct {
	seed   maphash.Seed
	slots  []uint64
	names  chunks
	zones  []string // by the number used in records
	sorted []string
	stores int
	keys   int
}

// chunks hold the records, each in one piece. They are small so that building
// a table never copies much at once: the garbage collector cannot stop the
// world during a copy, and everybody would wait for it. A string that was
// handed out keeps one chunk in memory, not all.
type chunks []string

const (
	chunkBits = 16
	chunkSize = 1 << chunkBits
)

// place is the number of a chunk and an offset in it.
type place uint32

// text returns the n bytes at p.
func (c chunks) text(p place, n uint8) string {
	chunk, off := c[p>>chunkBits], int(p%chunkSize)
	return chunk[off : off+int(n)]
}

const recordHead = 8

// record is one decoded record.
type record struct {
	zone     uint16
	store    place
	storeLen uint8
	name     place
	nameLen  uint8
}

func (r record) isStore() bool { return r.store == r.name }

func (c chunks) record(p place) record {
	h := c.text(p, recordHead)
	return record{
		zone:     uint16(h[0]) | uint16(h[1])<<8,
		nameLen:  h[2],
		storeLen: h[3],
		store:    place(h[4]) | place(h[5])<<8 | place(h[6])<<16 | place(h[7])<<24,
		name:     p + recordHead,
	}
}

// find returns the record of a name, or the slot where it would go.
func (c chunks) find(slots []uint64, name string, hash uint32) (rec record, slot uint32, ok bool) {
	mask := uint32(len(slots) - 1)
	for i := hash & mask; ; i = (i + 1) & mask {
		entry := slots[i]
		if entry == 0 {
			return record{}, i, false
		}
		if uint32(entry>>32) != hash {
			continue
		}
		rec := c.record(place(entry))
		if c.text(rec.name, rec.nameLen) == name {
			return rec, i, true
		}
	}
}

func hashName(seed maphash.Seed, name string) uint32 {
	return uint32(maphash.String(seed, name))
}

// Lookup implements [Directory].
func (t *Table) Lookup(key string) (Route, bool) {
	if len(t.slots) == 0 {
		return Route{}, false
	}
	rec, _, ok := t.names.find(t.slots, key, hashName(t.seed, key))
	if !ok {
		return Route{}, false
	}
	return Route{Store: t.names.text(rec.store, rec.storeLen), Zone: t.zones[rec.zone]}, true
}

// Zones implements [Directory].
func (t *Table) Zones() []string { return slices.Clone(t.sorted) }

// Len implements [Lister].
func (t *Table) Len() int { return t.stores }

// Keys returns the number of names a lookup can find: store ids and keys.
func (t *Table) Keys() int { return t.keys }

// EachStore implements [Lister]. Stores come in the order of the source. The
// strings share memory with the table.
func (t *Table) EachStore(zone string, yield func(store string) bool) {
	want := slices.Index(t.zones, zone)
	if zone != "" && want < 0 {
		return
	}
	t.each(func(rec record) bool {
		if !rec.isStore() || zone != "" && int(rec.zone) != want {
			return true
		}
		return yield(t.names.text(rec.name, rec.nameLen))
	})
}

// EachName calls yield with every name a lookup can find and with what it
// finds, until yield returns false. A store's own id comes before its keys.
func (t *Table) EachName(yield func(name string, route Route) bool) {
	t.each(func(rec record) bool {
		return yield(t.names.text(rec.name, rec.nameLen),
			Route{Store: t.names.text(rec.store, rec.storeLen), Zone: t.zones[rec.zone]})
	})
}

// each calls yield with every record in the order of the source.
func (t *Table) each(yield func(record) bool) {
	for i, chunk := range t.names {
		off := 0
		if i == 0 {
			off = firstRecord
		}
		for off < len(chunk) {
			rec := t.names.record(place(i<<chunkBits | off))
			off += recordHead + int(rec.nameLen)
			if !yield(rec) {
				return
			}
		}
	}
}

// Digest tells tables apart: it depends on what a lookup finds, not on the
// order of the source, and is the same in every process.
func (t *Table) Digest() uint64 {
	var sum uint64
	t.EachName(func(name string, route Route) bool {
		// A zone name has no tab in it, and no name a control character.
		h := fnvMore(fnvMore(fnvMore(fnvStart, name), "\t"), route.Store)
		sum += fnvMore(fnvMore(h, "\t"), route.Zone)
		return true
	})
	return sum
}
