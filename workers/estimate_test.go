package workers

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// pool is a server in readings: so many workers, so many requests in flight.
func pool(workers, inFlight int) Reading {
	return Reading{Busy: min(workers, inFlight), Queued: max(0, inFlight-workers)}
}

// feed gives an estimator n readings, four a second.
func (e *Estimator) feed(at time.Time, n, inFlight int, r Reading) time.Time {
	for range n {
		e.Add(at, inFlight, r)
		at = at.Add(250 * time.Millisecond)
	}
	return at
}

func TestEstimate(t *testing.T) {
	start := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	for name, test := range map[string]struct {
		feed func(e *Estimator)
		want string
		next int
	}{
		"nothing":                      {func(*Estimator) {}, "not known", 1},
		"two readings are too few":     {func(e *Estimator) { e.feed(start, 2, 5, pool(8, 5)) }, "not known", 1},
		"never full":                   {func(e *Estimator) { e.feed(start, 10, 5, pool(8, 5)) }, "at least 5", 6},
		"full":                         {func(e *Estimator) { e.feed(start, 10, 12, pool(8, 12)) }, "8", 8},
		"full for seven readings only": {func(e *Estimator) { e.feed(start, 7, 12, pool(8, 12)) }, "at least 8", 9},
		"what was busy once":           {func(e *Estimator) { e.feed(e.feed(start, 10, 4, pool(8, 4)), 2, 7, pool(8, 7)) }, "at least 4", 5},
		"idle connections":             {func(e *Estimator) { e.feed(start, 10, 3, Reading{Busy: 20}) }, "not known", 1},
		"idle connections, and full":   {func(e *Estimator) { e.feed(start, 10, 10, Reading{Busy: 20, Queued: 2}) }, "not known", 1},
		"others have the workers":      {func(e *Estimator) { e.feed(start, 20, 3, Reading{Busy: 8, Queued: 2}) }, "not known", 1},
		"in flight is not known":       {func(e *Estimator) { e.feed(start, 10, -1, pool(8, 12)) }, "8", 8},
		"unread requests":              {func(e *Estimator) { e.feed(start, 10, 12, Reading{Busy: 5, Unclear: 3, Queued: 4}) }, "at least 5", 6},
		"the server says so":           {func(e *Estimator) { e.feed(start, 3, 1, Reading{Workers: 8, Busy: 1}) }, "8", 8},
		"somebody else waits too": {func(e *Estimator) {
			e.feed(start, 20, 9, Reading{Busy: 8, Queued: 4})
		}, "at least 8", 9},
		"the server contradicts itself": {func(e *Estimator) {
			e.feed(e.feed(start, 2, 1, Reading{Workers: 8}), 1, 1, Reading{Workers: 9})
		}, "not known", 1},
		"a moment's queue proves nothing": {func(e *Estimator) {
			at := start
			for n := range 100 { // always one that waits, for one of eight workers
				at = e.feed(at, 1, 2+n%8, Reading{Busy: 1 + n%8, Queued: 1})
			}
		}, "at least 8", 9},
		"more was busy when nothing waited": {func(e *Estimator) {
			e.feed(e.feed(start, 10, 8, pool(8, 8)), 10, 6, Reading{Busy: 4, Queued: 2})
		}, "at least 8", 9},
		"it shrinks": {func(e *Estimator) { e.feed(e.feed(start, 20, 12, pool(8, 12)), 130, 12, pool(4, 12)) }, "4", 4},
		"it grows":   {func(e *Estimator) { e.feed(e.feed(start, 20, 12, pool(4, 12)), 20, 12, pool(8, 12)) }, "at least 8", 9},
		"it stands when nothing waits any more": {func(e *Estimator) {
			e.feed(e.feed(start, 20, 12, pool(8, 12)), 200, 1, pool(8, 1))
		}, "8", 8},
		"after a minute it is tried again": {func(e *Estimator) {
			e.feed(e.feed(start, 20, 12, pool(8, 12)), 260, 1, pool(8, 1))
		}, "8", 9},
	} {
		var e Estimator
		test.feed(&e)
		if got := e.Estimate().String(); got != test.want || e.Next() != test.next {
			t.Errorf("%s: %s, next %d; want %s, next %d", name, got, e.Next(), test.want, test.next)
		}
	}
}

func TestContradicts(t *testing.T) {
	for _, test := range []struct {
		workers int
		exact   bool
		setting int
		want    bool
	}{
		{0, false, 8, false},
		{8, true, 8, false},
		{8, true, 11, false},
		{8, true, 12, true},
		{8, true, 16, true},
		{8, false, 16, false},
		{8, true, 6, false},
		{9, true, 6, true},
		{9, false, 6, true},
		{8, true, 4, true},
		{1, true, 1, false},
		{2, true, 1, true},
		{1, true, 2, true},
		{8, true, 0, false},
	} {
		if got := (Estimate{Workers: test.workers, Exact: test.exact}).Contradicts(test.setting); got != test.want {
			t.Errorf("%d (exact %v) contradicts %d: %v", test.workers, test.exact, test.setting, got)
		}
	}
}

// TestEstimateNeverExceeds feeds noise for hours: whatever the load, a pool is
// never taken to be larger than it is, nor, wrongly, to be exactly smaller.
func TestEstimateNeverExceeds(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	r := rand.New(rand.NewPCG(seed, 1))
	at := time.Now()
	for range 20 {
		var e Estimator
		workers := 1 + r.IntN(40)
		for range 2000 {
			inFlight := r.IntN(2 * workers)
			reading := pool(workers, inFlight)
			if r.IntN(20) == 0 { // a connection that an idle worker is about to take
				reading.Queued++
			}
			if reading.Busy > 0 && r.IntN(2) == 0 { // a worker that has just finished
				reading.Busy--
			}
			inFlight += r.IntN(10) / 9 // an answer that is on its way
			e.Add(at, inFlight, reading)
			at = at.Add(250 * time.Millisecond)
			if got := e.Estimate(); got.Workers > workers || got.Exact && got.Workers < workers {
				t.Fatalf("seed %d: %d workers are taken for %s", seed, workers, got)
			}
		}
	}
}

// simulated is a server whose load follows what a watch wants to find out.
type simulated struct {
	workers, inFlight atomic.Int64
	failing           atomic.Bool
}

func (s *simulated) Read(context.Context) (Reading, error) {
	if s.failing.Load() {
		return Reading{}, errors.New("no answer")
	}
	return pool(int(s.workers.Load()), int(s.inFlight.Load())), nil
}

// TestWatch wants wrong settings of both kinds to be told once, with the right
// figure, and to be told as right when they are.
func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s simulated
		s.workers.Store(8)
		s.inFlight.Store(1)
		var setting atomic.Int64
		setting.Store(4)
		var told []Finding
		failures := 0
		w := &Watch{
			Source: &s, Setting: func() int { return int(setting.Load()) }, InFlight: func() int { return int(s.inFlight.Load()) },
			Tell: func(f Finding) { told = append(told, f) },
			Read: func(_ Reading, _ Estimate, next int, err error) {
				if err != nil {
					failures++
					return
				}
				s.inFlight.Store(int64(next)) // there is enough to do
			},
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { w.Run(ctx); close(done) }()
		expect := func(after time.Duration, n int, want string) {
			t.Helper()
			time.Sleep(after)
			synctest.Wait()
			if len(told) != n || n > 0 && told[n-1].String() != want {
				t.Fatalf("%d findings, want %d with %q last: %v", len(told), n, want, told)
			}
		}
		time.Sleep(45 * time.Second)
		synctest.Wait()
		if n := len(told); n == 0 || told[n-1].String() != "workers is 4, but the server has 8" {
			t.Fatalf("findings %v", told)
		}
		n := len(told)
		setting.Store(16)
		expect(30*time.Second, n+1, "workers is 16, but the server has 8")
		s.failing.Store(true)
		expect(time.Minute, n+1, "workers is 16, but the server has 8")
		s.failing.Store(false)
		setting.Store(8)
		expect(5*time.Second, n+2, "workers is 8, and the server has 8")
		expect(time.Hour, n+2, "workers is 8, and the server has 8")
		synctest.Wait()
		if failures == 0 {
			t.Error("failures of the source are not told")
		}
		cancel()
		<-done
	})
}
