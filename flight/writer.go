package flight

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// errCut is what writing gives after the client was done with.
var errCut = errors.New("firebreak: the client has been answered already")

// responseWriter is a flight seen as the ResponseWriter of the next handlers.
// They have header fields of their own, which become the client's when the
// response begins. Everything that touches the client's writer happens under
// the flight's lock and not after the cut; hence there is no Unwrap, and what
// http.ResponseController looks for is implemented here.
type responseWriter Flight

// Header is the handlers' own header fields.
func (fw *responseWriter) Header() http.Header {
	// The map itself is next's alone until it has returned.
	return fw.header
}

// WriteHeader begins the response, or passes on an informational one.
func (fw *responseWriter) WriteHeader(status int) {
	f := (*Flight)(fw)
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.over():
		if f.status == 0 && status >= http.StatusOK {
			f.late = status
		}
	case status >= 100 && status < 200 && status != http.StatusSwitchingProtocols:
		f.inform(status)
	case f.status != 0:
		f.w.WriteHeader(status) // superfluous; the server says so in its log
	default:
		f.commit(status)
		f.w.WriteHeader(status)
	}
}

// commit makes the handlers' header fields the client's, without those that are for
// the directory. Callers hold mu.
func (f *Flight) commit(status int) {
	f.begin(status)
	f.admission.Learn(f.header)
	if f.asked != nil {
		f.copy = f.asked.Begin(status, f.header, f.w.Header())
	}
	copyOwn(f.w.Header(), f.header)
}

// inform passes on an informational response with its header fields, which
// are not those of the final one. Callers hold mu.
func (f *Flight) inform(status int) {
	real := f.w.Header()
	kept := make(http.Header, len(real))
	shareHeader(kept, real)
	f.admission.Forget(f.header)
	copyOwn(real, f.header)
	f.w.WriteHeader(status)
	copyOwn(real, kept)
}

// ready begins the response if need be. It reports errCut after the cut.
// Callers hold mu.
func (f *Flight) ready() error {
	if f.over() {
		return errCut
	}
	if f.status == 0 {
		f.commit(http.StatusOK)
	}
	return nil
}

// Write sends a part of the body.
func (fw *responseWriter) Write(p []byte) (int, error) {
	f := (*Flight)(fw)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.ready(); err != nil {
		return 0, err
	}
	defer f.hear() // a client that is slow to take it is not the body's fault
	if f.copy != nil {
		f.copy.Write(p)
	}
	return f.w.Write(p)
}

// WriteString sends a part of the body.
func (fw *responseWriter) WriteString(s string) (int, error) {
	f := (*Flight)(fw)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.ready(); err != nil {
		return 0, err
	}
	defer f.hear()
	if f.copy != nil {
		f.copy.Write([]byte(s))
	}
	return io.WriteString(f.w, s)
}

var copyBuffers = sync.Pool{New: func() any { return new([32 << 10]byte) }}

// ReadFrom sends all of src. Files take the server's fast path; anything else
// may block while it is read, and the lock must be free meanwhile.
func (fw *responseWriter) ReadFrom(src io.Reader) (int64, error) {
	if isFile(src) {
		return fw.readFile(src)
	}
	buf := copyBuffers.Get().(*[32 << 10]byte)
	defer copyBuffers.Put(buf)
	return io.CopyBuffer(struct{ io.Writer }{fw}, struct{ io.Reader }{src}, buf[:])
}

func (fw *responseWriter) readFile(src io.Reader) (int64, error) {
	f := (*Flight)(fw)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.ready(); err != nil {
		return 0, err
	}
	defer f.hear()
	f.endCopy(false)
	if to, ok := f.w.(io.ReaderFrom); ok {
		return to.ReadFrom(src)
	}
	return io.Copy(struct{ io.Writer }{f.w}, src)
}

func isFile(src io.Reader) bool {
	if limited, ok := src.(*io.LimitedReader); ok {
		src = limited.R
	}
	file, ok := src.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode().IsRegular()
}

// FlushError sends what is buffered.
func (fw *responseWriter) FlushError() error {
	f := (*Flight)(fw)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.ready(); err != nil {
		return err
	}
	return http.NewResponseController(f.w).Flush()
}

// Flush is FlushError for callers of http.Flusher.
func (fw *responseWriter) Flush() { _ = fw.FlushError() }

// Hijack hands the client's connection over.
func (fw *responseWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	f := (*Flight)(fw)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.over() {
		return nil, nil, errCut
	}
	conn, rw, err := http.NewResponseController(f.w).Hijack()
	f.endCopy(false)
	if err == nil && f.status == 0 {
		f.begin(http.StatusSwitchingProtocols)
	}
	return conn, rw, err
}

// SetReadDeadline limits reading the request body.
func (fw *responseWriter) SetReadDeadline(t time.Time) error {
	return fw.control(func(c *http.ResponseController) error { return c.SetReadDeadline(t) })
}

// SetWriteDeadline limits writing the response.
func (fw *responseWriter) SetWriteDeadline(t time.Time) error {
	return fw.control(func(c *http.ResponseController) error { return c.SetWriteDeadline(t) })
}

// EnableFullDuplex allows to read the request body while responding.
func (fw *responseWriter) EnableFullDuplex() error {
	return fw.control((*http.ResponseController).EnableFullDuplex)
}

func (fw *responseWriter) control(do func(*http.ResponseController) error) error {
	f := (*Flight)(fw)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.over() {
		return errCut
	}
	return do(http.NewResponseController(f.w))
}

// Push starts an HTTP/2 push.
func (fw *responseWriter) Push(target string, opts *http.PushOptions) error {
	f := (*Flight)(fw)
	f.mu.Lock()
	defer f.mu.Unlock()
	if pusher, ok := f.w.(http.Pusher); ok && !f.over() {
		return pusher.Push(target, opts)
	}
	return caddyhttp.ErrNotImplemented
}

// shareHeader fills an empty dst with the values of src, but without room to
// append to them.
func shareHeader(dst, src http.Header) {
	for name, values := range src {
		dst[name] = values[:len(values):len(values)]
	}
}

// copyOwn makes dst what src is.
func copyOwn(dst, src http.Header) {
	for name := range dst {
		if _, ok := src[name]; !ok {
			delete(dst, name)
		}
	}
	for name, values := range src {
		dst[name] = values
	}
}

// copyTrailers copies what is sent after the body, announced or not. Other
// fields are left alone: whoever sent the headers may have changed them.
func copyTrailers(dst, src http.Header) {
	for _, line := range src["Trailer"] {
		for name := range strings.SplitSeq(line, ",") {
			name = http.CanonicalHeaderKey(strings.TrimSpace(name))
			if values, ok := src[name]; ok {
				dst[name] = values
			}
		}
	}
	for name, values := range src {
		if strings.HasPrefix(name, http.TrailerPrefix) {
			dst[name] = values
		}
	}
}

// first is the first value of a canonical header name, without looking for
// other spellings.
func first(h http.Header, name string) string {
	if values := h[name]; len(values) > 0 {
		return values[0]
	}
	return ""
}

// trailer is the value of a trailer, announced or not.
func trailer(h http.Header, name string) string {
	if v := first(h, name); v != "" {
		return v
	}
	return first(h, http.TrailerPrefix+name)
}

func isGRPC(h http.Header) bool {
	return strings.HasPrefix(first(h, "Content-Type"), "application/grpc")
}

func isEventStream(h http.Header) bool {
	return strings.HasPrefix(first(h, "Content-Type"), "text/event-stream")
}

// Interface guards.
var (
	_ http.Flusher    = (*responseWriter)(nil)
	_ http.Hijacker   = (*responseWriter)(nil)
	_ http.Pusher     = (*responseWriter)(nil)
	_ io.ReaderFrom   = (*responseWriter)(nil)
	_ io.StringWriter = (*responseWriter)(nil)
)
