//go:build e2e

package e2e_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/websocket"
)

// streamSite is a firebreak with the default deadline in front of a server of
// streams.
func streamSite(backend string) site {
	return site{pool: workers, handlers: guard + fmt.Sprintf(`
	reverse_proxy %s {
		transport firebreak
	}`, strings.TrimPrefix(backend, "http://"))}
}

// TestWebSocket: a connection lives on beyond the deadline, in both directions.
func TestWebSocket(t *testing.T) {
	t.Parallel()
	echo := httptest.NewServer(websocket.Handler(func(c *websocket.Conn) { _, _ = io.Copy(c, c) }))
	defer echo.Close()
	p := startProxy(t, streamSite(echo.URL))
	c, err := websocket.Dial("ws://"+p.addr+"/socket?key="+storeName(0, 0), "", "http://"+p.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	began := time.Now()
	for n := 0; time.Since(began) < 2*timeout; n++ {
		exchange(t, c, fmt.Sprintf("message %d", n))
		time.Sleep(500 * time.Millisecond)
	}
	if z := p.zone(t, zoneName(0)); z.State != "calm" || z.Hung != 0 || z.Live != 0 {
		t.Errorf("a stream counts as a request in flight: %+v", z)
	}
	figure(t, "a WebSocket lived for %.1f s beyond a deadline of %s", time.Since(began).Seconds(), timeout)
}

func exchange(t *testing.T, c *websocket.Conn, message string) {
	t.Helper()
	if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	var answer string
	if err := websocket.Message.Send(c, message); err != nil {
		t.Fatal(err)
	}
	if err := websocket.Message.Receive(c, &answer); err != nil || answer != message {
		t.Fatalf("got %q, %v, want %q", answer, err, message)
	}
}

// TestServerSentEvents: every event reaches curl when it is sent, also beyond
// the deadline.
func TestServerSentEvents(t *testing.T) {
	t.Parallel()
	const events = 8
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for n := range events {
			fmt.Fprintf(w, "data: %d\n\n", n)
			_ = http.NewResponseController(w).Flush()
			time.Sleep(500 * time.Millisecond)
		}
	}))
	defer server.Close()
	p := startProxy(t, streamSite(server.URL))
	curl := exec.Command("curl", "--silent", "--show-error", "--fail", "--no-buffer",
		"http://"+p.addr+"/events?key="+storeName(0, 0))
	var stderr bytes.Buffer
	curl.Stderr = &stderr
	stdout, err := curl.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := curl.Start(); err != nil {
		t.Fatal(err)
	}
	began, got, first := time.Now(), "", time.Duration(0)
	chunk := make([]byte, 4096)
	for err == nil {
		var n int
		n, err = stdout.Read(chunk)
		if got == "" {
			first = time.Since(began)
		}
		got += string(chunk[:n])
	}
	if err := curl.Wait(); err != nil {
		t.Fatalf("curl: %v: %s", err, stderr.Bytes())
	}
	want := ""
	for n := range events {
		want += fmt.Sprintf("data: %d\n\n", n)
	}
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if first > 400*time.Millisecond {
		t.Errorf("the first event came after %s: events are held back", first)
	}
	figure(t, "%d events over %.1f s beyond a deadline of %s, the first after %s", events, time.Since(began).Seconds(), timeout, ms(first))
}
