package lately

import (
	"testing"
	"time"
)

// TestSharedPlace: things whose hashes pick the same place are all known,
// and count once.
func TestSharedPlace(t *testing.T) {
	const start = int64(time.Hour)
	var seen table
	hashes := []uint64{5 + 1<<40, 5 + 2<<40, 5 + 3<<40}
	for round := range int64(3) {
		for _, hash := range hashes {
			seen.mark(hash, start+round*int64(time.Second))
		}
	}
	for _, hash := range hashes {
		if at, ok := seen.at(hash); !ok || at != start+2*int64(time.Second) {
			t.Errorf("store %x: last success at %s, known %t", hash, time.Duration(at-start), ok)
		}
		if !seen.since(hash, start+int64(time.Second)) || seen.since(hash, start+3*int64(time.Second)) {
			t.Errorf("store %x should have succeeded after 1 s, but not after 3 s", hash)
		}
	}
	if seen.since(5+4<<40, start) {
		t.Error("a store that never succeeded is known")
	}
	if n := seen.count(start); n != 1 {
		t.Errorf("%d stores are counted in one place", n)
	}
}

// TestForYears: what is long ago stays so, however long the process runs.
func TestForYears(t *testing.T) {
	const store, day = uint64(5 + 1<<40), 24 * int64(time.Hour)
	var seen table
	seen.mark(store, day)
	for _, days := range []int64{2, 100, 250, 400, 467, 468, 497, 498, 600, 1000, 20000} {
		if seen.since(store, days*day) || seen.count(days*day) != 0 {
			t.Errorf("a success of the first day is taken for one after day %d", days)
		}
		later := seen
		later.mark(store, days*day+int64(time.Second))
		if at, ok := later.at(store); !later.since(store, days*day) || !ok || at != days*day+int64(time.Second) {
			t.Errorf("a success of day %d is not known: it is taken to be at %s", days, time.Duration(at))
		}
	}
}

// TestFewAndMany: the first things are remembered by themselves, and are not
// forgotten when they become many.
func TestFewAndMany(t *testing.T) {
	const start = int64(time.Hour)
	hash := func(i int) uint64 { return uint64(i+1) << 40 * 7919 }
	var s Seen
	for i := range 3 * few {
		s.Mark(hash(i), start+int64(i)*int64(time.Second))
		for j := range i + 1 {
			if at, ok := s.At(hash(j)); !ok || at != start+int64(j)*int64(time.Second) {
				t.Fatalf("of %d stores: store %d known %t, at %s", i+1, j, ok, time.Duration(at-start))
			}
		}
		if i < few && s.Count(start) != i+1 {
			t.Errorf("%d stores counted, want %d", s.Count(start), i+1)
		}
		if s.Since(hash(i), start+int64(i)*int64(time.Second)) {
			t.Errorf("store %d had a success after its latest one", i)
		}
	}
	kept := s.Clone()
	s.Mark(hash(0), start+int64(time.Hour))
	if at, _ := kept.At(hash(0)); at != start {
		t.Error("a copy changes with its origin")
	}
}
