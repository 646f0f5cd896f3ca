package routing

import (
	"errors"
	"fmt"
	"hash/maphash"
	"math"
	"slices"
	"strings"
)

const (
	maxZones  = math.MaxUint16 + 1
	maxChunks = 1 << (32 - chunkBits)
)

// builder collects the names of a table under construction.
type builder struct {
	seed      maphash.Seed
	slots     []uint64
	lines     []uint32 // source line by slot, to name both lines of a conflict
	unit      string   // what comes before a line's number
	names     chunks
	last      strings.Builder // what the last of names is a view of
	zones     []string
	zoneIndex map[string]uint16
	stores    int
	keys      int
}

const (
	minSlots = 16
	// firstRecord leaves room so that no place is 0: a slot of value 0 is
	// empty.
	firstRecord = 1
)

func newBuilder() *builder {
	b := &builder{
		names:     make(chunks, 1),
		seed:      maphash.MakeSeed(),
		slots:     make([]uint64, minSlots),
		lines:     make([]uint32, minSlots),
		zoneIndex: make(map[string]uint16),
		unit:      "on line",
	}
	b.last.Write(make([]byte, firstRecord))
	return b
}

// table returns what was built. The builder must not be used afterwards.
func (b *builder) table() *Table {
	return &Table{
		seed:   b.seed,
		slots:  b.slots,
		names:  b.names,
		zones:  b.zones,
		sorted: slices.Sorted(slices.Values(b.zones)),
		stores: b.stores,
		keys:   b.keys,
	}
}

// add enters a store, its zone and its keys; empty keys are skipped. Line is
// its place in the source, 0 if the source has no lines. After an error the
// builder is good for finding more errors, not for a table.
func (b *builder) add(line uint32, store, zone string, keys []string) error {
	if err := checkName("store", store); err != nil {
		return err
	}
	z, err := b.zone(zone)
	if err != nil {
		return err
	}
	rec, err := b.addStore(line, store, z)
	if err != nil {
		return err
	}
	for _, key := range keys {
		if key == "" || key == store {
			continue
		}
		if err := b.addKey(line, key, rec); err != nil {
			return err
		}
	}
	return nil
}

// zone returns the number of a zone, new or known.
func (b *builder) zone(name string) (uint16, error) {
	if z, ok := b.zoneIndex[name]; ok {
		return z, nil
	}
	if err := CheckZoneName(name); err != nil {
		return 0, err
	}
	if len(b.zones) == maxZones {
		return 0, fmt.Errorf("zone %q is one too many, at most %d zones are allowed", name, maxZones)
	}
	name = strings.Clone(name)
	z := uint16(len(b.zones))
	b.zones = append(b.zones, name)
	b.zoneIndex[name] = z
	return z, nil
}

func (b *builder) addStore(line uint32, store string, zone uint16) (record, error) {
	hash := hashName(b.seed, store)
	old, slot, ok := b.names.find(b.slots, store, hash)
	switch {
	case !ok:
		rec := record{zone: zone, nameLen: uint8(len(store)), storeLen: uint8(len(store))}
		b.stores++
		return b.insert(line, slot, hash, store, rec)
	case !old.isStore():
		return record{}, fmt.Errorf("store %q is already a key of store %q%s", store, b.storeOf(old), b.where(slot))
	case old.zone != zone:
		return record{}, fmt.Errorf("store %q is in zone %q here but in zone %q%s",
			store, b.zones[zone], b.zones[old.zone], b.where(slot))
	}
	return old, nil
}

func (b *builder) addKey(line uint32, key string, store record) error {
	if err := checkName("key", key); err != nil {
		return err
	}
	hash := hashName(b.seed, key)
	old, slot, ok := b.names.find(b.slots, key, hash)
	switch {
	case !ok:
		rec := store
		rec.nameLen = uint8(len(key))
		_, err := b.insert(line, slot, hash, key, rec)
		return err
	case old.store == store.store:
		return nil
	case old.isStore():
		return fmt.Errorf("key %q of store %q is the id of another store%s", key, b.storeOf(store), b.where(slot))
	}
	return fmt.Errorf("key %q of store %q already belongs to store %q%s",
		key, b.storeOf(store), b.storeOf(old), b.where(slot))
}

// insert writes the record of a name and enters it at slot. A record without
// the place of a store id is the store's own.
func (b *builder) insert(line, slot, hash uint32, name string, rec record) (record, error) {
	at, err := b.room(recordHead + len(name))
	if err != nil {
		return record{}, err
	}
	rec.name = at + recordHead
	if rec.store == 0 {
		rec.store = rec.name
	}
	b.last.Write([]byte{
		byte(rec.zone), byte(rec.zone >> 8), rec.nameLen, rec.storeLen,
		byte(rec.store), byte(rec.store >> 8), byte(rec.store >> 16), byte(rec.store >> 24),
	})
	b.last.WriteString(name)
	b.names[len(b.names)-1] = b.last.String()
	b.slots[slot] = uint64(hash)<<32 | uint64(at)
	b.lines[slot] = line
	b.keys++
	if b.keys*4 > len(b.slots)*3 {
		b.grow()
	}
	return rec, nil
}

// room returns the place for a record of n bytes, in a new chunk if the last
// one is full.
func (b *builder) room(n int) (place, error) {
	if b.last.Len()+n > chunkSize {
		if len(b.names) == maxChunks {
			return 0, errors.New("the table is full: store ids and keys take more than 4 GiB")
		}
		b.names = append(b.names, "")
		b.last.Reset()
		b.last.Grow(chunkSize)
	}
	return place((len(b.names)-1)<<chunkBits | b.last.Len()), nil
}

// grow doubles the slots. The hash kept in a slot is all that is needed to
// place it anew.
func (b *builder) grow() {
	slots := make([]uint64, 2*len(b.slots))
	lines := make([]uint32, len(slots))
	mask := uint32(len(slots) - 1)
	for i, entry := range b.slots {
		if entry == 0 {
			continue
		}
		j := uint32(entry>>32) & mask
		for slots[j] != 0 {
			j = (j + 1) & mask
		}
		slots[j], lines[j] = entry, b.lines[i]
	}
	b.slots, b.lines = slots, lines
}

func (b *builder) storeOf(rec record) string { return b.names.text(rec.store, rec.storeLen) }

// where names the line that a name was first seen on.
func (b *builder) where(slot uint32) string {
	if b.lines[slot] == 0 {
		return ""
	}
	return fmt.Sprintf(" %s %d", b.unit, b.lines[slot])
}
