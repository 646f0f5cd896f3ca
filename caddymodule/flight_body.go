package caddymodule

import (
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// flightGate is the client's request body, until it is shut.
type flightGate struct {
	src     io.ReadCloser // nil: there is no body
	mu      sync.Mutex    // held while reading
	reading atomic.Bool
	closed  atomic.Bool
	eof     atomic.Bool
	broke   atomic.Bool // the client ended it before its end
}

// waiting says that somebody waits for the client to send more.
func (g *flightGate) waiting() bool { return g.reading.Load() && !g.eof.Load() }

// unfinished says that there is a body that was not read to its end.
func (g *flightGate) unfinished() bool { return g.src != nil && !g.eof.Load() }

// shut makes sure that nobody reads the body any more. It reports whether the
// body was not read to its end.
func (g *flightGate) shut(w http.ResponseWriter) bool {
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
	return !g.eof.Load()
}

// flightBody is a flight seen as the request body of the next handlers.
type flightBody flight

// Read reads from the client, until the flight is cut.
func (b *flightBody) Read(p []byte) (int, error) {
	g := &b.body
	g.mu.Lock()
	defer g.mu.Unlock()
	g.reading.Store(true)
	defer g.reading.Store(false)
	if g.closed.Load() {
		return 0, errDeadline
	}
	n, err := g.src.Read(p)
	switch err {
	case nil:
	case io.EOF:
		g.eof.Store(true)
	default:
		g.broke.Store(true)
	}
	return n, err
}

// Close closes the client's body, until the flight is cut.
func (b *flightBody) Close() error {
	if b.body.closed.Load() {
		return nil
	}
	return b.body.src.Close()
}
