package caddymodule

import (
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// TestHandlerPool: a request that hangs holds up no other, and all goroutines end.
func TestHandlerPool(t *testing.T) {
	before := runtime.NumGoroutine()
	t.Run("work", func(t *testing.T) {
		h := benchHandler(t)
		request := func(next caddyhttp.HandlerFunc) {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/?key=s1", nil)
			if err := h.ServeHTTP(httptest.NewRecorder(), r, next); err != nil {
				t.Error(err)
			}
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
		h.handlers.mu.Lock()
		defer h.handlers.mu.Unlock()
		if n := len(h.handlers.idle); n == 0 || n > maxIdleWorkers {
			t.Errorf("%d wait for work, want 1 to %d", n, maxIdleWorkers)
		}
	})
	for until := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("%d goroutines before, %d after", before, runtime.NumGoroutine())
		}
	}
}
