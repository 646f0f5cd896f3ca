package fleet_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/fleet"
)

// hub carries messages between fleets in memory, as Redis does.
type hub struct {
	mu     sync.Mutex // guards below
	takers map[*wire]func([]byte, time.Duration)
	way    time.Duration
	frozen chan struct{} // nil: not; closed when it goes on
	down   bool
	leases map[string]lease
	bytes  int
	sent   int
}

type lease struct {
	owner *wire
	until time.Time
}

func newHub() *hub {
	return &hub{takers: make(map[*wire]func([]byte, time.Duration)), way: time.Millisecond, leases: make(map[string]lease)}
}

// wire is one sidecar's transport.
type wire struct {
	hub    *hub
	closed bool
}

var errDown = errors.New("connection refused")

// wait is the way to Redis, in which it may be stopped or down.
func (h *hub) wait() error {
	h.mu.Lock()
	frozen, down, way := h.frozen, h.down, h.way
	h.mu.Unlock()
	if down {
		return errDown
	}
	if frozen != nil {
		<-frozen
	}
	time.Sleep(way)
	return nil
}

// Publish is executed also if the caller does not wait for it, as it is by a Redis that
// was stopped and goes on.
func (w *wire) Publish(ctx context.Context, message []byte) error {
	message = append([]byte(nil), message...)
	done := make(chan error, 1)
	go func() {
		err := w.hub.wait()
		if err == nil {
			w.hub.deliver(message)
		}
		done <- err
	}()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case err := <-done:
		return err
	}
}

func (h *hub) deliver(message []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sent++
	h.bytes += len(message)
	for _, take := range h.takers {
		take(message, 0)
	}
}

// traffic is how many messages, and bytes, were delivered.
func (h *hub) traffic() (messages, bytes int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.sent, h.bytes
}

func (w *wire) Receive(ctx context.Context, take func([]byte, time.Duration)) error {
	w.hub.mu.Lock()
	if w.hub.down {
		w.hub.mu.Unlock()
		return errDown
	}
	w.hub.takers[w] = take
	w.hub.mu.Unlock()
	<-ctx.Done()
	w.hub.mu.Lock()
	defer w.hub.mu.Unlock()
	delete(w.hub.takers, w)
	return ctx.Err()
}

func (w *wire) Lease(ctx context.Context, key string, d time.Duration) (bool, time.Duration, error) {
	if err := w.hub.wait(); err != nil {
		return false, 0, err
	}
	if ctx.Err() != nil {
		return false, 0, ctx.Err()
	}
	w.hub.mu.Lock()
	defer w.hub.mu.Unlock()
	if l, ok := w.hub.leases[key]; ok && l.owner != w && time.Now().Before(l.until) {
		return false, time.Until(l.until), nil
	}
	w.hub.leases[key] = lease{w, time.Now().Add(d)}
	return true, d, nil
}

func (w *wire) Close() error { w.closed = true; return nil }

func (h *hub) freeze() (thaw func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	frozen := make(chan struct{})
	h.frozen = frozen
	return func() {
		h.mu.Lock()
		h.frozen = nil
		h.mu.Unlock()
		close(frozen)
	}
}

func (h *hub) set(change func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change()
}

// guard is one that observes what the test says.
type guard struct {
	mu       sync.Mutex // guards below
	silent   map[string]time.Time
	store    uint32
	answered map[string]time.Time
	agreed   map[string][]time.Time
	heard    int
	leased   []string
}

func newGuard(store int) *guard {
	return &guard{silent: make(map[string]time.Time), store: uint32(store) + 1, answered: make(map[string]time.Time), agreed: make(map[string][]time.Time)}
}

func (g *guard) Observe(buf []breaker.Observation) []breaker.Observation {
	g.mu.Lock()
	defer g.mu.Unlock()
	for zone, since := range g.silent {
		if time.Since(since) >= time.Second {
			buf = append(buf, breaker.Observation{Kind: breaker.ObservedSilent, Zone: zone, Stores: 1, Some: [3]uint32{g.store}, For: time.Since(since)})
		}
	}
	return buf
}

func (g *guard) Answers(asked, buf []breaker.Observation) []breaker.Observation {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, o := range asked {
		if at, ok := g.answered[o.Zone]; ok && time.Since(at) < o.For {
			buf = append(buf, breaker.Observation{Kind: breaker.ObservedAnswered, Zone: o.Zone, For: time.Since(at)})
		}
	}
	return buf
}

func (g *guard) Agree(a breaker.Agreement) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.agreed[a.Zone] = append(g.agreed[a.Zone], time.Now())
}

func (g *guard) PeerAnswered(breaker.Observation) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.heard++
}

func (g *guard) HasServer(string) bool { return true }

func (g *guard) ServerLeased(address string, granted bool, wait time.Duration) {
	g.Leased("server", address, granted, wait)
}

func (g *guard) Leased(zone, store string, granted bool, wait time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.leased = append(g.leased, fmt.Sprint(zone, " ", store, " ", granted, " ", wait.Round(time.Second)))
}

func (g *guard) set(change func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	change()
}

// agreedOn is how often the guard was told, and when first.
func (g *guard) agreedOn(zone string) (n int, first time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if n = len(g.agreed[zone]); n > 0 {
		first = g.agreed[zone][0]
	}
	return n, first
}

// squad is a fleet in memory.
type squad struct {
	*hub
	guards []*guard
	fleets []*fleet.Fleet
	stop   func()

	eventsMu sync.Mutex
	events   map[fleet.EventKind]int
}

func start(t *testing.T, n int, change func(*fleet.Options)) *squad {
	t.Helper()
	s := &squad{hub: newHub(), events: make(map[fleet.EventKind]int)}
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	for i := range n {
		g := newGuard(i)
		o := fleet.Options{
			Guard: g, Transport: &wire{hub: s.hub}, ID: fmt.Sprint("h", i, ":1"), Host: fmt.Sprint("h", i),
			Tell: func(e fleet.Event) {
				s.eventsMu.Lock()
				defer s.eventsMu.Unlock()
				s.events[e.Kind]++
			},
		}
		if change != nil {
			change(&o)
		}
		f := fleet.New(o)
		s.guards, s.fleets = append(s.guards, g), append(s.fleets, f)
		work.Go(func() { f.Run(ctx) })
	}
	s.stop = func() {
		cancel()
		work.Wait()
		time.Sleep(time.Minute) // what is on its way arrives
	}
	time.Sleep(10 * time.Second) // until all know each other
	return s
}

func (s *squad) told(kind fleet.EventKind) int {
	s.eventsMu.Lock()
	defer s.eventsMu.Unlock()
	return s.events[kind]
}

func TestFleetAgrees(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, 50, nil)
		defer s.stop()
		began := time.Now()
		for i, g := range s.guards {
			g.set(func() { g.silent["z7"] = began.Add(time.Duration(i) * 40 * time.Millisecond) })
		}
		time.Sleep(5 * time.Second)
		third := began.Add(1080 * time.Millisecond) // when the third host is sure
		for i, g := range s.guards {
			n, first := g.agreedOn("z7")
			if n == 0 || first.Sub(third) > 300*time.Millisecond || first.Before(third) {
				t.Errorf("sidecar %d: told %d times, first %s after the third host was sure", i, n, first.Sub(third))
			}
		}
		if n := s.told(fleet.Agreed); n != 50 {
			t.Errorf("%d sidecars tell of an agreement", n)
		}
		sent, _ := s.traffic()
		time.Sleep(10 * time.Second)
		after, _ := s.traffic()
		t.Logf("while 50 sidecars observe a zone: %d messages in 10 s", after-sent)
		if n := after - sent; n > 400 {
			t.Errorf("%d messages in 10 s: not all have to repeat what is agreed on", n)
		}
		for _, g := range s.guards {
			g.set(func() { clear(g.silent) })
		}
		time.Sleep(5 * time.Second)
		before, _ := s.guards[0].agreedOn("z7")
		time.Sleep(5 * time.Second)
		if after, _ := s.guards[0].agreedOn("z7"); after != before {
			t.Error("it is agreed on for ever")
		}
	})
}

func TestAnswerInTimeStopsAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, 50, nil)
		defer s.stop()
		began := time.Now()
		for _, g := range s.guards[:49] {
			g.set(func() { g.silent["z7"] = began })
		}
		last := s.guards[49]
		last.set(func() { last.answered["z7"] = began.Add(10 * time.Millisecond) })
		time.Sleep(5 * time.Second)
		for i, g := range s.guards {
			if n, _ := g.agreedOn("z7"); n != 0 {
				t.Errorf("sidecar %d agrees, though the last one was answered", i)
			}
		}
		synctest.Wait()
		if s.told(fleet.Vetoed) == 0 || s.guards[0].heard == 0 {
			t.Error("nobody tells of it")
		}
	})
}

// TestQuietFleet: what is sent while nothing is wrong.
func TestQuietFleet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, 50, nil)
		defer s.stop()
		sent, bytes := s.traffic()
		time.Sleep(time.Minute)
		sentAfter, bytesAfter := s.traffic()
		t.Logf("50 sidecars with nothing to say: %d messages and %d bytes a second reach each", (sentAfter-sent)/60, (bytesAfter-bytes)/60)
		if perSecond := (bytesAfter - bytes) / 60; perSecond > 1000 {
			t.Errorf("%d bytes/s reach each of 50 sidecars with nothing to say", perSecond)
		}
	})
}

// TestStoppedRedis: what was said while Redis was stopped arrives late and at once, and
// is not taken for news.
func TestStoppedRedis(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, 10, nil)
		defer s.stop()
		for _, g := range s.guards {
			g.set(func() { g.silent["z7"] = time.Now() })
		}
		time.Sleep(900 * time.Millisecond)
		thaw := s.freeze() // before the first is sure
		time.Sleep(2 * time.Second)
		for _, g := range s.guards {
			g.set(func() { clear(g.silent) }) // it was nothing
		}
		time.Sleep(5 * time.Second)
		thaw()
		time.Sleep(10 * time.Second)
		for i, g := range s.guards {
			if n, _ := g.agreedOn("z7"); n != 0 {
				t.Errorf("sidecar %d agrees on what was claimed seven seconds ago", i)
			}
		}
		if lost, back := s.told(fleet.Lost), s.told(fleet.Connected); lost != 10 || back != 20 {
			t.Errorf("%d tell that Redis is lost and %d that it is there; want 10, and 20 with the start", lost, back)
		}
		for _, g := range s.guards {
			g.set(func() { g.silent["z7"] = time.Now() })
		}
		time.Sleep(2 * time.Second)
		if n, _ := s.guards[0].agreedOn("z7"); n == 0 {
			t.Error("afterwards nothing is agreed on")
		}
	})
}

// TestSlowRedis: where messages take longer than the grace, answers are waited for as
// long; where they take too long, nothing is agreed on.
func TestSlowRedis(t *testing.T) {
	for _, test := range []struct {
		way          time.Duration
		agreed, veto bool
	}{{200 * time.Millisecond, true, false}, {200 * time.Millisecond, false, true}, {700 * time.Millisecond, false, false}} {
		t.Run(fmt.Sprint(test.way, " ", test.veto), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := start(t, 5, nil)
				defer s.stop()
				s.set(func() { s.way = test.way })
				time.Sleep(10 * time.Second)
				for _, g := range s.guards[:4] {
					g.set(func() { g.silent["z7"] = time.Now() })
				}
				if last := s.guards[4]; test.veto {
					last.set(func() { last.answered["z7"] = time.Now().Add(50 * time.Millisecond) })
				}
				time.Sleep(5 * time.Second)
				if n, _ := s.guards[0].agreedOn("z7"); n > 0 != test.agreed {
					t.Errorf("agreed on %d times, want any: %t", n, test.agreed)
				}
			})
		})
	}
}

func TestLeases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, 3, nil)
		defer s.stop()
		for i, f := range s.fleets {
			if !f.Lease("z7", "", 5*time.Second) {
				t.Errorf("sidecar %d cannot ask", i)
			}
			time.Sleep(time.Second)
		}
		s.fleets[0].Lease("z7", "s1", time.Second)
		s.fleets[2].LeaseServer("api3:9000", time.Second)
		time.Sleep(time.Second)
		synctest.Wait()
		for i, want := range []string{"[z7  true 5s z7 s1 true 1s]", "[z7  false 4s]", "[z7  false 3s server api3:9000 true 1s]"} {
			if got := fmt.Sprint(s.guards[i].leased); got != want {
				t.Errorf("sidecar %d: %s, want %s", i, got, want)
			}
		}
	})
}

// TestLeaseNeverWaits: a lease is asked for without waiting, and not at all while no
// answers come.
func TestLeaseNeverWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, 1, nil)
		defer s.stop()
		f := s.fleets[0]
		thaw := s.freeze()
		began := time.Now()
		if !f.Lease("z7", "", time.Second) {
			t.Error("nobody can know yet that Redis is stopped")
		}
		time.Sleep(60 * time.Millisecond)
		if f.Lease("z8", "", time.Second) {
			t.Error("asked though the first has no answer for 50 ms")
		}
		if waited := time.Since(began); waited != 60*time.Millisecond {
			t.Errorf("a lease waited: %s", waited)
		}
		time.Sleep(10 * time.Second)
		if f.Lease("z8", "", time.Second) {
			t.Error("asked while Redis is stopped")
		}
		thaw()
		time.Sleep(10 * time.Second)
		if !f.Lease("z8", "", time.Second) {
			t.Error("not asked though Redis is back")
		}
	})
}

// TestNoTransportAtTheStart: it is told, once.
func TestNoTransportAtTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, 1, func(o *fleet.Options) { o.Transport.(*wire).hub.down = true })
		defer s.stop()
		if n := s.told(fleet.Lost); n != 1 {
			t.Errorf("%d times", n)
		}
	})
}

func TestNoTransport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, 3, nil)
		s.set(func() { s.down = true })
		time.Sleep(20 * time.Second)
		if s.fleets[0].Lease("z7", "", time.Second) || s.fleets[0].Counts.Connected.Load() {
			t.Error("it does not notice that Redis is gone")
		}
		s.set(func() { s.down = false })
		time.Sleep(10 * time.Second)
		if !s.fleets[0].Counts.Connected.Load() {
			t.Error("it does not come back")
		}
		s.stop()
	})
}

// TestObserveOnly: nothing is done, and what would have been is told.
func TestObserveOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, 4, func(o *fleet.Options) { o.Observe = true })
		defer s.stop()
		for _, g := range s.guards {
			g.set(func() { g.silent["z7"] = time.Now() })
		}
		time.Sleep(3 * time.Second)
		if n, _ := s.guards[0].agreedOn("z7"); n != 0 || s.told(fleet.Agreed) != 4 {
			t.Errorf("the guard was told %d times, the operator %d times", n, s.told(fleet.Agreed))
		}
		if s.fleets[0].Lease("z7", "", time.Second) {
			t.Error("a lease was asked for")
		}
	})
}

// panicking is a guard with a bug.
type panicking struct{ *guard }

func (panicking) Observe([]breaker.Observation) []breaker.Observation { panic("a bug") }

func TestBugDoesNotEndTheProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, 1, func(o *fleet.Options) { o.Guard = panicking{newGuard(1)} })
		defer s.stop()
		if s.told(fleet.Failed) != 1 || s.fleets[0].Counts.Panics.Load() < 2 {
			t.Errorf("told %d times, %d panics", s.told(fleet.Failed), s.fleets[0].Counts.Panics.Load())
		}
	})
}
