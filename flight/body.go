package flight

import (
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/firebreak-proxy/firebreak/internal/upload"
)

// bodyGate is the client's request body, until it is shut.
type bodyGate struct {
	src     io.ReadCloser // nil: there is no body
	ahead   *upload.Body  // src, if its beginning was received ahead
	mu      sync.Mutex    // held while reading
	reading atomic.Bool
	closed  atomic.Bool
	eof     atomic.Bool
	broke   atomic.Bool // the client ended it before its end
	clock   clientClock
}

// unfinished reports whether the client has not sent all of the body, as far as is known.
func (g *bodyGate) unfinished() bool {
	return g.src != nil && !g.eof.Load() && (g.ahead == nil || !g.ahead.Complete())
}

// shut makes sure that the body is not read any more. It reports whether the
// client has not sent all of it.
func (g *bodyGate) shut(w http.ResponseWriter) bool {
	if g.src == nil {
		return false
	}
	g.closed.Store(true)
	if g.reading.Load() {
		// The one way to end a read that waits for the client.
		if http.NewResponseController(w).SetReadDeadline(time.Unix(1, 0)) != nil {
			return true
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.unfinished()
}

// clientClock measures how long a request waits for its client.
type clientClock struct {
	mu      sync.Mutex // guards below
	since   time.Time  // of the wait that goes on; zero: none does
	total   time.Duration
	recent  time.Duration // of total, since the client made progress
	arrived int           // bytes, since then
}

func (c *clientClock) start() {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.since = now
}

// stop ends a wait, in which n bytes came.
func (c *clientClock) stop(n int) {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	took := now.Sub(c.since)
	c.total, c.recent, c.arrived, c.since = c.total+took, c.recent+took, c.arrived+n, time.Time{}
	if c.arrived >= upload.Progress {
		c.recent, c.arrived = 0, 0
	}
}

// look returns the time waited so far, and if a wait goes on, how long it may
// still do so.
func (c *clientClock) look(now time.Time, patience time.Duration) (total, left time.Duration, waiting bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.since.IsZero() {
		return c.total, 0, false
	}
	took := now.Sub(c.since)
	return c.total + took, patience - c.recent - took, true
}

// requestBody is a flight seen as the request body of the next handlers.
type requestBody Flight

// Read reads from the client, until the flight is cut.
func (b *requestBody) Read(p []byte) (int, error) {
	g := &b.body
	g.mu.Lock()
	defer g.mu.Unlock()
	g.reading.Store(true)
	defer g.reading.Store(false)
	if g.closed.Load() {
		return 0, errDeadline
	}
	n, err := b.read(p)
	switch {
	case err == nil:
	case errors.Is(err, io.EOF):
		g.eof.Store(true)
	default:
		g.broke.Store(true)
	}
	return n, err
}

// read reads, and keeps the account of the time the client takes.
func (b *requestBody) read(p []byte) (int, error) {
	g := &b.body
	if g.ahead != nil && !g.ahead.Waits() {
		return g.src.Read(p)
	}
	b.slot.AwaitClient(true)
	defer b.slot.AwaitClient(false)
	g.clock.start()
	n, err := g.src.Read(p)
	g.clock.stop(n)
	return n, err
}

// Close closes the client's body, until the flight is cut.
func (b *requestBody) Close() error {
	if b.body.closed.Load() {
		return nil
	}
	return b.body.src.Close()
}
