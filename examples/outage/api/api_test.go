package api_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/examples/outage/api"
	"github.com/firebreak-proxy/firebreak/examples/outage/zone"
)

// open starts an API server in front of one real zone database, z1, with the
// stores ill and well.
func open(t *testing.T, c api.Config) (*api.Server, *zone.Server) {
	t.Helper()
	z, err := zone.NewServer(zone.Config{Listen: "127.0.0.1:0", Parallel: 4})
	if err != nil {
		t.Fatal(err)
	}
	c.Listen = "127.0.0.1:0"
	c.ZoneOf = map[string]string{"ill": "z1", "well": "z1"}
	c.ZoneAddr = map[string]string{"z1": z.Addr()}
	server, err := api.NewServer(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		server.Close()
		z.Close() // lets go of the workers that are stuck
		server.Wait()
	})
	return server, z
}

// send writes a request for a store and leaves the answer unread.
func send(t *testing.T, server *api.Server, store string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", server.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	fmt.Fprintf(conn, "GET /search?key=%s HTTP/1.1\r\nHost: api\r\n\r\n", store)
	return conn
}

func receive(t *testing.T, conn net.Conn) (*http.Response, string) {
	t.Helper()
	conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

// sidePort reads the pool the way an outsider does.
func sidePort(t *testing.T, server *api.Server) api.State {
	t.Helper()
	w := httptest.NewRecorder()
	server.Pool().Handler().ServeHTTP(w, httptest.NewRequest("GET", "/pool", nil))
	var state api.State
	if err := json.Unmarshal(w.Body.Bytes(), &state); err != nil {
		t.Fatal(err)
	}
	return state
}

func wantBusy(t *testing.T, server *api.Server, want int) {
	t.Helper()
	got := -1
	for range 250 {
		if got = sidePort(t, server).Busy; got == want {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("want %d busy workers, got %d", want, got)
}

func TestAWorkerDoesNotNoticeThatItsClientLeft(t *testing.T) {
	server, z := open(t, api.Config{Workers: 4})
	z.Hang("ill")
	conn := send(t, server, "ill")
	wantBusy(t, server, 1)
	conn.Close()
	time.Sleep(300 * time.Millisecond)
	state := sidePort(t, server)
	if state.Busy != 1 || state.BusyByZone["z1"] != 1 || state.LongestBusyMS < 300 {
		t.Fatalf("want one worker busy with z1 for over 300 ms, got %+v", state)
	}
	if err := z.Heal(); err != nil {
		t.Fatal(err)
	}
	wantBusy(t, server, 0)
}

func TestConnectionsWaitInTheBacklog(t *testing.T) {
	server, z := open(t, api.Config{Workers: 2, Backlog: 16})
	z.Hang("ill")
	send(t, server, "ill")
	send(t, server, "ill")
	wantBusy(t, server, 2)
	waiting := send(t, server, "well") // is accepted by the kernel, not read
	waiting.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
	if n, err := waiting.Read(make([]byte, 1)); n != 0 || !isTimeout(err) {
		t.Fatalf("want no answer while all workers are stuck, got %d bytes, %v", n, err)
	}
	if err := z.Heal(); err != nil {
		t.Fatal(err)
	}
	if resp, body := receive(t, waiting); resp.StatusCode != 200 || !strings.Contains(body, "value of well") {
		t.Errorf("want the waiting request answered after the heal, got %d %s", resp.StatusCode, body)
	}
	if state := sidePort(t, server); state.WorstBusy != 2 || state.WorstByZone["z1"] != 2 {
		t.Errorf("want 2 workers busy at worst, got %+v", state)
	}
}

func TestFullBacklogTakesNoOther(t *testing.T) {
	server, z := open(t, api.Config{Workers: 1, Backlog: 2})
	z.Hang("ill")
	send(t, server, "ill")
	wantBusy(t, server, 1)
	for range 20 {
		conn, err := net.DialTimeout("tcp", server.Addr(), 300*time.Millisecond)
		if err != nil {
			return
		}
		defer conn.Close()
	}
	t.Error("want a full backlog to let connections wait, got 20 accepted")
}

func isTimeout(err error) bool {
	netErr, isNet := err.(net.Error)
	return isNet && netErr.Timeout()
}

func TestAStuckWorkerIsReplaced(t *testing.T) {
	const killAfter = 300 * time.Millisecond
	server, z := open(t, api.Config{Workers: 1, KillAfter: killAfter})
	z.Hang("ill")
	conn := send(t, server, "ill")
	began := time.Now()
	conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	if n, err := conn.Read(make([]byte, 1)); n != 0 || isTimeout(err) {
		t.Fatalf("want the connection reset without an answer, got %d bytes, %v", n, err)
	}
	if took := time.Since(began); took < killAfter-50*time.Millisecond {
		t.Errorf("want the worker to have %v, got %v", killAfter, took)
	}
	if resp, _ := receive(t, send(t, server, "well")); resp.StatusCode != 200 {
		t.Errorf("want the worker's place taken by a new one, got %d", resp.StatusCode)
	}
	if state := sidePort(t, server); state.Killed != 1 {
		t.Errorf("want 1 killed worker, got %+v", state)
	}
}

func TestAnswers(t *testing.T) {
	server, z := open(t, api.Config{Workers: 2})
	for name, tt := range map[string]struct {
		request string
		status  int
		body    string
	}{
		"store":         {"GET /search?key=well", 200, `"value":"value of well"`},
		"check":         {"GET /internal/check?key=well", 200, `"zone":"z1"`},
		"json":          {"POST /search", 200, "value of well"},
		"no key":        {"GET /search", 400, "key is missing"},
		"unknown store": {"GET /search?key=nobody", 404, "no such store"},
		"unknown path":  {"GET /", 404, "no such path"},
		"health":        {"GET /health", 200, "up"},
	} {
		t.Run(name, func(t *testing.T) {
			method, path, _ := strings.Cut(tt.request, " ")
			body := ""
			if method == "POST" {
				body = `{"key": "well"}`
			}
			conn, err := net.Dial("tcp", server.Addr())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: api\r\nContent-Length: %d\r\n\r\n%s", method, path, len(body), body)
			resp, got := receive(t, conn)
			if resp.StatusCode != tt.status || !strings.Contains(got, tt.body) {
				t.Errorf("want %d with %q, got %d %s", tt.status, tt.body, resp.StatusCode, got)
			}
			if n, err := conn.Read(make([]byte, 1)); n != 0 || err != io.EOF {
				t.Errorf("want the connection closed after the answer, got %d bytes, %v", n, err)
			}
		})
	}
	z.Refuse()
	if resp, body := receive(t, send(t, server, "well")); resp.StatusCode != 500 || !strings.Contains(body, "asking zone z1") {
		t.Errorf("want 500 from a zone that refuses, got %d %s", resp.StatusCode, body)
	}
}

func TestWorstIsResetToWhatIsBusyNow(t *testing.T) {
	server, z := open(t, api.Config{Workers: 4})
	z.Hang("ill")
	send(t, server, "ill")
	send(t, server, "ill")
	wantBusy(t, server, 2)
	if err := z.Heal(); err != nil {
		t.Fatal(err)
	}
	wantBusy(t, server, 0)
	if state := sidePort(t, server); state.WorstBusy != 2 {
		t.Errorf("want 2 at worst, got %+v", state)
	}
	w := httptest.NewRecorder()
	server.Pool().Handler().ServeHTTP(w, httptest.NewRequest("POST", "/pool/reset-worst", nil))
	if state := sidePort(t, server); state.WorstBusy != 0 || len(state.WorstByZone) != 0 {
		t.Errorf("want 0 at worst after the reset, got %+v", state)
	}
}
