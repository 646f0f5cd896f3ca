package servers

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/telemetry"
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

// watchStatus watches the one server of a guard, whose status is at page.
func watchStatus(t *testing.T, page string) (*breaker.Guard, *observer.ObservedLogs) {
	t.Helper()
	policy, err := (&config.App{WorkersAuto: true, ServerStatus: &config.ServerStatus{Source: config.StatusUWSGI, Address: page}}).Policy()
	if err != nil {
		t.Fatal(err)
	}
	guard := breaker.New(policy, breaker.Options{})
	t.Cleanup(guard.Close)
	guard.SetServers("test", []string{"127.0.0.1:1"})
	watches := NewWatches(guard)
	watches.patience = 100 * time.Millisecond
	t.Cleanup(watches.Close)
	core, logs := observer.New(zapcore.InfoLevel)
	watches.Follow(zap.New(core), nil)
	return guard, logs
}

// eventually waits until a server's measurements are as wanted.
func eventually(t *testing.T, guard *breaker.Guard, wanted func(breaker.Measured) bool) {
	t.Helper()
	var got *breaker.Measured
	for end := time.Now().Add(15 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if got = guard.Servers()[0].Measured; got != nil && wanted(*got) {
			return
		}
	}
	t.Fatalf("what is known of the server is %+v", got)
}

// TestStatusFails: a status page that hangs, is garbage or is not there is told of
// once, and again when it can be read.
func TestStatusFails(t *testing.T) {
	good := `{"listen_queue": 0, "workers": [{"id": 1, "status": "idle"}]}`
	for name, bad := range map[string]string{"hangs": "", "garbage": "<html>no such page</html>"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var failed breaker.Measured
			answer := make(chan string, 1)
			answer <- bad
			page := statusPage(t, func() string {
				text := <-answer
				answer <- text
				return text
			})
			guard, logs := watchStatus(t, page)
			eventually(t, guard, func(m breaker.Measured) bool { failed = m; return m.Problem != "" })
			if want := "the stats server of uWSGI at " + page; !strings.Contains(failed.Problem, want) {
				t.Errorf("the problem is %q, want %q in it", failed.Problem, want)
			}
			if bad == "" {
				return // it is read again after some time-outs more
			}
			<-answer
			answer <- good
			eventually(t, guard, func(m breaker.Measured) bool { return m.Problem == "" })
			for _, message := range []string{telemetry.LogStatusUnread, telemetry.LogStatusRead} {
				if n := logs.FilterMessage(message).Len(); n != 1 {
					t.Errorf("%q is logged %d times, want once", message, n)
				}
			}
		})
	}
	t.Run("not there", func(t *testing.T) {
		t.Parallel()
		guard, _ := watchStatus(t, deadAddress(t))
		eventually(t, guard, func(m breaker.Measured) bool { return strings.Contains(m.Problem, "refused") })
	})
}
