package caddymodule_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
)

// TestServerCheckBringsBack wants a server whose hung requests never end to be in
// service again because of its check.
func TestServerCheckBringsBack(t *testing.T) {
	one, other := startServer(t), startServer(t)
	health := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(health.Close)
	stuck := newGate(t)
	one.stuck.Store(stuck)
	t.Cleanup(stuck.release)
	app := strings.Replace(perServer, "timeout 5s", "timeout 1s", 1) + fmt.Sprintf("\n server_check %s/ {\n every 100ms\n }", health.URL)
	s := startSidecar(t, app, behind("random", one.address, other.address))
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(10 * time.Millisecond):
				go func() { _, _ = s.do(t.Context(), http.MethodGet, "/?key="+string("abcdef"[i%6]), nil) }()
			}
		}
	}()
	status := func() breaker.ServerStatus {
		for _, server := range s.app(t).Guard().Servers() {
			if server.Address == one.address {
				return server
			}
		}
		return breaker.ServerStatus{}
	}
	eventually(t, "the server is out of service", func() bool {
		if status().State != breaker.OutOfService {
			return false
		}
		one.stuck.Store(nil) // what it has got stays stuck
		return true
	})
	close(stop)
	<-stopped
	eventually(t, "its check has brought it back", func() bool { return status().State == breaker.InService })
	if got := status(); got.Occupied == 0 {
		t.Errorf("nothing hangs on it any more: %+v", got)
	}
}
