package breaker_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/config"
)

// newCheckedFleet is newFleet with a server_check, and how it goes by server. Zones
// have no checks.
func newCheckedFleet(t *testing.T, check func(ctx context.Context, address string) error) *pool {
	t.Helper()
	p := newFleet(t, "firebreak")
	policy, err := (&config.App{
		WorkersPerServer: 8, ServerCheck: &config.ServerCheck{URI: "/healthz"},
		Zones: []config.Zone{{Name: "*", Timeout: config.Duration(2 * time.Second)}},
	}).Policy()
	if err != nil {
		t.Fatal(err)
	}
	p.guard.Close()
	p.guard = breaker.New(policy, breaker.Options{
		CheckServer: func(ctx context.Context, address string, c *config.ServerCheckPolicy) error {
			if c.URI != "/healthz" {
				t.Errorf("asked %q", c.URI)
			}
			return check(ctx, address)
		},
	})
	p.setServers("api1", "api2", "api3", "api4")
	return p
}

// TestServerCheck: a check that passes brings a server back whose hung requests will
// never be answered, with no request of a client spent, and only a server that is out
// of service is asked.
func TestServerCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int64
		var well atomic.Bool
		p := newCheckedFleet(t, func(ctx context.Context, address string) error {
			asked.Add(1)
			if address != "api3" {
				t.Errorf("%s was asked", address)
			}
			if !well.Load() {
				<-ctx.Done()
			}
			return ctx.Err()
		})
		defer p.close()
		p.load(10*time.Second, 300, allZones)
		if n := asked.Load(); n > 0 {
			t.Errorf("servers in service were asked %d times", n)
		}
		p.freeze("api3")
		p.load(10*time.Second, 300, allZones)
		s := p.server("api3")
		if s.State != breaker.OutOfService || s.Check == "" {
			t.Fatalf("the frozen server is %+v", s)
		}
		if n := asked.Load(); n < 5 || n > 12 {
			t.Errorf("asked %d times in 10 s", n)
		}
		lost := s.Lost
		if lost < 2 || lost > 6 {
			t.Errorf("%d requests were lost there", lost)
		}
		p.lose("api3")
		well.Store(true)
		began := time.Now()
		p.load(5*time.Second, 300, allZones)
		s = p.server("api3")
		if s.State != breaker.InService || s.Check != "" || s.Lost != lost {
			t.Errorf("its check passes, and it is %+v", s)
		}
		if got := okPercent(p, began, anyZone); got < 100 {
			t.Errorf("from its return on %.2f %% ok, want all: %v", got, p.details)
		}
		n := asked.Load()
		p.load(5*time.Second, 300, allZones)
		if got := asked.Load(); got != n {
			t.Errorf("a server in service was asked %d times", got-n)
		}
		p.nothingBlamed()
	})
}

// TestServerCheckDeceives: something else answers the check than requests. The
// server goes out of service again, and each time for longer.
func TestServerCheckDeceives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newCheckedFleet(t, func(context.Context, string) error { return nil })
		defer p.close()
		p.load(10*time.Second, 300, allZones)
		p.freeze("api3")
		began := time.Now()
		p.load(60*time.Second, 300, allZones)
		if lost := p.count(began, func(r result) bool { return r.outcome != "ok" }); lost > 24 {
			t.Errorf("%d requests lost in a minute, want at most 24: %v", lost, p.details)
		}
		p.nothingBlamed()
	})
}

// TestServerCheckIsWrong: a check that never passes keeps no server out for ever.
func TestServerCheckIsWrong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newCheckedFleet(t, func(context.Context, string) error { return errors.New("it answers 404 Not Found") })
		defer p.close()
		p.killAfter = 30 * time.Second
		p.load(10*time.Second, 300, allZones)
		p.freeze("api3")
		p.load(10*time.Second, 300, allZones)
		if s := p.server("api3"); s.State != breaker.OutOfService || !strings.Contains(s.Check, "404") {
			t.Errorf("the frozen server is %+v", s)
		}
		p.lose("api3")
		p.load(100*time.Second, 300, allZones)
		if s := p.server("api3"); s.State != breaker.InService {
			t.Errorf("it answers requests, and is %+v", s)
		}
	})
}

// TestServerCheckOfErrors: a server that answers errors is not asked, since its check
// is answered too.
func TestServerCheckOfErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int64
		p := newCheckedFleet(t, func(context.Context, string) error {
			asked.Add(1)
			return nil
		})
		defer p.close()
		p.load(5*time.Second, 300, allZones)
		p.mu.Lock()
		p.sick["api1"] = true
		p.mu.Unlock()
		p.load(20*time.Second, 300, allZones)
		if s := p.server("api1"); s.State != breaker.OutOfService || asked.Load() > 0 {
			t.Errorf("asked %d times; the server is %+v", asked.Load(), s)
		}
	})
}

// TestLoneRequest: one request that hangs for its own reasons does not keep all others
// from its server, and a server that is frozen with only one request on it is found.
func TestLoneRequest(t *testing.T) {
	for name, want := range map[string]breaker.ServerState{"z1/s1": breaker.InService, "api3": breaker.OutOfService} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newFleet(t, "firebreak")
				defer p.close()
				p.load(10*time.Second, 300, allZones)
				time.Sleep(100 * time.Millisecond) // nothing is under way
				chosen := p.pickBy(func(slot *breaker.Slot) string { slot.Sent("api3"); return "api3" })
				p.freeze(name)
				began := time.Now()
				p.send("z1", "s1")
				synctest.Wait()
				p.pickBy(chosen)
				p.load(500*time.Millisecond, 100, otherStores)
				if s := p.server("api3"); s.State != breaker.InDoubt || s.Occupied != 1 {
					t.Errorf("half a second later the server is %+v", s)
				}
				p.load(10*time.Second, 100, otherStores)
				if s := p.server("api3"); s.State != want {
					t.Errorf("10 s later the server is %+v, want %s", s, want)
				}
				if lost := p.count(began, func(r result) bool { return r.outcome != "ok" }); lost > 2 {
					t.Errorf("%d requests are lost, want 2 at most", lost)
				}
				p.nothingBlamed()
			})
		})
	}
}

// otherStores is allZones without the store s1 of the zone z1.
func otherStores(i int) (zone, store string) {
	if zone, store = allZones(i); zone == "z1" && store == "s1" {
		store = "s2"
	}
	return zone, store
}

// TestAvoidedServer: the status of a server in doubt says how many requests are
// unanswered, and since when.
func TestAvoidedServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newFleet(t, "firebreak")
		defer p.close()
		p.load(10*time.Second, 300, allZones)
		time.Sleep(100 * time.Millisecond) // nothing is under way
		p.pickBy(func(slot *breaker.Slot) string { slot.Sent("api3"); return "api3" })
		p.freeze("api3")
		sent := time.Now()
		p.send("z1", "s1")
		synctest.Wait()
		p.pickBy(func(slot *breaker.Slot) string { slot.Sent("api1"); return "api1" })
		p.load(900*time.Millisecond, 50, allZones)
		want := "avoided: 1 request unanswered since " + sent.UTC().Format(time.TimeOnly) + " UTC"
		if s := p.server("api3"); s.State != breaker.InDoubt || s.Evidence != want {
			t.Errorf("got %+v, want %q", s, want)
		}
	})
}
