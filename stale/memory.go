package stale

import (
	"crypto/rand"
	"hash/maphash"
	"strings"
	"sync/atomic"
	"time"
)

// Memory holds the answers of all handlers of a process. It is safe for concurrent
// use.
type Memory struct {
	key    [32]byte // of the identities; random, so that no sum can be made outside
	seed   maphash.Seed
	began  time.Time
	shards [shardCount]shard

	max       atomic.Int64
	used      atomic.Int64 // bytes of all answers, and of those on their way in
	capturing atomic.Int64 // of used: those on their way in
	stores    atomic.Int64 // that have answers
	seen      atomic.Pointer[seen]

	counts struct{ kept, evicted, purged, entries atomic.Int64 }
}

// shardCount is how many locks the stores share.
const shardCount = 64

// New makes a memory of so many bytes.
func New(maxBytes int64) *Memory {
	m := &Memory{seed: maphash.MakeSeed(), began: time.Now()}
	_, _ = rand.Read(m.key[:]) // never fails
	for i := range m.shards {
		m.shards[i].memory, m.shards[i].shelves = m, make(map[string]*shelf)
	}
	m.Resize(maxBytes)
	return m
}

// Resize changes how many bytes the memory may hold, and returns how many it could
// before.
func (m *Memory) Resize(maxBytes int64) (before int64) {
	before = m.max.Swap(maxBytes)
	if before == maxBytes {
		return before
	}
	old := m.seen.Swap(newSeen(maxBytes / 1024)) // 0.8 %
	if old != nil {
		m.used.Add(-old.bytes())
	}
	m.used.Add(m.seen.Load().bytes())
	for m.used.Load() > maxBytes && m.counts.entries.Load() > 0 {
		m.makeRoom("", 0)
	}
	return before
}

// Figures are what a memory holds and has done.
type Figures struct {
	Bytes    int64 `json:"bytes"`     // in use, its own overhead included
	MaxBytes int64 `json:"max_bytes"` // that it may use
	Answers  int64 `json:"answers"`
	Stores   int64 `json:"stores"` // that have answers in it

	// Since the process began: answers copied, evicted to make room or because they
	// were too old, and purged.
	Copied  int64 `json:"copied"`
	Evicted int64 `json:"evicted"`
	Purged  int64 `json:"purged"`
}

// Figures returns what the memory holds and has done.
func (m *Memory) Figures() Figures {
	return Figures{
		Bytes: m.used.Load(), MaxBytes: m.max.Load(), Answers: m.counts.entries.Load(), Stores: m.stores.Load(),
		Copied: m.counts.kept.Load(), Evicted: m.counts.evicted.Load(), Purged: m.counts.purged.Load(),
	}
}

func (m *Memory) shard(store string) *shard {
	return &m.shards[maphash.String(m.seed, store)%shardCount]
}

// PurgeStore forgets the answers of a store, and returns how many there were. Answers
// to requests that are under way are not kept.
func (m *Memory) PurgeStore(store string) (answers int) {
	s := m.shard(store)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.epoch.Add(1)
	return s.purge(s.shelves[store])
}

// PurgeZone forgets the answers of all stores of a zone.
func (m *Memory) PurgeZone(zone string) (answers int) {
	return m.purgeIf(func(s *shelf) bool { return s.zone == zone })
}

// PurgeAll forgets all answers.
func (m *Memory) PurgeAll() (answers int) {
	return m.purgeIf(func(*shelf) bool { return true })
}

func (m *Memory) purgeIf(doomed func(*shelf) bool) (answers int) {
	for i := range m.shards {
		s := &m.shards[i]
		s.mu.Lock()
		s.epoch.Add(1)
		for _, shelf := range s.shelves {
			if doomed(shelf) {
				answers += s.purge(shelf)
			}
		}
		s.mu.Unlock()
	}
	return answers
}

// sampled is how many stores are compared to find one that holds more than its share.
const sampled = 16

// makeRoom evicts answers until size more bytes fit, and takes them. It reports false
// if they do not fit. The answers that were asked for least recently go first: those
// of the store itself if it holds more than its share, else those of one that does.
// The caller holds no lock.
func (m *Memory) makeRoom(store string, size int64) bool {
	limit := m.max.Load()
	for used, tries := m.used.Add(size), 0; used > limit; used, tries = m.used.Load(), tries+1 {
		share := (used - size - m.capturing.Load() - m.seen.Load().bytes()) / max(m.stores.Load(), 1) // on average
		if tries > 4*shardCount || !m.evict(store, share, tries) && tries > 2*shardCount {
			m.used.Add(-size)
			return false
		}
	}
	return true
}

// evict evicts one answer. It reports false if it found none.
func (m *Memory) evict(store string, share int64, tries int) bool {
	if store != "" {
		s := m.shard(store)
		s.mu.Lock()
		own := s.shelves[store]
		if own != nil && own.bytes >= share {
			s.evictOldest(own)
			s.mu.Unlock()
			return true
		}
		s.mu.Unlock()
	}
	s := &m.shards[(int(m.counts.evicted.Load())+tries)%shardCount]
	s.mu.Lock()
	defer s.mu.Unlock()
	largest, n := (*shelf)(nil), 0
	for _, shelf := range s.shelves { // begins anywhere
		if largest == nil || shelf.bytes > largest.bytes {
			largest = shelf
		}
		if n++; n == sampled {
			break
		}
	}
	if largest == nil || largest.bytes < share && tries < shardCount {
		return false
	}
	s.evictOldest(largest)
	return true
}

// second is the second of the memory's life that a moment is in, from 1.
func (m *Memory) second(at time.Time) uint32 { return uint32(at.Sub(m.began)/time.Second) + 1 }

// own copies a string that may be part of a larger one.
func own(s string) string { return strings.Clone(s) }
