package fleet

import "sync/atomic"

// Counts are what a fleet has done.
type Counts struct {
	Sent, SentBytes, SendFailures   atomic.Int64 // messages; bytes; messages
	Received, ReceivedBytes         atomic.Int64 // own ones that came back included
	Agreements, Vetoes, Discredited atomic.Int64
	LeasesAsked                     atomic.Int64
	LeasesGranted, LeasesRefused    atomic.Int64
	LeasesFailed                    atomic.Int64 // no answer came
	Panics                          atomic.Int64
	Connected                       atomic.Bool  // messages come back
	Sidecars                        atomic.Int64 // that were heard lately, this one included
	dropped                         [drops]atomic.Int64
}

// Dropped calls yield with each reason for which messages did not count, and how many
// there were.
func (c *Counts) Dropped(yield func(Drop, int64) bool) {
	for d := NotDropped + 1; d < drops; d++ {
		if !yield(d, c.dropped[d].Load()) {
			return
		}
	}
}
