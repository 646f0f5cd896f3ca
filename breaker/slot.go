package breaker

import (
	"sync/atomic"
	"time"

	"github.com/firebreak-proxy/firebreak/config"
)

type phase uint8

const (
	live   phase = iota // within its deadline, the client waits
	hung                // the client is done with, the worker is still busy
	stream              // left the slots after its headers
	ended
)

// Slot is the occupation of one worker by one request, from admission until
// the worker is known to be free. Its methods may be called in any order, any
// number of times and from any goroutine: the first verdict counts, the first
// end ends it. An owner that reports nothing is reported for: the slot hangs a
// second after its deadline.
type Slot struct {
	z         *zone
	policy    *config.ZonePolicy
	store     string
	hash      uint64
	start     int64
	timeout   int64
	slowAfter int64
	tracked   atomic.Bool
	check     bool // a check of a recovery, see AdmitCheck
	endsOpen  bool // its success speaks for ending an open state

	// Guarded by z.mu, as all below.
	phase      phase
	settled    bool  // the verdict is in
	left       bool  // the client left early; what that means is not known yet
	answering  bool  // headers are out, a body is on its way
	counted    bool  // the time to the first byte is counted
	hungAt     int64 // when phase became hung
	awaiting   int64 // since when it waits for its client, see AwaitClient; 0: it does not
	prev, next *Slot // in the zone's slots

	server *server // where the request went; nil: not known (yet)
	sentAt int64   // when it was booked there

	class        class
	aged         bool   // it was counted as aging
	witness      bool   // its silence speaks against the zone
	late         bool   // unanswered for longer than the zone's patience
	question     bool   // late, and nothing explains it yet
	struck       bool   // counted as a strike of its store
	void         bool   // its silence is its server's
	asks         bool   // its store is unproven, and it is not late
	second       bool   // it asks its store, which is in doubt, again
	retry        bool   // it tries its quarantined store again
	silence      uint32 // the number of the silence that it is counted in; 0: none
	lprev, lnext *Slot  // in the zone's late slots

	storePass permit // probe of the store
	zonePass  permit // probe of the zone

	request     string // the tag of its queries in the zone's database, see Tag
	cancelledAt int64  // when one was cancelled there, so that its end says nothing; 0: none was

	abandonedAt int64 // when its connection was closed, which its worker does not notice; 0: it was not
	remembered  int64 // when it was taken over from an earlier process; 0: it was not
}

// Timeout is the time from admission until the first byte must be there.
func (s *Slot) Timeout() time.Duration { return time.Duration(s.timeout) }

// Policy is the zone's policy when the slot was opened.
func (s *Slot) Policy() *config.ZonePolicy { return s.policy }

// Tag tells by which id the request's queries are known in the zone's database. If
// the slot hangs, and the zone's check says so, they are cancelled there.
func (s *Slot) Tag(request string) {
	s.z.mu.Lock()
	defer s.z.mu.Unlock()
	s.request = request
}

// Track declares that the owner sees the worker's real end and will report it with
// End. Without it a slot that hangs is held for hung_hold.
func (s *Slot) Track() {
	s.tracked.Store(true)
}

// Answer reports the verdict in time, as a rule at the first byte. The worker
// stays occupied until End.
func (s *Slot) Answer(o Outcome) {
	s.do(func(z *zone, now int64) {
		if s.phase != live {
			z.noteFirstByte(s, now)
			return
		}
		z.heard(s)
		s.answering = true
		z.noteFirstByte(s, now)
		z.settle(s, o, now)
	})
}

// FirstByte counts the time to the first byte of a response whose verdict is
// not known yet. [Slot.Answer] does so by itself.
func (s *Slot) FirstByte() {
	s.do(func(z *zone, now int64) { z.noteFirstByte(s, now) })
}

// Hang reports that the deadline has passed, or that the body stalled, and
// that the client has been answered: the slot turns from live to hung.
func (s *Slot) Hang() {
	s.do(func(z *zone, now int64) {
		if s.phase != live {
			return
		}
		z.turnHung(s, now)
		if s.settled {
			z.totals.stalled++ // it answered, and then its body stalled
			return
		}
		z.settle(s, Hung, now)
	})
}

// Leave reports that the client left. Before slow_after that means nothing by
// itself; the slot stays on the books as hung, and should it still be there at
// slow_after it counts as hung: clients with short timeouts must not hide an
// outage.
func (s *Slot) Leave() {
	s.do(func(z *zone, now int64) {
		if s.phase != live {
			return
		}
		z.turnHung(s, now)
		if s.settled {
			return
		}
		s.left = true
		if !s.awaitsClient() && now-s.start >= s.slowAfter {
			z.settle(s, GoneLate, now)
		}
	})
}

// Stream moves the slot out of the zone's slots into its streams, once the
// headers of a stream are out. If the zone has max_streams already it reports
// false, and the slot stays a slot.
func (s *Slot) Stream() bool {
	moved := false
	s.do(func(z *zone, now int64) {
		if s.phase != live || z.streams >= s.policy.MaxStreams {
			return
		}
		if !s.settled {
			z.settle(s, OK, now)
		}
		z.remove(s)
		z.streams++
		s.phase, moved = stream, true
	})
	return moved
}

// End reports that the worker is free again. o is the outcome if there was
// none yet, or the late answer of a hung request, which is evidence too. A hung
// slot that is not tracked is held for hung_hold instead. One that is [Abandoned],
// since its connection was closed, keeps its worker until the server was restarted
// or has left: a worker does not notice a closed connection.
func (s *Slot) End(o Outcome) {
	defer s.z.g.survive()
	if s.z.endAnswered(s) {
		s.z.g.wake()
		return
	}
	s.do(func(z *zone, now int64) {
		if s.phase == hung && (s.abandonedAt != 0 || o == Abandoned) {
			z.abandon(s, now)
			return
		}
		if s.phase == hung && !s.tracked.Load() {
			return
		}
		if s.awaitsClient() {
			o = Gone
		}
		z.end(s, o, now)
	})
}

// endAnswered ends a slot whose request was answered, which is what happens to
// nearly all: no clock is read for it. It reports false if there is more to do.
func (z *zone) endAnswered(s *Slot) bool {
	z.mu.Lock()
	defer z.mu.Unlock()
	if s.phase != live || !s.settled || z.waiters.count > 0 {
		return false
	}
	z.end(s, OK, 0)
	return true
}

// do runs f under the zone's lock and hands out what came free.
func (s *Slot) do(f func(z *zone, now int64)) {
	z := s.z
	defer z.g.survive()
	z.do(f)
	z.g.wake()
}

// do runs f under the zone's lock and serves the zone's waiting requests.
func (z *zone) do(f func(z *zone, now int64)) {
	now := z.g.now()
	z.mu.Lock()
	defer z.mu.Unlock()
	f(z, now)
	if z.waiters.count > 0 {
		z.serve(now)
	}
}

// unanswered reports whether the worker was not heard from yet. The silence of a
// check is no evidence, nor is that of a request that waits for its client.
func (s *Slot) unanswered() bool {
	return !s.check && !s.awaitsClient() && (s.phase == hung || s.phase == live && !s.answering)
}

// silent reports whether the slot counts as unanswered: its silence is not its
// server's.
func (s *Slot) silent() bool { return s.unanswered() && !s.void }

// aging reports whether the slot is unanswered for longer than slow_after, so
// that it is evidence.
func (s *Slot) aging(now int64) bool {
	return s.silent() && now-s.start >= s.slowAfter && s.remembered == 0
}

// slotList is the open slots of a zone in order of admission.
type slotList struct {
	head, tail *Slot
	len        int
}

func (l *slotList) push(s *Slot) {
	s.prev, s.next = l.tail, nil
	if l.tail != nil {
		l.tail.next = s
	} else {
		l.head = s
	}
	l.tail = s
	l.len++
}

// pushFront is for slots that are older than all others.
func (l *slotList) pushFront(s *Slot) {
	s.prev, s.next = nil, l.head
	if l.head != nil {
		l.head.prev = s
	} else {
		l.tail = s
	}
	l.head = s
	l.len++
}

func (l *slotList) remove(s *Slot) {
	if s.prev != nil {
		s.prev.next = s.next
	} else {
		l.head = s.next
	}
	if s.next != nil {
		s.next.prev = s.prev
	} else {
		l.tail = s.prev
	}
	s.prev, s.next = nil, nil
	l.len--
}
