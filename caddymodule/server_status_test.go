package caddymodule_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"
)

// statusPage is a stats server of uWSGI that says what it is told to; nothing: it
// never answers.
func statusPage(t *testing.T, says func() string) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			if text := says(); text != "" {
				_, _ = io.WriteString(conn, text)
				conn.Close()
			} else {
				t.Cleanup(func() { conn.Close() })
			}
		}
	}()
	return l.Addr().String()
}

// uwsgiStats is the page of a uWSGI with so many workers.
func uwsgiStats(workers int) string {
	list := make([]string, workers)
	for i := range list {
		list[i] = fmt.Sprintf(`{"id": %d, "status": "idle"}`, i+1)
	}
	return `{"listen_queue": 0, "workers": [` + strings.Join(list, ",") + `]}`
}

// warned says what is wrong unless there is a warning with the text in status and
// list of servers; "": none at all.
func (s *sidecar) warned(t *testing.T, want string) string {
	t.Helper()
	_, status := s.mustSend(t, 200, "GET", "/firebreak/status", "")
	got := fmt.Sprint(status["warnings"])
	if want == "" && status["warnings"] != nil || !strings.Contains(got, want) {
		return fmt.Sprintf("the warnings are %s, want %q", got, want)
	}
	return ""
}

// TestServerStatus: a setting that the status page contradicts is told with the line
// to write, and is told no longer when it is right, or when nobody asks any more.
func TestServerStatus(t *testing.T) {
	server := startServer(t)
	page := statusPage(t, func() string { return uwsgiStats(4) })
	with := func(workers string) string {
		return strings.Replace(perServer, "workers 8 per_server", workers+"\n\t\tserver_status uwsgi "+strings.Replace(page, "127.0.0.1", "{host}", 1), 1)
	}
	s := startSidecar(t, with("workers 8 per_server"), behind("firebreak", server.address))
	wait := func(want string) {
		t.Helper()
		eventuallyFor(t, 15*time.Second, func() string { return s.warned(t, want) })
	}
	wait("server " + server.address + ": workers is 8, but the server has 4; write into the firebreak settings: workers 4 per_server")
	s.ok(t, http.MethodGet, 20)
	if err := s.load(with("workers 4 per_server"), behind("firebreak", server.address)); err != nil {
		t.Fatal(err)
	}
	wait("")
	if err := s.load(with("workers 16"), behind("firebreak", server.address)); err != nil {
		t.Fatal(err)
	}
	wait("write into the firebreak settings: workers 4")
	if err := s.load(perServer, behind("firebreak", server.address)); err != nil {
		t.Fatal(err)
	}
	wait("")
	if err := s.load(with("workers auto"), behind("firebreak", server.address)); err != nil {
		t.Fatal(err)
	}
	eventuallyFor(t, 15*time.Second, func() string {
		if _, answer := s.mustSend(t, 200, "GET", "/firebreak/status", ""); answer["workers"] != 4.0 {
			return fmt.Sprintf("the pool has %v workers, want 4", answer["workers"])
		}
		return ""
	})
	wait("")
}

// TestServerStatusFails: requests are served as ever while a status page hangs, is
// garbage or is not there.
func TestServerStatusFails(t *testing.T) {
	server := startServer(t)
	for name, page := range map[string]string{
		"hangs":     statusPage(t, func() string { return "" }),
		"garbage":   statusPage(t, func() string { return "<html>no such page</html>" }),
		"not there": freeAddress(t),
	} {
		t.Run(name, func(t *testing.T) {
			app := strings.Replace(perServer, "workers 8 per_server", "workers auto\n\t\tserver_status uwsgi "+page, 1)
			s := startSidecar(t, app, behind("firebreak", server.address))
			began := time.Now()
			s.ok(t, http.MethodGet, 40)
			within(t, "40 requests", time.Since(began), 0, 2*time.Second)
		})
	}
}

// TestServerStatusEnds: after reloads there are no more watches than servers.
func TestServerStatusEnds(t *testing.T) {
	one, other := startServer(t), startServer(t)
	page := statusPage(t, func() string { return uwsgiStats(8) })
	with := func(lines string) string {
		return strings.Replace(perServer, "workers 8 per_server", "workers 8 per_server\n"+lines, 1)
	}
	apps := []string{
		with("server_status uwsgi " + page),
		with("server_status auto\nserver " + one.address + " {\nstatus uwsgi " + page + "\n}"),
		with("server_status auto"),
		perServer,
	}
	handlers := behind("firebreak", one.address, other.address)
	s := startSidecar(t, perServer, handlers)
	for range 5 {
		for _, app := range apps {
			if err := s.load(app, handlers); err != nil {
				t.Fatalf("%v: %s", err, app)
			}
		}
	}
	eventuallyFor(t, 10*time.Second, func() string {
		buffer := make([]byte, 1<<20)
		if stacks := string(buffer[:runtime.Stack(buffer, true)]); strings.Contains(stacks, "workers.(*Watch)") {
			return "a watch still runs:\n" + stacks
		}
		return ""
	})
}
