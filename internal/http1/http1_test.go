package http1_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/firebreak-proxy/firebreak/internal/http1"
)

func TestMain(m *testing.M) {
	log.SetOutput(io.Discard) // a Transport tells what servers say too much
	m.Run()
}

// script is a server that answers each request of a connection with the next of
// its texts, and closes the connection after the last.
type script struct {
	texts []string
	asked chan string // gets each request, as it came
}

func (s script) dial(context.Context, string, string) (net.Conn, error) {
	client, server := net.Pipe()
	go func() {
		defer server.Close()
		in := bufio.NewReader(server)
		for _, text := range s.texts {
			var request strings.Builder
			for !strings.HasSuffix(request.String(), "\r\n\r\n") {
				line, err := in.ReadString('\n')
				if err != nil {
					return
				}
				request.WriteString(line)
			}
			if _, length, found := strings.Cut(request.String(), "Content-Length: "); found {
				n, _ := strconv.Atoi(strings.SplitN(length, "\r", 2)[0])
				if _, err := io.CopyN(&request, in, int64(n)); err != nil {
					return
				}
			}
			if s.asked != nil {
				s.asked <- request.String()
			}
			if _, err := io.WriteString(server, text); err != nil {
				return
			}
		}
	}()
	return client, nil
}

// seen is what a client makes of an answer.
type seen struct {
	Failed       bool
	Status       int
	Proto        string
	Header       http.Header
	Length       int64
	Uncompressed bool
	Close        bool
	Body         string
	BodyFailed   bool
	Trailer      http.Header
}

func see(res *http.Response, err error) seen {
	if err != nil {
		return seen{Failed: true}
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return seen{
		false, res.StatusCode, res.Proto, res.Header, res.ContentLength, res.Uncompressed, res.Close, string(body), err != nil, res.Trailer,
	}
}

func request(tb testing.TB, method string) *http.Request {
	tb.Helper()
	var body io.Reader
	if method == http.MethodPost {
		body = strings.NewReader("{}")
	}
	r, err := http.NewRequestWithContext(tb.Context(), method, "http://api.example/search?q=1", body)
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

func do(c *http1.Client, r *http.Request) (*http.Response, error) {
	return c.Do(r, new(http1.Exchange))
}

// compare answers a request of a Transport and one of the client with the same.
func compare(t *testing.T, method, answer string) {
	t.Helper()
	transport := &http.Transport{DialContext: script{texts: []string{answer}}.dial, MaxResponseHeaderBytes: 10000}
	defer transport.CloseIdleConnections()
	client := http1.New(transport)
	defer client.Close()
	want := see(transport.RoundTrip(request(t, method)))
	got := see(do(client, request(t, method)))
	if want.Status == http.StatusSwitchingProtocols {
		want = seen{Failed: true}
	}
	if want.BodyFailed && got.BodyFailed {
		want.Body, got.Body = "", "" // how much of it came is a matter of luck
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s answered with %.300q\ngives %+v\nwant  %+v", method, answer, got, want)
	}
}

var answers = []string{
	"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
	"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more",
	"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\ncut off",
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: Sum\r\n\r\n2\r\nok\r\n0\r\nSum: 7\r\n\r\n",
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nno number\r\n",
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n2\r\nok\r\n0\r\n\r\n",
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: deflate\r\n\r\nx",
	"HTTP/1.1 200 OK\r\n\r\nuntil the end",
	"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
	"HTTP/1.0 200 OK\r\n\r\nuntil the end",
	"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
	"HTTP/1.1 204 No Content\r\n\r\n",
	"HTTP/1.1 304 Not Modified\r\nContent-Length: 20\r\n\r\n",
	"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n",
	"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
	"HTTP/1.1 100 Continue\r\n\r\n",
	"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
	"HTTP/1.1 099 Odd\r\nContent-Length: 2\r\n\r\nok",
	"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
	"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok",
	"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
	"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 20000) + "\r\n\r\n",
	"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
	"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok",
	"HTTP/1.1 two OK\r\n\r\n",
	"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nbad",
	"HTTP/1.1 200 OK\r\nContent-Encoding: GZIP\r\n\r\n" + zipped("a text"),
	"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\n\r\nwhatever",
	"SSH-2.0-OpenSSH\r\n",
	"\r\n",
	"",
}

func zipped(text string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = io.WriteString(z, text)
	z.Close()
	return b.String()
}

// TestLikeTransport: whatever comes is taken as net/http's Transport takes it.
func TestLikeTransport(t *testing.T) {
	for _, answer := range answers {
		compare(t, http.MethodGet, answer)
		compare(t, http.MethodHead, answer)
		compare(t, http.MethodPost, answer)
	}
}

var methods = []string{http.MethodGet, http.MethodHead, http.MethodPost}

func FuzzLikeTransport(f *testing.F) {
	for _, answer := range answers {
		for kind := range methods {
			f.Add(answer, uint8(kind))
		}
	}
	f.Fuzz(func(t *testing.T, answer string, kind uint8) {
		compare(t, methods[int(kind)%len(methods)], answer)
	})
}

// TestSentLikeTransport: what is sent is what net/http's Transport sends.
func TestSentLikeTransport(t *testing.T) {
	s := script{[]string{"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"}, make(chan string, 2)}
	transport := &http.Transport{DialContext: s.dial, DisableCompression: true}
	client := http1.New(transport)
	for _, change := range []func(*http.Request){
		func(*http.Request) {},
		func(r *http.Request) { r.Method = http.MethodHead },
		func(r *http.Request) { r.Host = "shop.example:8080" },
		func(r *http.Request) { r.URL, _ = url.Parse("http://api.example/a%2Fb/%20c?x=%zz&y;z") },
		func(r *http.Request) { r.URL = &url.URL{Scheme: "http", Host: "api.example", Opaque: "//x/y"} },
		func(r *http.Request) {
			r.Header = http.Header{"User-Agent": {""}, "X-Two": {"1", "2"}, "Cookie": {"a=b; c=d"}, "x-small": {"y"}, "Empty": {}}
		},
		func(r *http.Request) { r.Header.Set("Accept-Encoding", "gzip, br"); r.Header.Set("Range", "bytes=1-2") },
		func(r *http.Request) { r.Method = http.MethodDelete },
		func(r *http.Request) { r.Method = http.MethodPost },
		func(r *http.Request) { r.Method, r.Body = http.MethodPost, http.NoBody },
		func(r *http.Request) {
			r.Method, r.Body, r.ContentLength = "PURGE", io.NopCloser(strings.NewReader("abc")), 3
		},
	} {
		r := request(t, http.MethodGet)
		change(r)
		if !client.Takes(r) {
			t.Errorf("%+v is not taken", r)
		}
		again := r.Clone(r.Context())
		if hasBody := r.Body != nil && r.Body != http.NoBody; hasBody {
			text, _ := io.ReadAll(r.Body)
			r.Body, again.Body = io.NopCloser(bytes.NewReader(text)), io.NopCloser(bytes.NewReader(text))
		}
		transport.CloseIdleConnections()
		if res, err := transport.RoundTrip(again); err != nil {
			t.Fatal(err)
		} else {
			res.Body.Close()
		}
		if _, err := do(client, r); err != nil {
			t.Fatal(err)
		}
		if want, got := <-s.asked, <-s.asked; got != want {
			t.Errorf("sent %q\nwant %q", got, want)
		}
	}
}

func TestTakes(t *testing.T) {
	client := http1.New(&http.Transport{DialContext: script{}.dial, Proxy: func(r *http.Request) (*url.URL, error) {
		if r.URL.Host == "proxied.example" {
			return url.Parse("http://proxy.example")
		}
		return nil, nil
	}})
	for name, change := range map[string]func(*http.Request){
		"a tunnel":                  func(r *http.Request) { r.Method = http.MethodConnect },
		"a method with a space":     func(r *http.Request) { r.Method = "A B" },
		"a body of no known length": func(r *http.Request) { r.Body, r.ContentLength = io.NopCloser(strings.NewReader("x")), -1 },
		"a body of no length":       func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader("x")) },
		"a long body":               func(r *http.Request) { r.Body, r.ContentLength = io.NopCloser(strings.NewReader("x")), 1<<20 },
		"a length of nothing":       func(r *http.Request) { r.ContentLength = 1 },
		"trailers":                  func(r *http.Request) { r.Trailer = http.Header{"X": nil} },
		"https":                     func(r *http.Request) { r.URL.Scheme = "https" },
		"no host":                   func(r *http.Request) { r.URL.Host = "" },
		"an upgrade":                func(r *http.Request) { r.Header.Set("Upgrade", "websocket") },
		"a close":                   func(r *http.Request) { r.Header.Set("Connection", "close") },
		"an expectation":            func(r *http.Request) { r.Header.Set("Expect", "100-continue") },
		"a line break in a value":   func(r *http.Request) { r.Header.Set("X", "a\nb") },
		"a space in a name":         func(r *http.Request) { r.Header["X y"] = []string{"z"} },
		"a proxy":                   func(r *http.Request) { r.URL.Host = "proxied.example" },
	} {
		r := request(t, http.MethodGet)
		change(r)
		if client.Takes(r) {
			t.Errorf("a request with %s is taken", name)
		}
	}
	for name, change := range map[string]func(*http.Transport){
		"no keep-alive":              func(t *http.Transport) { t.DisableKeepAlives = true },
		"a bound on connections":     func(t *http.Transport) { t.MaxConnsPerHost = 1 },
		"a bound on idle ones":       func(t *http.Transport) { t.MaxIdleConns = 1 },
		"a timeout for the header":   func(t *http.Transport) { t.ResponseHeaderTimeout = time.Second },
		"no way to dial but its own": func(t *http.Transport) { t.DialContext = nil },
		"HTTP/2 in the clear": func(t *http.Transport) {
			t.Protocols = new(http.Protocols)
			t.Protocols.SetUnencryptedHTTP2(true)
		},
	} {
		transport := &http.Transport{DialContext: script{}.dial}
		change(transport)
		if http1.New(transport) != nil {
			t.Errorf("a Transport with %s is taken", name)
		}
	}
}

// TestInformational: 1xx responses are reported to the client trace.
func TestInformational(t *testing.T) {
	client := http1.New(&http.Transport{
		DialContext:            script{texts: []string{strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", 50) + "HTTP/1.1 204 No Content\r\n\r\n"}}.dial,
		MaxResponseHeaderBytes: 5000, // less than all of them, more than the buffer
		ReadBufferSize:         100,
	})
	told := 0
	trace := &httptrace.ClientTrace{Got1xxResponse: func(code int, header textproto.MIMEHeader) error {
		if code == 103 && header.Get("Link") == "</a>" {
			told++
		}
		return nil
	}}
	r := request(t, http.MethodGet)
	res, err := do(client, r.WithContext(httptrace.WithClientTrace(r.Context(), trace)))
	if err != nil || res.StatusCode != 204 || told != 50 {
		t.Errorf("%v, %v; told of %d of 50", res, err, told)
	}
	trace.Got1xxResponse = func(int, textproto.MIMEHeader) error { return errors.New("no") }
	if _, err := do(client, r.WithContext(httptrace.WithClientTrace(r.Context(), trace))); err == nil {
		t.Error("the error of the client trace is lost")
	}
}

// server is a real one that counts its connections.
type server struct {
	*httptest.Server
	conns, open, requests atomic.Int64
}

func serve(t *testing.T, h http.HandlerFunc) (*server, *http.Transport) {
	t.Helper()
	s := new(server)
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.requests.Add(1)
		h(w, r)
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			s.conns.Add(1)
			s.open.Add(1)
		case http.StateClosed:
			s.open.Add(-1)
		case http.StateActive, http.StateIdle, http.StateHijacked:
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	return s, &http.Transport{DialContext: new(net.Dialer).DialContext, IdleConnTimeout: time.Minute, MaxIdleConnsPerHost: 4}
}

func (s *server) get(t *testing.T, c *http1.Client) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	got := see(do(c, r))
	if got.Failed || got.BodyFailed {
		t.Errorf("failed: %+v", got)
	}
	return got.Body
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("in vain:", what)
		}
	}
}

func TestConnectionsAreKept(t *testing.T) {
	s, transport := serve(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "ok") })
	c := http1.New(transport)
	for range 100 {
		s.get(t, c)
	}
	if n := s.conns.Load(); n != 1 {
		t.Errorf("%d connections for requests one after the other, want 1", n)
	}
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for range 50 {
				s.get(t, c)
			}
		})
	}
	all.Wait()
	c.Close()
	before := s.conns.Load()
	for range 3 {
		s.get(t, c)
	}
	if n := s.conns.Load() - before; n != 3 {
		t.Errorf("%d connections for three requests after Close, want 3", n)
	}
}

func TestIdleConnectionsEnd(t *testing.T) {
	s, transport := serve(t, func(w http.ResponseWriter, r *http.Request) {})
	transport.IdleConnTimeout = 50 * time.Millisecond
	c := http1.New(transport)
	for range 3 {
		s.get(t, c)
		if s.open.Load() != 1 {
			t.Error("there is no connection")
		}
		eventually(t, "the idle connection is closed", func() bool { return s.open.Load() == 0 })
	}
}

// TestServerCloses: a server may close a connection that is idle at any time.
func TestServerCloses(t *testing.T) {
	s, transport := serve(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "ok") })
	c := http1.New(transport)
	for range 20 {
		s.get(t, c)
		s.CloseClientConnections()
	}
	if n := s.requests.Load(); n != 20 {
		t.Errorf("%d requests came, want 20", n)
	}
}

// raw is a server that is told byte by byte what to do.
func raw(t *testing.T, serve func(n int, conn net.Conn, in *bufio.Reader)) *http.Transport {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for n := 1; ; n++ {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				serve(n, conn, bufio.NewReader(conn))
			}()
		}
	}()
	return &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, listener.Addr().String())
	}}
}

const plain = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"

// TestTriedAgain: a request that got no answer on a connection that was kept is
// sent once more, on a new one its failure is told.
func TestTriedAgain(t *testing.T) {
	var requests, conns atomic.Int64
	c := http1.New(raw(t, func(n int, conn net.Conn, in *bufio.Reader) {
		conns.Store(int64(n))
		for i := range 2 {
			if _, err := http.ReadRequest(in); err != nil {
				return
			}
			requests.Add(1)
			if i == 1 || n >= 3 {
				return // without an answer
			}
			io.WriteString(conn, plain+"ok")
		}
	}))
	for range 2 { // the second is sent twice, over a first and a second connection
		if got := see(do(c, request(t, http.MethodGet))); got.Body != "ok" {
			t.Errorf("got %+v", got)
		}
	}
	if requests.Load() != 3 || conns.Load() != 2 {
		t.Errorf("%d requests over %d connections, want 3 over 2", requests.Load(), conns.Load())
	}
	// The third connection answers nothing: neither is the one that is kept.
	if got := see(do(c, request(t, http.MethodGet))); !got.Failed || requests.Load() != 5 {
		t.Errorf("got %+v after %d requests, want a failure after 5", got, requests.Load())
	}
}

// TestPostIsNotRepeated: it is not known whether the server has done it.
func TestPostIsNotRepeated(t *testing.T) {
	var posts atomic.Int64
	c := http1.New(raw(t, func(_ int, conn net.Conn, in *bufio.Reader) {
		for {
			r, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			if r.Method == http.MethodPost {
				posts.Add(1)
				return // without an answer
			}
			io.WriteString(conn, plain+"ok")
		}
	}))
	if got := see(do(c, request(t, http.MethodGet))); got.Body != "ok" {
		t.Errorf("got %+v", got)
	}
	if got := see(do(c, request(t, http.MethodPost))); !got.Failed || posts.Load() != 1 {
		t.Errorf("got %+v after %d posts", got, posts.Load())
	}
}

// TestAnsweredInstead: a server may answer without reading what is sent.
func TestAnsweredInstead(t *testing.T) {
	c := http1.New(raw(t, func(_ int, conn net.Conn, in *bufio.Reader) {
		if _, err := http.ReadRequest(in); err == nil {
			io.WriteString(conn, "HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno")
			time.Sleep(100 * time.Millisecond)
		}
	}))
	r := request(t, http.MethodPost)
	closed := false
	r.Body, r.ContentLength = closer{strings.NewReader(strings.Repeat("x", 32<<10)), &closed}, 32<<10
	if got := see(do(c, r)); got.Status != 413 || got.Body != "no" || !closed {
		t.Errorf("got %+v; the body is closed: %t", got, closed)
	}
}

// TestUploadBroken: nothing is sent of a request that does not come whole.
func TestUploadBroken(t *testing.T) {
	c := http1.New(raw(t, func(_ int, _ net.Conn, in *bufio.Reader) {
		if _, err := in.ReadByte(); err == nil {
			t.Error("something was sent")
		}
	}))
	for _, body := range []io.Reader{
		io.MultiReader(strings.NewReader("ab"), iotest.ErrReader(io.ErrUnexpectedEOF)), strings.NewReader("ab"), strings.NewReader("abcd"),
	} {
		r, closed := request(t, http.MethodPost), false
		r.Body, r.ContentLength = closer{body, &closed}, 3
		if got := see(do(c, r)); !got.Failed || !closed {
			t.Errorf("got %+v, the body is closed: %t", got, closed)
		}
	}
}

// TestUnsentIsWhole: nothing is read of a request that cannot be sent.
func TestUnsentIsWhole(t *testing.T) {
	c := http1.New(&http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("no")
	}})
	r, body := request(t, http.MethodPost), strings.NewReader("abc")
	r.Body, r.ContentLength = io.NopCloser(body), 3
	if got := see(do(c, r)); !got.Failed || body.Len() != 3 {
		t.Errorf("got %+v, and %d of 3 bytes are left", got, body.Len())
	}
}

type closer struct {
	io.Reader
	closed *bool
}

func (c closer) Close() error { *c.closed = true; return nil }

// TestUnwantedAnswer: what a server sends without a request must not become the
// answer to the next request.
func TestUnwantedAnswer(t *testing.T) {
	said := make(chan struct{})
	c := http1.New(raw(t, func(n int, conn net.Conn, in *bufio.Reader) {
		for range 2 {
			if _, err := http.ReadRequest(in); err != nil {
				return
			}
			fmt.Fprintf(conn, "%s#%d", plain, n)
			if n == 1 {
				time.Sleep(50 * time.Millisecond)
				io.WriteString(conn, plain+"no")
				close(said)
			}
		}
	}))
	if got := see(do(c, request(t, http.MethodGet))); got.Body != "#1" {
		t.Errorf("got %+v", got)
	}
	<-said
	if got := see(do(c, request(t, http.MethodGet))); got.Body != "#2" {
		t.Errorf("the answer is %q", got.Body)
	}
}

// TestClose: an exchange ends when it is closed, whatever it is at.
func TestClose(t *testing.T) {
	headers, gone := make(chan struct{}), make(chan struct{}, 9)
	c := http1.New(raw(t, func(_ int, conn net.Conn, in *bufio.Reader) {
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		if r.Header.Get("X-Part") == "body" {
			io.WriteString(conn, plain+"o")
		}
		headers <- struct{}{}
		_, _ = in.ReadByte() // until the connection is closed
		gone <- struct{}{}
	}))
	for _, part := range []string{"header", "body"} {
		r := request(t, http.MethodGet)
		r.Header.Set("X-Part", part)
		x := new(http1.Exchange)
		end := make(chan seen, 1)
		go func() { end <- see(c.Do(r, x)) }()
		<-headers
		if part == "body" {
			time.Sleep(20 * time.Millisecond)
		}
		x.Close()
		<-gone
		if got := <-end; got.Failed != (part == "header") || got.BodyFailed != (part == "body") {
			t.Errorf("closed while it waits for the %s: %+v", part, got)
		}
	}
	x := new(http1.Exchange)
	x.Close()
	if _, err := c.Do(request(t, http.MethodGet), x); !errors.Is(err, http1.ErrClosed) {
		t.Errorf("closed before it began: %v", err)
	}
}

// TestCloseLate: closing an exchange whose response was read must not harm the one
// that has the connection now.
func TestCloseLate(t *testing.T) {
	s, transport := serve(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, strings.Repeat("ok", 100)) })
	c := http1.New(transport)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 500 {
				r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL, nil)
				x := new(http1.Exchange)
				res, err := c.Do(r, x)
				if err != nil {
					t.Error(err)
					return
				}
				body, err := io.ReadAll(res.Body)
				if err != nil || len(body) != 200 {
					t.Errorf("%d bytes, %v", len(body), err)
				}
				all.Go(func() { x.Close() })
			}
		})
	}
	all.Wait()
}

func TestDialFails(t *testing.T) {
	fails := errors.New("no")
	c := http1.New(&http.Transport{DialContext: func(_ context.Context, network, addr string) (net.Conn, error) {
		if network != "tcp" || addr != "api.example:80" {
			t.Errorf("dialled %s %s", network, addr)
		}
		return nil, fails
	}})
	r, closed := request(t, http.MethodPost), false
	r.Body = closer{r.Body, &closed}
	if _, err := do(c, r); !errors.Is(err, fails) || !closed {
		t.Errorf("error = %v, the body is closed: %t", err, closed)
	}
}
