package routing

import (
	"hash/maphash"
	"slices"
)

// Table is an immutable directory in memory. It takes about 40 bytes for a
// store with a 13-byte id, and holds no pointers but a handful, so that the
// garbage collector does not walk a million stores.
//
//	slots   open addressing, linear probing; 0 is empty
//	        [ 32 bits of the name's hash | 32 bits offset of its record ]
//	arena   one record per name, a name being a store id or a key
//	        [ zone 2 | name length 1 | store length 1 | store offset 4 | name ]
//
// The store offset of a store's own record points at the name that follows
// it; that of a key points into the record of its store.
type Table struct {
	seed   maphash.Seed
	slots  []uint64
	arena  string
	zones  []string // by the number used in records
	sorted []string
	stores int
	names  int
}

const recordHead = 8

// record is one decoded entry of the arena.
type record struct {
	zone     uint16
	store    uint32 // offset of the store id
	storeLen uint8
	name     uint32 // offset of the name
	nameLen  uint8
}

func (r record) isStore() bool { return r.store == r.name }

// end is the offset of the next record.
func (r record) end() uint32 { return r.name + uint32(r.nameLen) }

func readRecord(arena string, off uint32) record {
	h := arena[off : off+recordHead]
	return record{
		zone:     uint16(h[0]) | uint16(h[1])<<8,
		nameLen:  h[2],
		storeLen: h[3],
		store:    uint32(h[4]) | uint32(h[5])<<8 | uint32(h[6])<<16 | uint32(h[7])<<24,
		name:     off + recordHead,
	}
}

// find returns the record of a name, or the slot where it would go.
func find(slots []uint64, arena, name string, hash uint32) (rec record, slot uint32, ok bool) {
	mask := uint32(len(slots) - 1)
	for i := hash & mask; ; i = (i + 1) & mask {
		entry := slots[i]
		if entry == 0 {
			return record{}, i, false
		}
		if uint32(entry>>32) != hash {
			continue
		}
		rec := readRecord(arena, uint32(entry))
		if arena[rec.name:rec.end()] == name {
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
	rec, _, ok := find(t.slots, t.arena, key, hashName(t.seed, key))
	if !ok {
		return Route{}, false
	}
	return Route{
		Store: t.arena[rec.store : rec.store+uint32(rec.storeLen)],
		Zone:  t.zones[rec.zone],
	}, true
}

// Zones implements [Directory].
func (t *Table) Zones() []string { return slices.Clone(t.sorted) }

// Len implements [Lister].
func (t *Table) Len() int { return t.stores }

// Keys returns the number of names a lookup can find: store ids and keys.
func (t *Table) Keys() int { return t.names }

// EachStore implements [Lister]. Stores come in the order of the source. The
// strings share memory with the table.
func (t *Table) EachStore(zone string, yield func(store string) bool) {
	want := slices.Index(t.zones, zone)
	if zone != "" && want < 0 {
		return
	}
	for off := uint32(recordHead); off < uint32(len(t.arena)); {
		rec := readRecord(t.arena, off)
		off = rec.end()
		if !rec.isStore() || zone != "" && int(rec.zone) != want {
			continue
		}
		if !yield(t.arena[rec.name:rec.end()]) {
			return
		}
	}
}
