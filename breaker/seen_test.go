package breaker

import (
	"testing"
	"time"
)

// TestSeenSharedPlace: stores whose hashes pick the same place are all known,
// and count once.
func TestSeenSharedPlace(t *testing.T) {
	const start = int64(time.Hour)
	var table seen
	hashes := []uint64{5 + 1<<40, 5 + 2<<40, 5 + 3<<40}
	for round := range int64(3) {
		for _, hash := range hashes {
			table.mark(hash, start+round*int64(time.Second))
		}
	}
	for _, hash := range hashes {
		if at, ok := table.at(hash); !ok || at != start+2*int64(time.Second) {
			t.Errorf("store %x: last success at %s, known %t", hash, time.Duration(at-start), ok)
		}
		if !table.since(hash, start+int64(time.Second)) || table.since(hash, start+3*int64(time.Second)) {
			t.Errorf("store %x should have succeeded after 1 s, but not after 3 s", hash)
		}
	}
	if table.since(5+4<<40, start) {
		t.Error("a store that never succeeded is known")
	}
	if n := table.count(start); n != 1 {
		t.Errorf("%d stores are counted in one place", n)
	}
}

// TestSeenForYears: an old success stays old, however long the process runs.
func TestSeenForYears(t *testing.T) {
	const store, day = uint64(5 + 1<<40), 24 * int64(time.Hour)
	var table seen
	table.mark(store, day)
	for _, days := range []int64{2, 100, 250, 400, 467, 468, 497, 498, 600, 1000, 20000} {
		if table.since(store, days*day) || table.count(days*day) != 0 {
			t.Errorf("a success of the first day is taken for one after day %d", days)
		}
		later := table
		later.mark(store, days*day+int64(time.Second))
		if at, ok := later.at(store); !later.since(store, days*day) || !ok || at != days*day+int64(time.Second) {
			t.Errorf("a success of day %d is not known: it is taken to be at %s", days, time.Duration(at))
		}
	}
}
