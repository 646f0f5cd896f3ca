package zonecheck_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/firebreak-proxy/firebreak/config"
	_ "github.com/firebreak-proxy/firebreak/postgres" // checks by the protocol of PostgreSQL
	"github.com/firebreak-proxy/firebreak/zonecheck"
)

// database listens on a port and lets serve talk to each connection.
func database(t *testing.T, serve func(net.Conn)) string {
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
			go func() {
				defer conn.Close()
				serve(conn)
			}()
		}
	}()
	return l.Addr().String()
}

// frozen accepts and never says a word, as a stopped process does.
func frozen(net.Conn) { time.Sleep(5 * time.Second) }

// pong answers PING in two pieces.
func pong(conn net.Conn) {
	buf := make([]byte, 6)
	if n, _ := conn.Read(buf); string(buf[:n]) != "PING\r\n" {
		return
	}
	_, _ = conn.Write([]byte("+PO"))
	time.Sleep(20 * time.Millisecond)
	_, _ = conn.Write([]byte("NG\r\n"))
	time.Sleep(time.Second)
}

// postgres speaks as much of the protocol as a check needs.
func postgres(conn net.Conn) {
	backend := pgproto3.NewBackend(conn, conn)
	if _, err := backend.ReceiveStartupMessage(); err != nil {
		return
	}
	backend.Send(&pgproto3.AuthenticationOk{})
	backend.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	_ = backend.Flush()
	for {
		message, err := backend.Receive()
		if err != nil {
			return
		}
		if query, ok := message.(*pgproto3.Query); ok && query.String == "SELECT 1" {
			backend.Send(&pgproto3.CommandComplete{CommandTag: []byte("SELECT 1")})
			backend.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
			_ = backend.Flush()
		}
	}
}

func TestCheckZone(t *testing.T) {
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/health":
			_, _ = w.Write([]byte("all is running well"))
		case "/moved":
			http.Redirect(w, r, "/gone", http.StatusFound)
		case "/hang":
			select {
			case <-time.After(2 * time.Second):
			case <-r.Context().Done():
			}
		default:
			http.Error(w, "broken", http.StatusInternalServerError)
		}
	}))
	t.Cleanup(web.Close)
	silent, redis, pg := database(t, frozen), database(t, pong), database(t, postgres)
	away := database(t, func(net.Conn) {})
	for _, test := range []struct {
		name  string
		check config.Check
		want  string // in the error; empty: well
	}{
		{"tcp answers", config.Check{Protocol: "tcp", Address: redis, Send: `PING\r\n`, Expect: "PONG"}, ""},
		{"tcp answers anything", config.Check{Protocol: "tcp", Address: redis, Send: `PING\r\n`}, ""},
		{"tcp answers otherwise", config.Check{Protocol: "tcp", Address: redis, Send: `QUIT\r\n`, Expect: "PONG"}, `expected "PONG"`},
		{"tcp frozen", config.Check{Protocol: "tcp", Address: silent, Send: `PING\r\n`, Expect: "PONG"}, "no answer in time"},
		{"tcp refused", config.Check{Protocol: "tcp", Address: "127.0.0.1:1", Send: "x"}, "refused"},
		{"http well", config.Check{Protocol: "http", Address: web.URL + "/health"}, ""},
		{"http expected", config.Check{Protocol: "http", Address: web.URL + "/health", Expect: "running"}, ""},
		{"http not expected", config.Check{Protocol: "http", Address: web.URL + "/health", Expect: "sleeping"}, `expected "sleeping"`},
		{"http broken", config.Check{Protocol: "http", Address: web.URL + "/broken"}, "500"},
		{"http does not follow", config.Check{Protocol: "http", Address: web.URL + "/moved"}, ""},
		{"http hangs", config.Check{Protocol: "http", Address: web.URL + "/hang"}, "no answer in time"},
		{"http frozen", config.Check{Protocol: "http", Address: "http://" + silent}, "no answer in time"},
		{"postgres well", config.Check{Protocol: "postgres", Address: "postgres://me:secret@" + pg + "/shop?sslmode=disable"}, ""},
		{"postgres frozen", config.Check{Protocol: "postgres", Address: "postgres://me:secret@" + silent + "/shop?sslmode=disable"}, "no answer in time"},
		{"postgres hangs up", config.Check{Protocol: "postgres", Address: "postgres://me:secret@" + away + "/shop?sslmode=disable"}, "failed to receive"},
		{"unknown protocol", config.Check{Protocol: "redis"}, "unknown protocol"},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.check.Timeout = config.Duration(300 * time.Millisecond)
			began := time.Now()
			err := zonecheck.Check(t.Context(), "z7", &test.check)
			if took := time.Since(began); took > time.Second {
				t.Errorf("took %s, want little more than the timeout of 300ms", took)
			}
			switch {
			case test.want == "" && err != nil:
				t.Errorf("failed: %v", err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("got error %v, want one with %q", err, test.want)
			case err != nil && strings.Contains(err.Error(), "secret"):
				t.Errorf("the error shows the password: %v", err)
			}
		})
	}
}

// TestCheckZoneEndsEarly makes sure that a check ends when the guard does.
func TestCheckZoneEndsEarly(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	began := time.Now()
	c := &config.Check{Protocol: "tcp", Address: database(t, frozen), Send: "x", Timeout: config.Duration(5 * time.Second)}
	if err := zonecheck.Check(ctx, "z7", c); err == nil || time.Since(began) > 2*time.Second {
		t.Errorf("got %v after %s, want an error at once", err, time.Since(began))
	}
}
