package upload_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/internal/upload"
)

func TestLimiter(t *testing.T) {
	l := upload.NewLimiter(upload.Bounds{Requests: 3, Bytes: 100}, upload.Bounds{Requests: 2, Bytes: 60})
	a, b, c := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("192.0.2.3")
	for i, step := range []struct {
		client netip.Addr
		bytes  int64
		want   error
	}{
		{a, 61, upload.ErrClient},
		{a, 10, nil},
		{a, 10, nil},
		{a, 1, upload.ErrClient},
		{b, 60, nil},
		{c, 1, upload.ErrAll},
	} {
		if err := l.Take(step.client, step.bytes); !errors.Is(err, step.want) {
			t.Errorf("step %d: %v, want %v", i, err, step.want)
		}
	}
	l.Give(a, 10)
	if err := l.Take(c, 31); !errors.Is(err, upload.ErrAll) {
		t.Errorf("101 bytes in all: %v, want %v", err, upload.ErrAll)
	}
	if err := l.Take(c, 30); err != nil {
		t.Error(err)
	}
	l.Give(a, 10)
	l.Give(b, 60)
	l.Give(c, 30)
	if used := l.Used(); used != (upload.Bounds{}) {
		t.Errorf("%+v is left", used)
	}
}

func TestClient(t *testing.T) {
	for text, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "::ffff:192.0.2.1": "192.0.2.1",
		"2001:db8:1:2:3:4:5:6": "2001:db8:1:2::", "fe80::1%eth0": "fe80::",
	} {
		if got := upload.Client(netip.MustParseAddr(text)); got.String() != want {
			t.Errorf("%s is %s, want %s", text, got, want)
		}
	}
	if got := upload.Client(netip.Addr{}); got.IsValid() {
		t.Errorf("no address is %s", got)
	}
}

// serve receives ahead what a real server reads, and answers with what was
// received.
func serve(t *testing.T, limit int, patience, readTimeout time.Duration) (addr string, got func() string) {
	t.Helper()
	var mu sync.Mutex
	var said []string
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := upload.Receive(w, r, limit, patience)
		if err != nil {
			mu.Lock()
			defer mu.Unlock()
			said = append(said, err.Error())
			return
		}
		complete := body.Complete()
		time.Sleep(2 * patience) // the limit of the time of reading is gone
		all, err := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		said = append(said, fmt.Sprintf("%d bytes, complete %t, %v, %v", len(all), complete, err, r.Context().Err()))
	}))
	server.Config.ReadTimeout = readTimeout
	server.Start()
	t.Cleanup(server.Close)
	return server.Listener.Addr().String(), func() string {
		mu.Lock()
		defer mu.Unlock()
		if len(said) == 0 {
			return ""
		}
		return said[0]
	}
}

// TestReceive sends requests in parts, and waits between them.
func TestReceive(t *testing.T) {
	x := func(n int) string { return strings.Repeat("x", n) }
	const patience = 200 * time.Millisecond
	for _, c := range []struct {
		name, header string
		parts        []string
		wait         time.Duration
		want         string
	}{
		{"whole", "Content-Length: 500", []string{x(500)}, 0, "500 bytes, complete true, <nil>, <nil>"},
		{"of just that length", "Content-Length: 10000", []string{x(10000)}, 0, "10000 bytes, complete true, <nil>, <nil>"},
		{"longer", "Content-Length: 10001", []string{x(10001)}, 0, "10001 bytes, complete false, <nil>, <nil>"},
		{"chunked", "Transfer-Encoding: chunked", []string{"3\r\nabc\r\n", "0\r\n\r\n"}, 0, "3 bytes, complete true, <nil>, <nil>"},
		{"chunked, longer", "Transfer-Encoding: chunked", []string{"2af8\r\n" + x(11000) + "\r\n", "0\r\n\r\n"}, 0, "11000 bytes, complete false, <nil>, <nil>"},
		{"with progress", "Content-Length: 6000", []string{x(1500), x(1500), x(1500), x(1500)}, 120 * time.Millisecond, "6000 bytes, complete true, <nil>, <nil>"},
		{"with the end instead", "Content-Length: 1010", []string{x(1000), x(10)}, 120 * time.Millisecond, "1010 bytes, complete true, <nil>, <nil>"},
		{"without progress", "Content-Length: 6000", []string{x(5), x(5), x(5), x(5)}, 80 * time.Millisecond, upload.ErrLate.Error()},
		{"nothing", "Content-Length: 6000", nil, 0, upload.ErrLate.Error()},
		{"bad chunk", "Transfer-Encoding: chunked", []string{"3\r\nabc\r\nzz\r\n"}, 0, "3 bytes, complete false, invalid byte in chunk length, <nil>"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			addr, got := serve(t, 10000, patience, 0)
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: x\r\n%s\r\n\r\n", c.header)
			for _, part := range c.parts {
				_, _ = io.WriteString(conn, part)
				time.Sleep(c.wait)
			}
			for end := time.Now().Add(5 * time.Second); got() == "" && time.Now().Before(end); {
				time.Sleep(5 * time.Millisecond)
			}
			if got() != c.want {
				t.Errorf("%q, want %q", got(), c.want)
			}
		})
	}
}

// TestServersReadTimeout: what the server itself allows still holds.
func TestServersReadTimeout(t *testing.T) {
	addr, got := serve(t, 10000, 5*time.Second, 100*time.Millisecond)
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	began := time.Now()
	fmt.Fprint(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf")
	for got() == "" && time.Since(began) < 4*time.Second {
		time.Sleep(5 * time.Millisecond)
	}
	if got() != upload.ErrLate.Error() || time.Since(began) > 2*time.Second {
		t.Errorf("after %s: %q, want %q", time.Since(began), got(), upload.ErrLate)
	}
}

// TestBodyWaits: only what was not received ahead is waited for.
func TestBodyWaits(t *testing.T) {
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader("abc"))
	if body, err := upload.Receive(w, r, 10, time.Second); body != nil || err != nil {
		t.Errorf("%v, %v by a writer without deadlines, want nothing", body, err)
	}
	body, err := upload.Receive(deadlines{w}, r, 2, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if body.Waits() {
		t.Error("it waits for what is there")
	}
	if _, err := io.ReadFull(body, make([]byte, 2)); err != nil || !body.Waits() {
		t.Errorf("%v, waits: %t; want that it waits for the rest", err, body.Waits())
	}
}

type deadlines struct{ http.ResponseWriter }

func (deadlines) SetReadDeadline(time.Time) error { return nil }
