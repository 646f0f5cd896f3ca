package httpguard_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/breaker/httpguard"
)

func newGuard(tb testing.TB) *breaker.Guard {
	tb.Helper()
	policy, err := breaker.NewPolicy(8, time.Second)
	if err != nil {
		tb.Fatal(err)
	}
	guard := breaker.New(policy, breaker.Options{})
	tb.Cleanup(guard.Close)
	return guard
}

// byHeader takes the store and its zone from the request's header.
func byHeader(r *http.Request) (zone, store string) {
	return r.Header.Get("X-Zone"), r.Header.Get("X-Store")
}

func get(h http.Handler, ctx context.Context, zone, store string) *httptest.ResponseRecorder {
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/", http.NoBody)
	r.Header.Set("X-Zone", zone)
	r.Header.Set("X-Store", store)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// TestHandlerGuards: a zone that does not answer is cut off, its clients are answered
// at the deadline, its workers stay on the books until they are free, and the other
// zone notices nothing.
func TestHandlerGuards(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		guard, frozen := newGuard(t), make(chan struct{})
		handler := http.TimeoutHandler(&httpguard.Handler{Guard: guard, Of: byHeader, Next: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("X-Zone") == "z1" {
				<-frozen
			}
			_, _ = w.Write([]byte("ok"))
		})}, time.Second, "")
		for i := range 6 {
			go get(handler, t.Context(), "z1", fmt.Sprint("s", i))
			if w := get(handler, t.Context(), "z2", "s"); w.Code != http.StatusOK {
				t.Errorf("the other zone gets %d", w.Code)
			}
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(2 * time.Second)
		if z, _ := guard.Zone("z1"); z.State != breaker.Open || z.Hung < 2 || z.Hung > 3 {
			t.Errorf("the zone is %s with %d workers hung, want open with 2 or 3", z.State, z.Hung)
		}
		w := get(handler, t.Context(), "z1", "s9")
		if w.Code != http.StatusServiceUnavailable || w.Header().Get("Firebreak-Refusal") != "zone_open" || w.Header().Get("Retry-After") == "" {
			t.Errorf("got %d with %v, want 503 with the reason and Retry-After", w.Code, w.Header())
		}
		close(frozen)
		synctest.Wait()
		if w := get(handler, t.Context(), "z1", "s9"); w.Code != http.StatusOK || guard.Status().Occupied != 0 {
			t.Errorf("after the heal %d, %d workers occupied, want 200 and none", w.Code, guard.Status().Occupied)
		}
	})
}

// TestHandlerBooks: whatever becomes of a request, its worker is free in the end,
// and the outcome is counted once.
func TestHandlerBooks(t *testing.T) {
	for name, tt := range map[string]struct {
		next func(w http.ResponseWriter, r *http.Request)
		want string
	}{
		"nothing written": {func(http.ResponseWriter, *http.Request) {}, "ok"},
		"an error":        {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }, "failure"},
		"early hints": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusEarlyHints)
			w.WriteHeader(http.StatusBadGateway)
		}, "failure"},
		"client error": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) }, "ok"},
		"a panic":      {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "broken"},
		"client left":  {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "gone"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				guard := newGuard(t)
				handler := &httpguard.Handler{Guard: guard, Of: byHeader, Next: http.HandlerFunc(tt.next)}
				ctx, leave := context.WithCancel(t.Context())
				time.AfterFunc(100*time.Millisecond, leave)
				func() {
					defer func() { _ = recover() }()
					get(handler, ctx, "z1", "s1")
				}()
				time.Sleep(time.Second)
				s := guard.Status()
				if n := s.Zones[0].Outcomes[tt.want]; s.Occupied != 0 || n != 1 {
					t.Errorf("%d workers occupied, outcomes %v; want none, and one %s", s.Occupied, s.Zones[0].Outcomes, tt.want)
				}
			})
		})
	}
}

// Example guards a reverse proxy.
func Example() {
	policy, err := breaker.NewPolicy(32, 2*time.Second)
	if err != nil {
		panic(err)
	}
	guard := breaker.New(policy, breaker.Options{})
	defer guard.Close()

	api, err := url.Parse("http://127.0.0.1:9000")
	if err != nil {
		panic(err)
	}
	guarded := &httpguard.Handler{
		Guard: guard,
		Of: func(r *http.Request) (zone, store string) {
			return r.PathValue("zone"), r.PathValue("store")
		},
		Next: httputil.NewSingleHostReverseProxy(api),
	}
	mux := http.NewServeMux()
	mux.Handle("/{zone}/{store}/", http.TimeoutHandler(guarded, policy.Default.Timeout, "no answer in time"))
	// Then: http.ListenAndServe(":8080", mux)
}
