package routing_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/firebreak-proxy/firebreak/routing"
)

// arrived is what an API server got.
type arrived struct {
	Key      string // found by the proxy in front of it
	Err      error
	Length   int64
	Encoding []string
	Trailer  http.Header
	Expect   string
	Body     []byte
	BodyErr  error
}

// proxied starts an API server behind a proxy that looks for the key in each
// request. What arrives at the API server comes out of the channel.
func proxied(t *testing.T, e *routing.Extractor, h2 bool) (*httptest.Server, <-chan arrived) {
	t.Helper()
	type found struct {
		key string
		err error
	}
	keys, got := make(chan found, 10), make(chan arrived, 10)
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		k := <-keys
		got <- arrived{
			Key: k.key, Err: k.err, Length: r.ContentLength, Encoding: r.TransferEncoding,
			Trailer: r.Trailer, Expect: r.Header.Get("Expect"), Body: body, BodyErr: err,
		}
	}))
	t.Cleanup(api.Close)
	target, err := url.Parse(api.URL)
	must(t, err)
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.Transport = transport
	proxy.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) }
	front := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key, err := e.Key(w, r)
		keys <- found{key, err}
		proxy.ServeHTTP(w, r)
	}))
	front.EnableHTTP2 = h2
	if h2 {
		front.StartTLS()
	} else {
		front.Start()
	}
	t.Cleanup(front.Close)
	return front, got
}

func next(t *testing.T, got <-chan arrived) arrived {
	t.Helper()
	select {
	case a := <-got:
		return a
	case <-time.After(10 * time.Second):
		t.Fatal("nothing arrived within 10s")
		panic("unreachable")
	}
}

// bodies of all sizes around the buffers and bounds of a peek.
func bodies() map[string]string {
	pad := func(n int) string { return `{"pad":"` + strings.Repeat("x", n) + `","key":"s1"}` }
	noise := make([]byte, 50_000)
	_, _ = rand.Read(noise)
	for i := range noise { // no zeros: it would look like UTF-16
		noise[i] |= 0x80
	}
	return map[string]string{
		"small":     `{"key":"s1"}`,
		"2 KiB":     pad(2048 - 21),
		"30 KiB":    pad(30 << 10),
		"64 KiB":    pad(64<<10 - 21),
		"64 KiB + ": pad(64 << 10),
		"1 MiB":     pad(1 << 20),
		"noise":     string(noise),
	}
}

func TestBodyArrivesWhole(t *testing.T) {
	for _, proto := range []string{"HTTP/1.1", "HTTP/2.0"} {
		front, got := proxied(t, extractor(t, "json key", "json other"), proto == "HTTP/2.0")
		for name, body := range bodies() {
			for _, length := range []int64{int64(len(body)), -1} {
				t.Run(fmt.Sprintf("%s/%s/%d", proto, name, length), func(t *testing.T) {
					// Hides the length and type of the reader.
					r, err := http.NewRequest(http.MethodPost, front.URL, io.MultiReader(strings.NewReader(body)))
					must(t, err)
					r.ContentLength = length
					r.Header.Set("Content-Type", "application/json")
					resp, err := front.Client().Do(r)
					must(t, err)
					resp.Body.Close()
					if resp.Proto != proto {
						t.Fatalf("spoken %s, want %s", resp.Proto, proto)
					}
					a := next(t, got)
					checkArrived(t, a, body, length)
				})
			}
		}
	}
}

func checkArrived(t *testing.T, a arrived, body string, length int64) {
	t.Helper()
	want := "s1"
	if body[0] != '{' || len(body) > 64<<10 || length < 0 && len(body) == 64<<10 {
		want = ""
	}
	if a.Key != want || a.Err != nil {
		t.Errorf("Key = %q, %v, want %q", a.Key, a.Err, want)
	}
	if !bytes.Equal(a.Body, []byte(body)) || a.BodyErr != nil {
		t.Errorf("%d bytes arrived (%v), want the %d bytes sent", len(a.Body), a.BodyErr, len(body))
	}
	if a.Length != length {
		t.Errorf("Content-Length = %d, want %d", a.Length, length)
	}
	if chunked := len(a.Encoding) == 1 && a.Encoding[0] == "chunked"; chunked != (length < 0) {
		t.Errorf("Transfer-Encoding = %q at length %d", a.Encoding, length)
	}
}

func TestTrailerArrives(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		front, got := proxied(t, extractor(t, "json key"), h2)
		r, err := http.NewRequest(http.MethodPost, front.URL, io.MultiReader(strings.NewReader(`{"key":"s1"}`)))
		must(t, err)
		r.Header.Set("Content-Type", "application/json")
		r.Trailer = http.Header{"X-Sum": {"42"}}
		resp, err := front.Client().Do(r)
		must(t, err)
		resp.Body.Close()
		a := next(t, got)
		if diff := cmp.Diff(http.Header{"X-Sum": {"42"}}, a.Trailer); diff != "" || a.Key != "s1" {
			t.Errorf("http2 %v: Key = %q, trailers (-want +got)%s", h2, a.Key, diff)
		}
	}
}

// TestExpectContinue: the client sends its body only after 100 Continue.
func TestExpectContinue(t *testing.T) {
	front, got := proxied(t, extractor(t, "json key"), false)
	conn, in := dial(t, front)
	fmt.Fprint(conn, "POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"+
		"Content-Length: 12\r\nExpect: 100-continue\r\n\r\n")
	if line, err := in.ReadString('\n'); err != nil || line != "HTTP/1.1 100 Continue\r\n" {
		t.Fatalf("answer = %q, %v, want 100 Continue", line, err)
	}
	fmt.Fprint(conn, `{"key":"s1"}`)
	a := next(t, got)
	if a.Key != "s1" || string(a.Body) != `{"key":"s1"}` || a.Length != 12 {
		t.Errorf("arrived: %+v", a)
	}
}

func dial(t *testing.T, s *httptest.Server) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	must(t, err)
	t.Cleanup(func() { conn.Close() })
	must(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
	return conn, bufio.NewReader(conn)
}

// slowBody sends its parts with a pause in between that is longer than a peek
// waits.
func slowBody(parts ...string) io.Reader {
	r, w := io.Pipe()
	go func() {
		for i, part := range parts {
			if i > 0 {
				time.Sleep(150 * time.Millisecond)
			}
			_, _ = io.WriteString(w, part)
		}
		w.Close()
	}()
	return r
}

// TestSlowBodyGoesOn: a body that is too late for the key arrives all the
// same, and the request is not cancelled.
func TestSlowBodyGoesOn(t *testing.T) {
	e := extractorWith(t, routing.ExtractorOptions{BodyPeekTimeout: 30 * time.Millisecond}, "json key")
	parts := []string{`{"key":`, `"s1",`, `"a":1`, `}`}
	body := strings.Join(parts, "")
	for _, h2 := range []bool{false, true} {
		front, got := proxied(t, e, h2)
		for _, length := range []int64{int64(len(body)), -1} {
			r, err := http.NewRequest(http.MethodPost, front.URL, slowBody(parts...))
			must(t, err)
			r.ContentLength = length
			r.Header.Set("Content-Type", "application/json")
			resp, err := front.Client().Do(r)
			must(t, err)
			resp.Body.Close()
			a := next(t, got)
			if a.Key != "" || !errors.Is(a.Err, routing.ErrBodyLate) {
				t.Errorf("Key = %q, %v, want ErrBodyLate", a.Key, a.Err)
			}
			if string(a.Body) != body || a.BodyErr != nil || a.Length != length || resp.StatusCode != http.StatusOK {
				t.Errorf("http2 %v: arrived %+v, status %d", h2, a, resp.StatusCode)
			}
		}
	}
}

// TestSeenBytesDoNotWait: what was read before the time was up can be read at
// once, though the client goes on only when it has an answer to it.
func TestSeenBytesDoNotWait(t *testing.T) {
	e := extractorWith(t, routing.ExtractorOptions{BodyPeekTimeout: 30 * time.Millisecond}, "json key")
	src, client := io.Pipe()
	r := httptest.NewRequest(http.MethodPost, "/", src)
	r.Header.Set("Content-Type", "application/json")
	r.ContentLength = -1
	answered := make(chan struct{})
	go func() {
		_, _ = io.WriteString(client, "first ")
		<-answered
		_, _ = io.WriteString(client, "second")
		client.Close()
	}()
	start := time.Now()
	if _, err := e.Key(nil, r); !errors.Is(err, routing.ErrBodyLate) {
		t.Fatalf("error = %v, want ErrBodyLate", err)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("Key took %v", took)
	}
	first := make([]byte, 6)
	_, err := io.ReadFull(r.Body, first)
	must(t, err)
	close(answered)
	checkBody(t, r, "second")
}

// failingBody gives some bytes, then an error or a panic.
type failingBody struct {
	io.Reader
	err   error
	panic bool
}

func (b *failingBody) Read(p []byte) (int, error) {
	if n, err := b.Reader.Read(p); err == nil {
		return n, nil
	}
	if b.panic {
		panic("a bug in some other handler")
	}
	return 0, b.err
}

func (b *failingBody) Close() error { return nil }

func TestBrokenBodyStaysBroken(t *testing.T) {
	reset := errors.New("connection reset")
	for name, c := range map[string]struct {
		body *failingBody
		want string
	}{
		"error": {&failingBody{err: reset}, "reading the request body: connection reset"},
		"panic": {&failingBody{panic: true}, "reading the request body: panic: a bug in some other handler"},
	} {
		c.body.Reader = strings.NewReader(`{"key":"s1"}`)
		r := httptest.NewRequest(http.MethodPost, "/?key=q", c.body)
		r.ContentLength = 20
		r.Header.Set("Content-Type", "application/json")
		key, err := extractor(t, "json key").Key(nil, r)
		if key != "" || err == nil || err.Error() != c.want {
			t.Errorf("%s: Key = %q, %v, want %s", name, key, err, c.want)
		}
		seen, err := io.ReadAll(r.Body)
		if string(seen) != `{"key":"s1"}` || err == nil || !strings.HasSuffix(c.want, err.Error()) {
			t.Errorf("%s: the body reads %q, %v", name, seen, err)
		}
	}
}

func TestBrokenBodyFallsThrough(t *testing.T) {
	r := httptest.NewRequest(http.MethodPost, "/?key=q", &failingBody{Reader: strings.NewReader("{"), err: io.ErrUnexpectedEOF})
	r.ContentLength = 20
	r.Header.Set("Content-Type", "application/json")
	if key, err := extractor(t, "json key", "query key").Key(nil, r); key != "q" || err != nil {
		t.Errorf("Key = %q, %v, want q", key, err)
	}
}

// TestClientLeavesDuringPeek: the client announces a body, sends a part and
// goes. Key returns at once and not at its timeout.
func TestClientLeavesDuringPeek(t *testing.T) {
	e := extractorWith(t, routing.ExtractorOptions{BodyPeekTimeout: time.Minute}, "json key")
	result := make(chan error, 1)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, err := e.Key(w, r)
		result <- err
	}))
	defer front.Close()
	conn, _ := dial(t, front)
	fmt.Fprint(conn, "POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n{")
	conn.Close()
	select {
	case err := <-result:
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("error = %v, want unexpected EOF", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("Key did not return")
	}
}

// TestNoGoroutineStays: a read left to itself ends with its request, also if
// the body is no longer read.
func TestNoGoroutineStays(t *testing.T) {
	e := extractorWith(t, routing.ExtractorOptions{BodyPeekTimeout: 10 * time.Millisecond}, "json key")
	for _, h2 := range []bool{false, true} {
		before := runtime.NumGoroutine()
		looked := make(chan struct{})
		front := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if _, err := e.Key(w, r); !errors.Is(err, routing.ErrBodyLate) {
				t.Errorf("error = %v, want ErrBodyLate", err)
			}
			looked <- struct{}{}
			w.WriteHeader(http.StatusServiceUnavailable)
		}))
		front.EnableHTTP2 = h2
		if h2 {
			front.StartTLS()
		} else {
			front.Start()
		}
		for range 10 {
			ctx, cancel := context.WithCancel(t.Context())
			go func() { <-looked; cancel() }()
			body, w := io.Pipe()
			// The client waits for its body to end before it gives up.
			context.AfterFunc(ctx, func() { w.CloseWithError(ctx.Err()) })
			r, err := http.NewRequestWithContext(ctx, http.MethodPost, front.URL, body)
			must(t, err)
			r.ContentLength = 12
			r.Header.Set("Content-Type", "application/json")
			if resp, err := front.Client().Do(r); err == nil {
				resp.Body.Close()
			}
			cancel()
		}
		front.CloseClientConnections()
		front.Close()
		settled(t, before)
	}
}

func settled(t *testing.T, want int) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > want; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			stacks := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, want %d\n%s", runtime.NumGoroutine(), want, stacks[:runtime.Stack(stacks, true)])
		}
	}
}
