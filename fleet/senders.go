package fleet

import (
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

const (
	maxSenders = 10_000

	// introduction is how long after its first message a sender does not count yet: all
	// that waited in a Redis that was stopped comes at once.
	introduction = 500 * time.Millisecond

	// maxLag is how much longer than usual a message may take.
	maxLag = time.Second

	// lagWindow is over how long the usual is found, twice: the sender's clock may
	// stand still with its machine.
	lagWindow   = 30 * time.Second
	lagMessages = 4
)

// Drop is why a message does not count.
type Drop uint8

// Reasons for which a message does not count.
const (
	NotDropped Drop = iota
	Unreadable      // or of another version
	Replayed        // no newer than one that was heard before
	Introduced      // the sender is not known for long enough
	Late            // took much longer than the sender's messages usually do
	Overflow        // messages came faster than they were read
	drops
)

var dropNames = [drops]string{"", "unreadable", "replayed", "introduction", "late", "overflow"}

// String is the reason in a word.
func (d Drop) String() string { return dropNames[d] }

// run is one run of a sidecar. The same sidecar after a restart is another one.
type run struct {
	id   string
	boot uint64
}

// sender is a run that was heard of.
type sender struct {
	run
	host        string
	seq         uint64
	first, last time.Duration // when it was heard

	// The least of the time of receipt less Sent: in this window, and in the last.
	usual, usualBefore time.Duration
	windowBegan        time.Duration
	windowMessages     int

	claims map[subject]struct{}
}

// senders are the sidecars that were heard of, the latest ones.
type senders struct {
	known *simplelru.LRU[run, *sender]
}

func newSenders(forgotten func(*sender)) senders {
	known, err := simplelru.NewLRU(maxSenders, func(_ run, s *sender) { forgotten(s) })
	if err != nil {
		panic(err) // the size is not positive
	}
	return senders{known: known}
}

// admit finds the sender of a message, and how much longer than usual the message took.
func (l senders) admit(now time.Duration, m *message) (s *sender, lag time.Duration, drop Drop) {
	id := run{m.ID, m.Boot}
	s, ok := l.known.Get(id)
	if !ok {
		s = &sender{run: id, host: m.Host, seq: m.Seq, first: now, last: now, usual: now - m.Sent, usualBefore: now - m.Sent, windowBegan: now, windowMessages: 1}
		l.known.Add(id, s)
		return s, 0, Introduced
	}
	if m.Seq <= s.seq {
		return s, 0, Replayed
	}
	s.seq = m.Seq
	lag = s.lag(now, m.Sent)
	switch {
	case lag > maxLag:
		return s, lag, Late
	case now-s.first < introduction:
		s.last = now
		return s, lag, Introduced
	}
	s.last = now
	return s, lag, NotDropped
}

func (s *sender) lag(now, sent time.Duration) time.Duration {
	offset := now - sent
	if now-s.windowBegan > lagWindow && s.windowMessages >= lagMessages {
		s.usualBefore, s.usual = s.usual, offset
		s.windowBegan, s.windowMessages = now, 0
	}
	s.windowMessages++
	s.usual = min(s.usual, offset)
	return offset - min(s.usual, s.usualBefore)
}

// heardSince counts the senders that were heard since then.
func (l senders) heardSince(then time.Duration) (n int) {
	for _, s := range l.known.Values() {
		if s.last >= then {
			n++
		}
	}
	return n
}
