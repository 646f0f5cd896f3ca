package stale

import "sync/atomic"

// ways is how many requests share a set of the table: a cache line.
const ways = 8

// seen remembers which requests were asked before, and when the answer of each is
// to be copied next. It forgets, and takes two requests for the same in one of 2^32
// cases; both cost a copy, or delay one. It is safe for concurrent use.
//
// A word is a fingerprint of the request and the second from which its answer is to
// be copied. Second 0: it was asked once.
type seen struct {
	words []atomic.Uint64
	mask  uint64
}

// newSeen makes a table of at least n words.
func newSeen(n int64) *seen {
	size := uint64(ways)
	for int64(size) < n {
		size *= 2
	}
	return &seen{words: make([]atomic.Uint64, size), mask: size/ways - 1}
}

func (s *seen) set(hash uint64) []atomic.Uint64 {
	at := (hash & s.mask) * ways
	return s.words[at : at+ways]
}

// claimed is for how many seconds nobody else copies what somebody is about to.
const claimed = 2

// due reports whether the answer to a request is to be copied. If so, it is not due
// for others for a while.
func (s *seen) due(hash uint64, now uint32) bool {
	set, print := s.set(hash), hash>>32
	victim, oldest := 0, uint64(1)<<32
	for i := range set {
		word := set[i].Load()
		at := word & (1<<32 - 1)
		if word>>32 == print && word != 0 {
			if at > uint64(now) {
				return false
			}
			return set[i].CompareAndSwap(word, print<<32|uint64(now+claimed))
		}
		if at < oldest {
			victim, oldest = i, at
		}
	}
	if oldest == 0 && set[victim].Load() != 0 {
		// Among those that were asked once, each is as likely to go.
		victim = s.once(set, hash)
	}
	set[victim].Store(print << 32)
	return false
}

// once picks one of the requests of a set that were asked once.
func (s *seen) once(set []atomic.Uint64, hash uint64) int {
	start := int(hash>>29) % ways
	for i := range ways {
		if at := (start + i) % ways; set[at].Load()&(1<<32-1) == 0 {
			return at
		}
	}
	return start
}

// wait makes the answer to a request due at a second.
func (s *seen) wait(hash uint64, until uint32) {
	set, print := s.set(hash), hash>>32
	for i := range set {
		if word := set[i].Load(); word>>32 == print && word != 0 {
			set[i].Store(print<<32 | uint64(until))
			return
		}
	}
}

// bytes is how much memory the table takes.
func (s *seen) bytes() int64 { return int64(len(s.words)) * 8 }
