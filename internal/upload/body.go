package upload

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

// ErrLate means that the client did not send its request in time.
var ErrLate = errors.New("the client did not send its request in time")

// Progress is how many bytes a client has to send, or the end of its request,
// before its patience is up. Each time it does, its patience begins anew.
const Progress = 1 << 10

// minBuffer is the room for the first bytes of a body whose length is not known.
const minBuffer = 2 << 10

// Body is the body of a request of which the beginning was received ahead. It
// gives the same bytes and the same error as the body it took the place of.
type Body struct {
	src io.ReadCloser
	buf []byte
	off int   // buf[off:] is still to be given
	err error // what src gave after buf
}

// Receive reads the body of a request ahead, but at most limit bytes of it, and
// puts a Body in its place. It returns ErrLate if the client is too slow: then
// the connection is good for an answer, and no more.
//
// If w has no way to limit the time of reading, nothing is read and Receive
// returns nil. For Body.Close see net/http: the server closes the body itself.
func Receive(w http.ResponseWriter, r *http.Request, limit int, patience time.Duration) (*Body, error) {
	in := reader{control: http.NewResponseController(w), patience: patience, latest: latest(r)}
	if !in.extend() {
		return nil, nil
	}
	want, room := limit, minBuffer
	if r.ContentLength > 0 {
		room = limit
		if r.ContentLength <= int64(limit) {
			want = int(r.ContentLength) + 1 // a read of one more finds the end
			room = want
		}
	}
	b := &Body{src: r.Body, buf: make([]byte, 0, min(room, want))}
	for b.err == nil && len(b.buf) < want {
		if len(b.buf) == cap(b.buf) {
			b.grow(want)
		}
		n, err := in.read(b.src, b.buf[len(b.buf):cap(b.buf)])
		b.buf, b.err = b.buf[:len(b.buf)+n], err
	}
	if b.err != nil && !b.Complete() && isTimeout(b.err) {
		return nil, ErrLate
	}
	in.release()
	r.Body = b
	return b, nil
}

// grow makes room for more.
func (b *Body) grow(limit int) {
	larger := make([]byte, len(b.buf), min(4*cap(b.buf), limit))
	copy(larger, b.buf)
	b.buf = larger
}

// Complete reports whether the client has sent all of its request.
func (b *Body) Complete() bool { return errors.Is(b.err, io.EOF) }

// Waits reports whether a Read waits for the client.
func (b *Body) Waits() bool { return b.off == len(b.buf) && b.err == nil }

// Read implements [io.Reader].
func (b *Body) Read(p []byte) (int, error) {
	if b.off < len(b.buf) {
		n := copy(p, b.buf[b.off:])
		b.off += n
		if b.off == len(b.buf) && b.Complete() {
			return n, io.EOF
		}
		return n, nil
	}
	if b.err != nil {
		return 0, b.err
	}
	b.buf, b.off = nil, 0
	return b.src.Read(p)
}

// Close implements [io.Closer].
func (b *Body) Close() error { return b.src.Close() }

// reader reads from a client that has to make progress.
type reader struct {
	control  *http.ResponseController
	patience time.Duration
	latest   time.Time // zero: none
	since    int       // bytes since patience began
}

// extend begins the client's patience. It reports false if that is not possible.
func (in *reader) extend() bool {
	until := time.Now().Add(in.patience)
	if !in.latest.IsZero() && until.After(in.latest) {
		until = in.latest
	}
	in.since = 0
	return in.control.SetReadDeadline(until) == nil
}

func (in *reader) read(src io.Reader, p []byte) (int, error) {
	if in.since >= Progress {
		in.extend()
	}
	n, err := src.Read(p)
	in.since += n
	return n, err
}

// release puts the server's own limit back. Without it a connection whose request
// was received would be taken for broken when the time is up.
func (in *reader) release() { _ = in.control.SetReadDeadline(in.latest) }

// latest is when the server itself gives up reading a request that begins now, or
// zero.
func latest(r *http.Request) time.Time {
	server, ok := r.Context().Value(http.ServerContextKey).(*http.Server)
	if !ok || server.ReadTimeout <= 0 {
		return time.Time{}
	}
	return time.Now().Add(server.ReadTimeout)
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout()
}
