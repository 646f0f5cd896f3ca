package routing

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// ErrBodyLate means that a request body had not arrived in full when the time
// to look for a key in it was up. The request can go on: its body is whole.
var ErrBodyLate = errors.New("the request body came too late to find the key in it")

// errBodyLarge means that a body is larger than may be looked at.
var errBodyLarge = errors.New("the request body is too large to find the key in it")

// minPeekBuffer is the room for a body of unknown or large size, so that
// claiming a large body costs the client its bytes.
const minPeekBuffer = 2048

// peekBody reads the whole body, but at most limit bytes and for at most
// wait, and puts a body in its place that gives the same bytes and the same
// error again. It returns the body if it was read in full.
//
// Each read runs on a goroutine of its own and is left to itself when the time
// is up. A read deadline on the connection would be simpler, but cannot be
// taken back: after a failed read net/http cancels an HTTP/1 request and
// breaks the body of an HTTP/2 request.
func peekBody(r *http.Request, limit int64, wait time.Duration) ([]byte, error) {
	if r.ContentLength > limit {
		return nil, errBodyLarge
	}
	if r.ContentLength > 0 {
		limit = r.ContentLength
	}
	p := &peekedBody{src: r.Body, buf: make([]byte, 0, min(limit, minPeekBuffer))}
	r.Body = p
	timer := time.NewTimer(wait)
	defer timer.Stop()
	results := make(chan readResult, 1)
	for p.err == nil && int64(len(p.buf)) < limit {
		go readOnce(p.src, p.room(limit), results)
		select {
		case result := <-results:
			p.take(result)
		case <-timer.C:
			p.pending = results
			return nil, ErrBodyLate
		}
	}
	switch {
	case errors.Is(p.err, io.EOF) || int64(len(p.buf)) == r.ContentLength:
		return p.buf, nil
	case p.err != nil:
		return nil, fmt.Errorf("reading the request body: %w", p.err)
	}
	return nil, errBodyLarge
}

type readResult struct {
	n   int
	err error
}

// readOnce sends one result to a channel that has room for it. A read that
// was left to itself ends when its body is closed, at the latest when the
// server is done with the request.
func readOnce(src io.Reader, dst []byte, results chan<- readResult) {
	var result readResult
	defer func() {
		if v := recover(); v != nil {
			result = readResult{err: fmt.Errorf("panic: %v", v)}
		}
		results <- result
	}()
	result.n, result.err = src.Read(dst)
}

// peekedBody gives the bytes that were read ahead, then what is left of src.
// Close may be called during a Read, as with the bodies of net/http.
type peekedBody struct {
	src     io.ReadCloser
	buf     []byte
	off     int               // buf[off:] is still to be given
	err     error             // what src said after the last byte of buf
	pending <-chan readResult // a read that was left to itself; its bytes follow buf
}

// room returns free space at the end of buf, made larger if there is none.
func (p *peekedBody) room(limit int64) []byte {
	if len(p.buf) == cap(p.buf) {
		larger := make([]byte, len(p.buf), min(limit, int64(4*cap(p.buf))))
		copy(larger, p.buf)
		p.buf = larger
	}
	return p.buf[len(p.buf):cap(p.buf)]
}

func (p *peekedBody) take(result readResult) {
	p.buf = p.buf[:len(p.buf)+result.n]
	p.err = result.err
}

// Read implements [io.Reader].
func (p *peekedBody) Read(dst []byte) (int, error) {
	if p.off == len(p.buf) && p.pending != nil {
		p.take(<-p.pending)
		p.pending = nil
	}
	if p.off < len(p.buf) {
		n := copy(dst, p.buf[p.off:])
		p.off += n
		return n, nil
	}
	if p.pending == nil {
		// A request may live long after its body was sent.
		p.buf, p.off = nil, 0
	}
	if p.err != nil {
		return 0, p.err
	}
	return p.src.Read(dst)
}

// Close implements [io.Closer].
func (p *peekedBody) Close() error { return p.src.Close() }
