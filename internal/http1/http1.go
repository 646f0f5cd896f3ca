// Package http1 sends simple requests over HTTP/1.1, on the goroutine of its
// caller.
//
// An http.Transport has two goroutines for each connection, so that a request
// changes goroutines four times on its way there and back. That is right for all
// that a request may be: its answer can come while it is still being sent, or its
// connection becomes a tunnel. Requests to an API are simpler than that. This
// client takes those that are in the clear, have nothing to upgrade and little to
// upload: that is read once there is a connection, and before anything is sent, so
// that a request that cannot be sent is whole and no server waits for the rest. What
// goes over the wire is written and read by net/http (Request.Write, ReadResponse),
// and connections are kept, and requests sent once more, by the rules of an
// http.Transport. All else is for the Transport whose settings it takes.
package http1

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"slices"
	"sync"
	"time"

	"golang.org/x/net/http/httpguts"
)

// ErrClosed is the error of an exchange that was closed before its response came.
var ErrClosed = errors.New("the exchange was closed")

const (
	// maxHeader is how long the header of a response may be: a Transport's default.
	maxHeader = 10 << 20

	// maxUpload is the longest body of a request: the buffers of a connection take
	// it, so that writing it does not wait for a server that answers instead.
	maxUpload = 32 << 10
)

// Client keeps connections to servers. It is safe for concurrent use.
type Client struct {
	dial      func(ctx context.Context, network, addr string) (net.Conn, error)
	proxy     func(*http.Request) (*url.URL, error)
	unzip     bool // what a server compresses without being asked to
	maxIdle   int  // for each host
	idleTime  time.Duration
	maxHeader int64
	readSize  int
	writeSize int

	mu     sync.Mutex // guards below
	idle   map[string][]*conn
	timer  *time.Timer // of the next look for those that were idle for too long
	closed bool
}

// New makes a client with the settings of a Transport, or returns nil if those are
// for a Transport only, or if this system cannot say whether a connection that was
// idle is still good.
func New(t *http.Transport) *Client {
	switch {
	case !canProbe || t.DialContext == nil || t.DisableKeepAlives,
		t.MaxConnsPerHost > 0 || t.MaxIdleConns > 0 || t.ResponseHeaderTimeout > 0,
		t.Protocols != nil && !t.Protocols.HTTP1():
		return nil
	}
	c := &Client{
		dial: t.DialContext, proxy: t.Proxy, unzip: !t.DisableCompression, maxIdle: t.MaxIdleConnsPerHost, idleTime: t.IdleConnTimeout,
		maxHeader: t.MaxResponseHeaderBytes, readSize: t.ReadBufferSize, writeSize: t.WriteBufferSize,
		idle: make(map[string][]*conn),
	}
	if c.maxIdle == 0 {
		c.maxIdle = http.DefaultMaxIdleConnsPerHost
	}
	if c.maxHeader <= 0 {
		c.maxHeader = maxHeader
	}
	for _, size := range []*int{&c.readSize, &c.writeSize} {
		if *size <= 0 {
			*size = 4 << 10
		}
	}
	return c
}

// Takes says whether a request is simple enough.
func (c *Client) Takes(r *http.Request) bool {
	switch {
	case r.Method == http.MethodConnect || !httpguts.ValidHeaderFieldName(r.Method), // a name is a token, as a method is
		r.URL == nil || r.URL.Scheme != "http" || r.URL.Host == "",
		r.ContentLength < 0 || r.ContentLength > maxUpload || hasBody(r) != (r.ContentLength > 0),
		len(r.TransferEncoding) > 0 || len(r.Trailer) > 0 || r.Close:
		return false
	}
	for _, name := range notSimple {
		if len(r.Header[name]) > 0 {
			return false
		}
	}
	for name, values := range r.Header {
		// A Transport says what is wrong with them.
		if !httpguts.ValidHeaderFieldName(name) || slices.ContainsFunc(values, invalidValue) {
			return false
		}
	}
	if c.proxy == nil {
		return true
	}
	via, err := c.proxy(r)
	return via == nil && err == nil
}

// notSimple are header fields that ask more of a connection.
var notSimple = []string{"Connection", "Upgrade", "Expect", "Transfer-Encoding", "Trailer"}

func invalidValue(v string) bool { return !httpguts.ValidHeaderFieldValue(v) }

func hasBody(r *http.Request) bool { return r.Body != nil && r.Body != http.NoBody }

// mayRepeat reports whether a request may be sent once more though a server has read it,
// perhaps. It is what net/http takes for replayable.
func mayRepeat(r *http.Request) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return !hasBody(r)
	}
	return !hasBody(r) && (r.Header["Idempotency-Key"] != nil || r.Header["X-Idempotency-Key"] != nil)
}

// Do sends a request that the client takes and returns the response as soon as its
// header is there. It changes x, which must be new: the response's body is read
// from it, and x.Close ends the request at any time, from any goroutine. The end of
// the request's context only ends the dialling. The request's body is closed.
func (c *Client) Do(r *http.Request, x *Exchange) (*http.Response, error) {
	own := r
	for {
		cn, err := c.take(r)
		if err != nil {
			if hasBody(r) {
				r.Body.Close() // unread: the request can go elsewhere
			}
			return nil, err
		}
		if own == r && hasBody(r) {
			text := uploads.Get().(*bytes.Buffer)
			defer uploads.Put(text)
			if own, err = upload(r, text); err != nil {
				cn.Close()
				return nil, err
			}
		}
		if !x.begin(c, cn) {
			cn.Close()
			return nil, ErrClosed
		}
		res, err := cn.roundTrip(own, c.maxHeader)
		if err == nil {
			res.Request = r
			return x.arrive(r, res), nil
		}
		switch closed := x.drop(); {
		case closed:
			return nil, fmt.Errorf("%w: %w", ErrClosed, err)
		case cn.used && cn.heard == 0 && mayRepeat(r):
			continue // the server has closed it in this moment, as it may
		}
		return nil, err
	}
}

var uploads = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// upload reads a request's body into text, and is the request with that body.
func upload(r *http.Request, text *bytes.Buffer) (*http.Request, error) {
	defer r.Body.Close()
	text.Reset()
	text.Grow(int(r.ContentLength) + bytes.MinRead)
	n, err := text.ReadFrom(io.LimitReader(r.Body, r.ContentLength+1)) // to its end
	if err != nil {
		return nil, err
	}
	if n != r.ContentLength {
		return nil, fmt.Errorf("the request has a body of %d bytes and says that it has %d", n, r.ContentLength)
	}
	own := *r
	own.Body = io.NopCloser(bytes.NewReader(text.Bytes()))
	return &own, nil
}

// take is a connection that is idle, or a new one.
func (c *Client) take(r *http.Request) (*conn, error) {
	for {
		cn := c.takeIdle(r.URL.Host)
		if cn == nil {
			break
		}
		if cn.silent() {
			cn.used = true
			return cn, nil
		}
		cn.Close()
	}
	addr := r.URL.Host
	if r.URL.Port() == "" {
		addr = net.JoinHostPort(r.URL.Hostname(), "80")
	}
	raw, err := c.dial(r.Context(), "tcp", addr)
	if err != nil {
		return nil, err
	}
	return newConn(c, r.URL.Host, raw), nil
}

// takeIdle is the connection that became idle last, or nil.
func (c *Client) takeIdle(host string) *conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	idle := c.idle[host]
	last := len(idle) - 1
	if last < 0 {
		return nil
	}
	cn := idle[last]
	idle[last] = nil
	c.idle[host] = idle[:last]
	return cn
}

// put keeps a connection for the next request. It reports false if that is not
// wanted.
func (c *Client) put(cn *conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || len(c.idle[cn.host]) >= c.maxIdle {
		return false
	}
	c.idle[cn.host] = append(c.idle[cn.host], cn)
	if c.idleTime > 0 {
		cn.since = time.Now()
		if c.timer == nil {
			c.timer = time.AfterFunc(c.idleTime, c.sweep)
		}
	}
	return true
}

// sweep closes the connections that were idle for too long.
func (c *Client) sweep() { closeAll(c.takeStale()) }

func closeAll(conns []*conn) {
	for _, cn := range conns {
		cn.Close()
	}
}

// takeStale is the connections that were idle for too long. It sets the timer for
// the next.
func (c *Client) takeStale() (stale []*conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.timer = nil
	var next time.Duration
	for host, idle := range c.idle {
		n := 0
		for n < len(idle) && time.Since(idle[n].since) >= c.idleTime {
			n++
		}
		stale = append(stale, idle[:n]...)
		if idle = slices.Delete(idle, 0, n); len(idle) == 0 {
			delete(c.idle, host)
			continue
		}
		c.idle[host] = idle
		if left := c.idleTime - time.Since(idle[0].since); next == 0 || left < next {
			next = max(left, time.Millisecond)
		}
	}
	if next > 0 && !c.closed {
		c.timer = time.AfterFunc(next, c.sweep)
	}
	return stale
}

// Close closes the connections that are idle, and the others when they become so.
func (c *Client) Close() { closeAll(c.takeAll()) }

func (c *Client) takeAll() (all []*conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	if c.timer != nil {
		c.timer.Stop()
	}
	for _, idle := range c.idle {
		all = append(all, idle...)
	}
	clear(c.idle)
	return all
}

// conn is a connection to a server. It belongs to one exchange at a time.
type conn struct {
	net.Conn
	host  string
	probe *probe
	in    *bufio.Reader
	out   *bufio.Writer
	since time.Time // idle
	used  bool      // for a request before this one
	heard int64     // bytes, of this request's response
	limit int64     // of heard, until the header is there
}

func newConn(c *Client, host string, raw net.Conn) *conn {
	cn := &conn{Conn: raw, host: host, probe: newProbe(raw)}
	cn.in, cn.out = bufio.NewReaderSize(cn, c.readSize), bufio.NewWriterSize(raw, c.writeSize)
	return cn
}

// Read implements io.Reader for in.
func (cn *conn) Read(p []byte) (int, error) {
	if left := cn.limit - cn.heard; left <= 0 {
		return 0, fmt.Errorf("the header of the response is longer than %d bytes", cn.limit)
	} else if int64(len(p)) > left {
		p = p[:left]
	}
	n, err := cn.Conn.Read(p)
	cn.heard += int64(n)
	return n, err
}

// silent reports whether the server has neither closed the connection while it was idle,
// nor said anything that would be taken for the next answer.
func (cn *conn) silent() bool { return cn.in.Buffered() == 0 && cn.probe.silent() }

// roundTrip sends a request and reads the header of its response.
func (cn *conn) roundTrip(r *http.Request, maxHeader int64) (*http.Response, error) {
	cn.heard, cn.limit = 0, maxHeader
	if err := r.Write(cn.out); err != nil {
		return nil, err
	}
	if err := cn.out.Flush(); err != nil {
		return nil, err
	}
	for {
		res, err := http.ReadResponse(cn.in, r)
		switch {
		case err != nil:
			return nil, err
		case res.StatusCode == http.StatusSwitchingProtocols:
			return nil, errors.New("the server switched protocols, without being asked to")
		case res.StatusCode < 100 || res.StatusCode > 199:
			cn.limit = 1<<63 - 1
			return res, nil
		}
		if trace := httptrace.ContextClientTrace(r.Context()); trace != nil && trace.Got1xxResponse != nil {
			if err := trace.Got1xxResponse(res.StatusCode, textproto.MIMEHeader(res.Header)); err != nil {
				return nil, err
			}
			cn.limit = cn.heard + maxHeader // who looks at them counts them, too
		}
	}
}

// Exchange is one request and its response, and the body of the latter. The zero
// Exchange is ready for Client.Do. A second use is not possible.
type Exchange struct {
	mu     sync.Mutex // guards below
	conn   *conn      // nil: it has none yet, or none any more
	client *Client
	closed bool

	body io.ReadCloser // of the response; read by one goroutine
	keep bool          // the connection is good for another exchange
}

// begin gives the exchange a connection. It reports false if it is closed already.
func (x *Exchange) begin(c *Client, cn *conn) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed {
		return false
	}
	x.client, x.conn = c, cn
	return true
}

// part takes the connection, if there is one, away from the exchange, which is
// closed if that is wanted. It reports whether the exchange is.
func (x *Exchange) part(toClose bool) (cn *conn, closed bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	cn, x.conn = x.conn, nil
	x.closed = x.closed || toClose
	return cn, x.closed
}

// drop closes the connection. It reports whether somebody has closed the exchange.
func (x *Exchange) drop() (closed bool) {
	cn, closed := x.part(false)
	if cn != nil {
		cn.Close()
	}
	return closed
}

// Close ends the exchange: its connection is closed, unless it is over with it
// already.
func (x *Exchange) Close() error {
	if cn, _ := x.part(true); cn != nil {
		cn.Close()
	}
	return nil
}

// arrive takes the header of the response.
func (x *Exchange) arrive(r *http.Request, res *http.Response) *http.Response {
	x.keep = !res.Close && res.StatusCode >= 200
	if r.Method == http.MethodHead || res.ContentLength == 0 || res.Body == http.NoBody {
		x.release()
		res.Body = http.NoBody
		return res
	}
	x.body, res.Body = res.Body, x
	if x.client.unzip && r.Header.Get("Accept-Encoding") == "" && r.Header.Get("Range") == "" {
		unzip(res)
	}
	return res
}

// Read reads the body of the response. At its end the connection is free.
func (x *Exchange) Read(p []byte) (int, error) {
	n, err := x.body.Read(p)
	switch err {
	case nil:
	case io.EOF:
		x.release()
	default:
		_ = x.Close()
	}
	return n, err
}

// Waits reports whether reading the body waits for the server. It may be called by
// the goroutine that reads the body.
func (x *Exchange) Waits() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.conn != nil && x.conn.in.Buffered() == 0
}

// release gives the connection back, which is over with this exchange.
func (x *Exchange) release() {
	cn, _ := x.part(false)
	if cn == nil || x.keep && cn.in.Buffered() == 0 && cn.probe.able() && x.client.put(cn) {
		return
	}
	cn.Close()
}
