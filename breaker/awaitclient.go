package breaker

// AwaitClient reports whether the request waits for its client to send more of
// its body. While it does, the silence is the client's and says nothing about
// the store, the zone or the pool: the slot still counts as occupied, but it is
// neither stuck nor aging, it does not hang for lack of a report, and if it
// ends, the outcome is [Gone] unless there was an answer before. Afterwards the
// slot is younger by the time it has waited.
func (s *Slot) AwaitClient(on bool) {
	s.do(func(z *zone, now int64) {
		switch {
		case s.phase != live || on == s.awaitsClient():
		case on:
			if s.silent() {
				z.unmark(s)
			}
			s.awaiting = max(now, 1)
		default:
			z.rejuvenate(s, now-s.awaiting)
			s.awaiting = 0
			z.resume(s)
		}
	})
}

// resume counts the slot as unanswered again.
func (z *zone) resume(s *Slot) {
	if !s.silent() {
		return
	}
	if z.inFlight != nil {
		z.inFlight[s.hash]++
	}
	if s.witness && s.start > z.heardAt() {
		if z.since == nil || s.before(z.since) {
			z.since = s
		}
		z.silence.add(s)
	}
	if z.unlooked == nil || z.unlooked.start > s.start {
		z.unlooked = s
	}
}

// before reports whether the slot is before another one in the list of their zone.
func (s *Slot) before(other *Slot) bool {
	for next := s.next; next != nil && next.start == s.start; next = next.next {
		if next == other {
			return true
		}
	}
	return s.start < other.start
}

// awaitsClient reports whether the request waits for its client.
func (s *Slot) awaitsClient() bool { return s.awaiting != 0 }

// rejuvenate moves the start of a slot by d, and the slot to its new place in
// the list, which is in order of start.
func (z *zone) rejuvenate(s *Slot, d int64) {
	s.start += d
	after := s
	for after.next != nil && after.next.start <= s.start {
		after = after.next
	}
	if after == s {
		return
	}
	if z.unlooked == s {
		z.unlooked = s.next
	}
	if z.since == s {
		z.nextSince(s)
	}
	z.slots.remove(s)
	z.slots.insertAfter(after, s)
}

// insertAfter puts s behind a slot of the list.
func (l *slotList) insertAfter(after, s *Slot) {
	if after == l.tail {
		l.push(s)
		return
	}
	s.prev, s.next = after, after.next
	s.prev.next, s.next.prev = s, s
	l.len++
}
