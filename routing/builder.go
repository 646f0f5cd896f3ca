package routing

import (
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
)

const (
	maxZones = 1 << 24
	minSlots = 16

	// maxChunks is half of what a place can tell apart: a table needs a little
	// more room than its builder.
	maxChunks = 1 << (31 - chunkBits)
)

// builder collects the names of a table under construction, in the order of
// the source.
//
//	slots   open addressing, linear probing; 0 is empty
//	        [ 32 bits of the name's hash | 32 bits place of its record ]
type builder struct {
	seed      maphash.Seed
	slots     []uint64
	lines     []uint32 // source line by slot, to name both lines of a conflict
	unit      string   // what comes before a line's number
	records   *recordWriter
	zones     []string
	zoneIndex map[string]uint32
	stores    int
	keys      int
}

func newBuilder() *builder {
	return &builder{
		seed:      maphash.MakeSeed(),
		slots:     make([]uint64, minSlots),
		lines:     make([]uint32, minSlots),
		unit:      "on line",
		records:   newRecordWriter(),
		zoneIndex: make(map[string]uint32),
	}
}

// table returns what was built. The builder must not be used afterwards.
func (b *builder) table() *Table {
	b.slots, b.lines = nil, nil // memory for the table
	t := &Table{
		seed:   b.seed,
		runs:   make([]place, b.keys),
		order:  make([]place, 0, b.keys),
		zones:  b.zones,
		sorted: slices.Sorted(slices.Values(b.zones)),
		stores: b.stores,
	}
	// The records of a run are a list: runs has the number in order of its
	// first, next that of the one after, both counted from 1.
	next := make([]place, b.keys)
	b.each(func(at place, rec record) {
		t.order = append(t.order, at)
		first := &t.runs[t.runOf(rec.name)]
		next[len(t.order)-1], *first = *first, place(len(t.order))
	})
	sorted := newRecordWriter()
	for run, first := range t.runs {
		if first > 0 {
			t.runs[run] = b.moveRun(sorted, t.order, next, first)
		}
	}
	t.records = sorted.chunks
	return t
}

// moveRun writes the records of a run to sorted, notes their new places in
// order and returns that of the first.
func (b *builder) moveRun(sorted *recordWriter, order, next []place, first place) place {
	size := 1
	for n := first; n > 0; n = next[n-1] {
		rec, _ := cutRecord(b.records.from(order[n-1]))
		size += rec.size()
	}
	run := sorted.room(size)
	at := run
	for n := first; n > 0; n = next[n-1] {
		rec, _ := cutRecord(b.records.from(order[n-1]))
		sorted.write(rec)
		order[n-1] = at
		at += place(rec.size())
	}
	sorted.writeEnd()
	return run
}

// each calls yield with every record in the order of the source.
func (b *builder) each(yield func(place, record)) {
	at := firstRecord
	for i, chunk := range b.records.chunks {
		rest := chunk[at%chunkSize:]
		for rest != "" {
			at = place(i<<chunkBits | (len(chunk) - len(rest)))
			var rec record
			rec, rest = cutRecord(rest)
			yield(at, rec)
		}
		at = 0
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
func (b *builder) zone(name string) (uint32, error) {
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
	z := uint32(len(b.zones))
	b.zones = append(b.zones, name)
	b.zoneIndex[name] = z
	return z, nil
}

func (b *builder) addStore(line uint32, store string, zone uint32) (record, error) {
	hash := hashName(b.seed, store)
	old, slot, ok := b.find(store, hash)
	switch {
	case !ok:
		b.stores++
		return b.insert(line, slot, hash, record{name: store, store: store, zone: zone})
	case !old.isStore():
		return record{}, fmt.Errorf("store %q is already a key of store %q%s", store, old.store, b.where(slot))
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
	old, slot, ok := b.find(key, hash)
	switch {
	case !ok:
		_, err := b.insert(line, slot, hash, record{name: key, store: store.store, zone: store.zone})
		return err
	case old.store == store.store:
		return nil
	case old.isStore():
		return fmt.Errorf("key %q of store %q is the id of another store%s", key, store.store, b.where(slot))
	}
	return fmt.Errorf("key %q of store %q already belongs to store %q%s", key, store.store, old.store, b.where(slot))
}

// find returns the record of a name, or the slot where it would go.
func (b *builder) find(name string, hash uint32) (rec record, slot uint32, ok bool) {
	mask := uint32(len(b.slots) - 1)
	for i := hash & mask; ; i = (i + 1) & mask {
		entry := b.slots[i]
		if entry == 0 {
			return record{}, i, false
		}
		if uint32(entry>>32) != hash {
			continue
		}
		if rec, _ := cutRecord(b.records.from(place(entry))); rec.name == name {
			return rec, i, true
		}
	}
}

// insert writes a record, enters it at slot and returns how it reads there.
func (b *builder) insert(line, slot, hash uint32, rec record) (record, error) {
	at := b.records.room(rec.size())
	if len(b.records.chunks) > maxChunks {
		return record{}, errTableFull
	}
	rec = b.records.write(rec)
	b.slots[slot] = uint64(hash)<<32 | uint64(at)
	b.lines[slot] = line
	b.keys++
	if b.keys*4 > len(b.slots)*3 {
		b.grow()
	}
	return rec, nil
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

// where names the line that a name was first seen on.
func (b *builder) where(slot uint32) string {
	if b.lines[slot] == 0 {
		return ""
	}
	return fmt.Sprintf(" %s %d", b.unit, b.lines[slot])
}
