package workers

import (
	"context"
	"errors"
	"time"
)

// Reading is what a source says of a server at one moment.
type Reading struct {
	// How many requests the server can serve at once, if the source knows it. 0:
	// it does not.
	Workers int

	// Workers that serve a request, all at the same moment; or, as far as the
	// kernel can tell, that hold a connection.
	Busy int

	// Requests that wait for a worker.
	Queued int

	// Workers that serve a request whose client has closed its connection: they are
	// part of Busy. Only the kernel tells, about servers that it reaches by TCP.
	Left int

	// Requests that either wait or are being served. As long as there are any,
	// nothing can be said about how many workers there are at most.
	Unclear int
}

// Source tells how busy a server is. Its methods are safe for use by several
// goroutines.
type Source interface {
	// Read asks. It returns when ctx ends at the latest.
	Read(ctx context.Context) (Reading, error)
}

// LeftBehind is how many workers are busy with requests that the caller does not
// know of, as those of an earlier process are, by a reading of s. own is how many the
// caller has sent that occupy a worker.
func LeftBehind(s Source, r Reading, own int) int {
	if k, ok := s.(*Kernel); ok && k.network == "tcp" {
		return r.Left // idle connections are not taken for busy workers
	}
	return max(0, r.Busy-own)
}

// ErrNotHere means that no process on this machine, or in this network
// namespace, listens at the address of the server.
var ErrNotHere = errors.New("nothing listens there on this machine")

// settle is the time between the two readings of Steady. A free worker takes a
// connection in less.
const settle = 20 * time.Millisecond

// Steady reads, and once more if something waits: a request waits for a moment
// for an idle worker, too. It returns how many requests were in flight as of the
// reading; inFlight may return a negative number if that is not known.
func Steady(ctx context.Context, s Source, inFlight func() int) (Reading, int, error) {
	sent := inFlight()
	first, err := s.Read(ctx)
	if err != nil || first.Workers > 0 || first.Queued == 0 {
		return first, sent, err
	}
	select {
	case <-ctx.Done():
		return Reading{}, 0, ctx.Err()
	case <-time.After(settle):
	}
	sent = inFlight()
	second, err := s.Read(ctx)
	second.Busy = max(first.Busy, second.Busy)
	return second, sent, err
}
