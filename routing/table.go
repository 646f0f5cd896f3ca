package routing

import (
	"hash/maphash"
	"slices"
)

// Table is an immutable directory in memory. It takes about 26 bytes for a
// store with a 13-byte id, and holds few pointers, so that the garbage
// collector does not walk a million stores.
//
// A million stores do not fit into the processor's caches, and to wait for one
// line of memory takes longer than all the rest of a lookup. So the records of
// names are kept in the order of their hashes: a lookup reads one element of
// runs, which are small, and one run, mostly within one line.
//
//	runs    by the name's hash; the place of a run; 0, an empty one
//	run     the records of all names of that hash, a byte 0
//	order   the places of all records in the order of the source
type Table struct {
	seed    maphash.Seed
	runs    []place
	records chunks
	order   []place
	zones   []string // by the number used in records
	sorted  []string
	stores  int
}

func hashName(seed maphash.Seed, name string) uint32 {
	return uint32(maphash.String(seed, name))
}

// runOf returns the number of the run of a name.
func (t *Table) runOf(name string) int {
	return int(uint64(hashName(t.seed, name)) * uint64(len(t.runs)) >> 32)
}

// Lookup implements [Directory].
func (t *Table) Lookup(key string) (Route, bool) {
	if len(t.runs) == 0 {
		return Route{}, false
	}
	for run := t.records.from(t.runs[t.runOf(key)]); run[0] != 0; {
		var rec record
		if rec, run = cutRecord(run); rec.name == key {
			return t.route(rec), true
		}
	}
	return Route{}, false
}

func (t *Table) route(rec record) Route {
	return Route{Store: rec.store, Zone: t.zones[rec.zone]}
}

// Zones implements [Directory].
func (t *Table) Zones() []string { return slices.Clone(t.sorted) }

// Len implements [Lister].
func (t *Table) Len() int { return t.stores }

// Keys returns the number of names a lookup can find: store ids and keys.
func (t *Table) Keys() int { return len(t.order) }

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
		return yield(rec.store)
	})
}

// EachName calls yield with every name a lookup can find and with what it
// finds, until yield returns false. A store's own id comes before its keys.
func (t *Table) EachName(yield func(name string, route Route) bool) {
	t.each(func(rec record) bool { return yield(rec.name, t.route(rec)) })
}

// each calls yield with every record in the order of the source.
func (t *Table) each(yield func(record) bool) {
	for _, at := range t.order {
		if rec, _ := cutRecord(t.records.from(at)); !yield(rec) {
			return
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
