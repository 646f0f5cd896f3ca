package load_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/examples/outage/load"
)

func serve(t *testing.T, h http.HandlerFunc) func(int) load.Target {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return func(int) load.Target {
		return load.Target{Zone: "z1", Store: "s1", URL: server.URL}
	}
}

func ok(http.ResponseWriter, *http.Request) {}

// On a machine with nothing else to do the lag stays below the limit. Elsewhere
// a sleeper beside each run tells how late this machine wakes anyone, and the
// best of three runs counts; a generator that is late by itself fails them all.
func TestRequestsLeaveOnTime(t *testing.T) {
	const limit = 5 * time.Millisecond
	pick := serve(t, ok)
	var lag, machine time.Duration
	for range 3 {
		sleeper := sleepEvery(t.Context(), 5*time.Second, time.Second/300)
		rs := load.Run(t.Context(), load.Plan{Rate: 300, Duration: 5 * time.Second, Pick: pick})
		if len(rs) != 1500 {
			t.Fatalf("want 1500 requests in 5 s at 300/s, got %d", len(rs))
		}
		if got := load.OKPercent(rs); got != 100 {
			t.Fatalf("want all ok, got %.2f %%", got)
		}
		lag, machine = load.Lag(rs, 99), <-sleeper
		t.Logf("p99 of the lag %v, of a sleeper %v", lag, machine)
		if lag < limit+machine {
			return
		}
	}
	t.Errorf("want p99 of the lag below %v plus the machine's own %v, got %v", limit, machine, lag)
}

// sleepEvery wakes up at a fixed rate, does nothing, and tells the p99 of how
// late it was.
func sleepEvery(ctx context.Context, d, interval time.Duration) <-chan time.Duration {
	result := make(chan time.Duration, 1)
	start := time.Now()
	go func() {
		var late []time.Duration
		for due := time.Duration(0); due < d && ctx.Err() == nil; due += interval {
			time.Sleep(due - time.Since(start))
			late = append(late, time.Since(start)-due)
		}
		slices.Sort(late)
		result <- late[len(late)*99/100]
	}()
	return result
}

// The server answers nothing for the first 600 ms. A generator that waits for
// answers would have sent one request in that time, and one that counts from
// the sending would report a short wait.
func TestAStalledServerDoesNotHoldTheGeneratorBack(t *testing.T) {
	var early atomic.Int32
	opens := time.Now().Add(600 * time.Millisecond)
	pick := serve(t, func(http.ResponseWriter, *http.Request) {
		if wait := time.Until(opens); wait > 0 {
			early.Add(1)
			time.Sleep(wait)
		}
	})
	rs := load.Run(t.Context(), load.Plan{Rate: 100, Duration: time.Second, Pick: pick})
	if len(rs) != 100 {
		t.Fatalf("want 100 requests, got %d", len(rs))
	}
	if got := early.Load(); got < 40 {
		t.Errorf("want about 60 requests sent into the stall, got %d", got)
	}
	slow := load.Filter(rs, func(r load.Result) bool { return r.Latency > 100*time.Millisecond })
	if len(slow) < 40 {
		t.Errorf("want about 50 requests that waited over 100 ms, got %d", len(slow))
	}
	if first := rs[0].Latency; first < 500*time.Millisecond {
		t.Errorf("want the first request to have waited for the whole stall, got %v", first)
	}
}

func TestBurstArithmetic(t *testing.T) {
	for name, tt := range map[string]struct {
		plan                  load.Plan
		requests, arrivals    int
		secondArrivalIsDueAt  time.Duration
		requestsInEachArrival int
	}{
		"none":           {load.Plan{Rate: 50, Duration: 200 * time.Millisecond}, 10, 10, 20 * time.Millisecond, 1},
		"of one":         {load.Plan{Rate: 50, Duration: 200 * time.Millisecond, Burst: 1}, 10, 10, 20 * time.Millisecond, 1},
		"of six":         {load.Plan{Rate: 120, Duration: 500 * time.Millisecond, Burst: 6}, 60, 10, 50 * time.Millisecond, 6},
		"last cut short": {load.Plan{Rate: 100, Duration: 200 * time.Millisecond, Burst: 6}, 24, 4, 60 * time.Millisecond, 6},
	} {
		t.Run(name, func(t *testing.T) {
			target := serve(t, ok)(0)
			picked := 0
			tt.plan.Pick = func(n int) load.Target {
				if n != picked {
					t.Errorf("want arrival %d, got %d", picked, n)
				}
				picked++
				return target
			}
			rs := load.Run(t.Context(), tt.plan)
			if len(rs) != tt.requests || picked != tt.arrivals {
				t.Fatalf("want %d requests in %d arrivals, got %d in %d", tt.requests, tt.arrivals, len(rs), picked)
			}
			perInstant := map[time.Duration]int{}
			for _, r := range rs {
				perInstant[r.At]++
			}
			if got := perInstant[tt.secondArrivalIsDueAt]; got != tt.requestsInEachArrival {
				t.Errorf("want %d requests at %v, got %d", tt.requestsInEachArrival, tt.secondArrivalIsDueAt, got)
			}
		})
	}
}

func TestImpatientClientsAskAgain(t *testing.T) {
	t.Run("after a 5xx", func(t *testing.T) {
		pick := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) })
		rs := load.Run(t.Context(), load.Plan{Rate: 10, Duration: 100 * time.Millisecond, Retries: 2, Pick: pick})
		wantRetries(t, rs, 503, 503, 503)
	})
	t.Run("until it works", func(t *testing.T) {
		var calls atomic.Int32
		pick := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			if calls.Add(1) == 1 {
				w.WriteHeader(500)
			}
		})
		rs := load.Run(t.Context(), load.Plan{Rate: 10, Duration: 100 * time.Millisecond, Retries: 5, Pick: pick})
		wantRetries(t, rs, 500, 200)
	})
	t.Run("not after a 4xx", func(t *testing.T) {
		pick := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) })
		rs := load.Run(t.Context(), load.Plan{Rate: 10, Duration: 100 * time.Millisecond, Retries: 2, Pick: pick})
		wantRetries(t, rs, 404)
	})
	t.Run("after a timeout", func(t *testing.T) {
		const timeout = 100 * time.Millisecond
		pick := serve(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		rs := load.Run(t.Context(), load.Plan{Rate: 10, Duration: timeout, Timeout: timeout, Retries: 1, Pick: pick})
		wantRetries(t, rs, 0, 0)
		if rs[0].Err != load.ErrTimeout {
			t.Errorf("want %q, got %q", load.ErrTimeout, rs[0].Err)
		}
		if rs[1].At != rs[0].At+rs[0].Latency {
			t.Errorf("want the retry due when the first attempt ended, at %v, got %v", rs[0].Latency, rs[1].At)
		}
	})
}

func wantRetries(t *testing.T, rs []load.Result, statuses ...int) {
	t.Helper()
	if len(rs) != len(statuses) {
		t.Fatalf("want %d attempts, got %+v", len(statuses), rs)
	}
	for i, want := range statuses {
		if rs[i].Status != want || rs[i].Retry != i {
			t.Errorf("attempt %d: want status %d, got %+v", i, want, rs[i])
		}
	}
}

func TestMaxOpenIsReported(t *testing.T) {
	pick := serve(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	const timeout = 500 * time.Millisecond
	rs := load.Run(t.Context(), load.Plan{
		Rate: 100, Duration: 100 * time.Millisecond, Timeout: timeout, MaxOpen: 3, Pick: pick,
	})
	capped := load.Filter(rs, func(r load.Result) bool { return r.Err == load.ErrMaxOpen })
	if len(rs) != 10 || len(capped) != 7 {
		t.Fatalf("want 10 results, 7 of them not sent; got %d and %d", len(rs), len(capped))
	}
	if capped[0].Latency != timeout {
		t.Errorf("want a request that was not sent to count with the timeout, got %v", capped[0].Latency)
	}
}

func TestTheEndOfTheContextEndsTheRun(t *testing.T) {
	pick := serve(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	began := time.Now()
	rs := load.Run(ctx, load.Plan{Rate: 100, Duration: time.Minute, Pick: pick})
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("want an end at once, got one after %v", took)
	}
	if len(rs) == 0 || rs[0].Err != load.ErrCanceled {
		t.Errorf("want results with %q, got %+v", load.ErrCanceled, rs)
	}
}

func TestWhatIsSentAndSeen(t *testing.T) {
	pick := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body := make([]byte, 8)
		n, _ := r.Body.Read(body)
		if r.Method != http.MethodPost || string(body[:n]) != "question" || r.Header.Get("X-Key") != "k" {
			w.WriteHeader(400)
			return
		}
		w.Header().Set("Firebreak-Refusal", "zone_open")
		w.WriteHeader(503)
	})
	target := pick(0)
	target.Method, target.Body, target.Header = "POST", []byte("question"), http.Header{"X-Key": {"k"}}
	rs := load.Run(t.Context(), load.Plan{
		Rate: 10, Duration: 200 * time.Millisecond, Pick: func(int) load.Target { return target },
	})
	for _, r := range rs {
		if r.Status != 503 || r.Refusal != "zone_open" || r.Zone != "z1" || r.Store != "s1" || r.Err != "" {
			t.Errorf("unexpected result %+v", r)
		}
	}
}

func TestAnAnswerThatBreaksOffIsAnError(t *testing.T) {
	pick := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = w.Write([]byte("half"))
	})
	rs := load.Run(t.Context(), load.Plan{Rate: 10, Duration: 100 * time.Millisecond, Pick: pick})
	if rs[0].Status != 0 || rs[0].Err == "" || rs[0].OK() {
		t.Errorf("want a client side error, got %+v", rs[0])
	}
}
