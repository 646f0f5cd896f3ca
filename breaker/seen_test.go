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
	hashes := []uint64{5 + 1<<32, 5 + 2<<32, 5 + 3<<32}
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
	if table.since(5+4<<32, start) {
		t.Error("a store that never succeeded is known")
	}
	if n := table.count(start); n != 1 {
		t.Errorf("%d stores are counted in one place", n)
	}
}
