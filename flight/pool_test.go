package flight

import (
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// TestPool: a request that hangs holds up no other, and all goroutines end.
func TestPool(t *testing.T) {
	before := runtime.NumGoroutine()
	t.Run("work", func(t *testing.T) {
		p := newRig(t)
		request := func(next caddyhttp.HandlerFunc) {
			p.run(t, httptest.NewRecorder(), newRequest(t), time.Minute, next)
		}
		stuck := make(chan struct{})
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				request(func(http.ResponseWriter, *http.Request) error { <-stuck; return nil })
			})
		}
		served := 0
		for range 1000 {
			request(func(w http.ResponseWriter, _ *http.Request) error { served++; w.WriteHeader(http.StatusOK); return nil })
		}
		if served != 1000 {
			t.Errorf("%d of 1000 requests were served while others hang", served)
		}
		close(stuck)
		wg.Wait()
		handlers := &p.flights.handlers
		handlers.mu.Lock()
		defer handlers.mu.Unlock()
		if n := len(handlers.idle); n == 0 || n > maxIdleWorkers {
			t.Errorf("%d wait for work, want 1 to %d", n, maxIdleWorkers)
		}
	})
	eventually(t, "goroutines are left", func() bool { return runtime.NumGoroutine() <= before })
}
