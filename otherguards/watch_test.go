package otherguards

import (
	"slices"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/internal/presence"
	"github.com/firebreak-proxy/firebreak/telemetry"
)

func newWatch(t *testing.T) (*Watch, *observer.ObservedLogs) {
	t.Helper()
	policy, err := (&config.App{Workers: 32}).Policy()
	if err != nil {
		t.Fatal(err)
	}
	guard := breaker.New(policy, breaker.Options{})
	t.Cleanup(guard.Close)
	guard.SetServers("test", []string{"10.0.0.7:9000", "localhost:9001"})
	w := New(guard)
	core, logs := observer.New(zapcore.InfoLevel)
	w.log, w.listeners = zap.New(core), []string{"tcp/:8080"}
	return w, logs
}

// TestThings: two processes write the same server and the same listener in the same
// way, and one that shares its servers on purpose makes nothing known.
func TestThings(t *testing.T) {
	w, _ := newWatch(t)
	if got, want := w.things(), []string{"server 10.0.0.7:9000", "server 127.0.0.1:9001", "listener tcp/:8080"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	w.shares = true
	if got := w.things(); got != nil {
		t.Errorf("with share it makes known %q", got)
	}
}

// TestTellsOnce: another process is told of when it comes and when it is gone, and is
// a warning in between.
func TestTellsOnce(t *testing.T) {
	w, logs := newWatch(t)
	second := []other{{Process: presence.Process{ID: "a", PID: 4711, Things: []string{"server 10.0.0.7:9000", "listener tcp/:8080"}}}}
	w.tell(second)
	w.tell(second)
	const want = "another firebreak, process 4711, guards the same API servers (10.0.0.7:9000) and listens at the same addresses (tcp/:8080)"
	if got := w.Warnings(); len(got) != 1 || !strings.HasPrefix(got[0], want) {
		t.Errorf("the warnings are %q, want %q", got, want)
	}
	w.tell(nil)
	if got := w.Warnings(); got != nil {
		t.Errorf("after it is gone the warnings are %q", got)
	}
	for _, message := range []string{telemetry.LogOtherGuard, telemetry.LogOtherGuardGone} {
		if n := logs.FilterMessage(message).Len(); n != 1 {
			t.Errorf("%q is logged %d times, want once", message, n)
		}
	}
}
