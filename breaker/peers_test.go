package breaker_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/config"
)

// lonely is a sidecar whose requests hang if their zone, or zone/store, is in frozen, and
// which has answered a request in each of its zones.
type lonely struct {
	*world
	frozen map[string]bool
	got    map[string]int // what requests came to
}

func newLonely(t *testing.T) *lonely {
	t.Helper()
	app := twoSeconds()
	return newLonelyFor(t, &app)
}

func newLonelyFor(t *testing.T, app *config.App) *lonely {
	t.Helper()
	l := &lonely{world: newWorld(t, app, []string{"z0", "z1", "z2", "z3"}, 1), frozen: map[string]bool{}, got: map[string]int{}}
	l.serve = func(zone, store string) (time.Duration, breaker.Outcome) {
		if l.frozen[zone] || l.frozen[zone+"/"+store] {
			return time.Hour, breaker.OK
		}
		return 20 * time.Millisecond, breaker.OK
	}
	l.done = func(_ request, _ *breaker.Slot, o breaker.Outcome, refusal *breaker.Refusal) {
		if refusal != nil {
			l.got[string(refusal.Reason)]++
			return
		}
		l.got[o.String()]++
	}
	for i := range 4 {
		l.send(fmt.Sprint("z", i), "warm")
	}
	l.pass(100 * time.Millisecond)
	clear(l.got)
	return l
}

func (l *lonely) pass(d time.Duration) { l.run(l.now + d) }

// others sends requests of other zones, which are answered.
func (l *lonely) others() {
	for range 10 {
		l.send("z0", "other")
		l.pass(100 * time.Millisecond)
	}
}

func (l *lonely) guard() *breaker.Guard { return l.sim.Guard() }

func (l *lonely) state(zone string) breaker.State {
	z, _ := l.guard().Zone(zone)
	return z.State
}

func (l *lonely) evidence(zone string) string {
	z, _ := l.guard().Zone(zone)
	return z.Evidence
}

// silentZone is what three sidecars agree on.
func silentZone(zone string, d time.Duration) breaker.Agreement {
	return breaker.Agreement{Sidecars: 3, Observation: breaker.Observation{Kind: breaker.ObservedSilent, Zone: zone, Stores: 3, For: d}}
}

func silentStore(zone, store string, d time.Duration) breaker.Agreement {
	return breaker.Agreement{Sidecars: 3, Observation: breaker.Observation{Kind: breaker.ObservedSilent, Zone: zone, Store: store, Stores: 1, For: d}}
}

func answered(zone, store string, ago time.Duration) breaker.Observation {
	return breaker.Observation{Kind: breaker.ObservedAnswered, Zone: zone, Store: store, For: ago}
}

func TestObserve(t *testing.T) {
	t.Run("nothing on calm days, at no cost", func(t *testing.T) {
		l := newLonely(t)
		l.others()
		buf := make([]breaker.Observation, 0, 4)
		if n := testing.AllocsPerRun(100, func() { buf = l.guard().Observe(buf[:0]) }); n > 0 || len(buf) > 0 {
			t.Errorf("%.1f allocations, observed %v", n, buf)
		}
	})
	t.Run("a silent zone, by one store, without a copy", func(t *testing.T) {
		l := newLonely(t)
		l.frozen["z1"] = true
		l.send("z1", "a")
		l.others()
		buf := l.guard().Observe(nil)
		if len(buf) != 1 || buf[0].Zone != "z1" || buf[0].Store != "" || buf[0].Kind != breaker.ObservedSilent || buf[0].Stores != 1 || buf[0].For < time.Second || buf[0].Some[0] == 0 {
			t.Fatalf("observed %+v", buf)
		}
		if n := testing.AllocsPerRun(100, func() { buf = l.guard().Observe(buf[:0]) }); n > 0 {
			t.Errorf("%.1f allocations", n)
		}
		l.send("z1", "b")
		l.others()
		if buf = l.guard().Observe(nil); len(buf) != 1 || buf[0].Stores != 2 || buf[0].Some[0] == buf[0].Some[1] {
			t.Errorf("observed %+v", buf)
		}
	})
	t.Run("no zone while nothing is answered", func(t *testing.T) {
		l := newLonely(t)
		for _, zone := range []string{"z0", "z1", "z2", "z3"} {
			l.frozen[zone] = true
			l.send(zone, "a")
		}
		l.pass(3 * time.Second)
		if buf := l.guard().Observe(nil); len(buf) > 0 {
			t.Errorf("observed %+v", buf)
		}
	})
	t.Run("no zone while no other is asked", func(t *testing.T) {
		l := newLonely(t)
		l.frozen["z1"] = true
		l.send("z1", "a")
		l.pass(3 * time.Second)
		if buf := l.guard().Observe(nil); len(buf) > 0 {
			t.Errorf("observed %+v", buf)
		}
	})
	t.Run("a store, where the zone is answered", func(t *testing.T) {
		l := newLonely(t)
		l.frozen["z0/bad"] = true
		l.send("z0", "bad")
		l.others()
		if buf := l.guard().Observe(nil); len(buf) != 1 || buf[0].Store != "bad" || buf[0].Zone != "z0" {
			t.Errorf("observed %+v", buf)
		}
	})
	t.Run("a store, where another sidecar is answered by the zone", func(t *testing.T) {
		l := newLonely(t)
		l.frozen["z1"] = true
		l.send("z1", "bad")
		l.others()
		l.guard().PeerAnswered(answered("z1", "", 300*time.Millisecond))
		if buf := l.guard().Observe(nil); len(buf) != 1 || buf[0].Store != "bad" {
			t.Errorf("observed %+v", buf)
		}
		l.guard().PeerAnswered(answered("z1", "bad", 200*time.Millisecond))
		if buf := l.guard().Observe(nil); len(buf) != 0 {
			t.Errorf("observed %+v of a store that another sidecar is answered by", buf)
		}
	})
	t.Run("an open zone goes on", func(t *testing.T) {
		l := newLonely(t)
		l.others()
		l.frozen["z1"] = true
		l.send("z1", "a")
		l.others()
		l.guard().Agree(silentZone("z1", 1100*time.Millisecond))
		l.others()
		if buf := l.guard().Observe(nil); len(buf) != 1 || l.state("z1") != breaker.Open || buf[0].For < 2*time.Second {
			t.Errorf("%s: observed %+v", l.state("z1"), buf)
		}
	})
	t.Run("what is held, or one bucket of all, never", func(t *testing.T) {
		l := newLonely(t)
		l.guard().HoldZone("z1", breaker.Calm, 0, "", "")
		l.frozen["z1"], l.frozen[config.UnknownZone] = true, true
		l.send("z1", "a")
		l.send(config.UnknownZone, "unknown")
		l.others()
		if buf := l.guard().Observe(nil); len(buf) > 0 {
			t.Errorf("observed %+v", buf)
		}
	})
}

func TestAnswers(t *testing.T) {
	l := newLonely(t)
	l.others()
	ask := func(a breaker.Agreement) int {
		return len(l.guard().Answers([]breaker.Observation{a.Observation}, nil))
	}
	if ask(silentZone("z0", time.Second)) != 1 || ask(silentZone("z1", 500*time.Millisecond)) != 0 || ask(silentZone("z1", 2*time.Second)) != 1 || ask(silentZone("nowhere", time.Hour)) != 0 {
		t.Error("zones")
	}
	if ask(silentStore("z0", "other", time.Second)) != 1 || ask(silentStore("z0", "warm", time.Second)) != 0 || ask(silentStore("z0", "never", time.Hour)) != 0 {
		t.Error("stores")
	}
}

func TestAgree(t *testing.T) {
	for name, tt := range map[string]struct {
		before func(l *lonely)
		what   breaker.Agreement
		want   breaker.State
	}{
		"without a request of its own": {func(*lonely) {}, silentZone("z1", 1200*time.Millisecond), breaker.Open},
		"answered since":               {func(l *lonely) { l.send("z1", "a"); l.pass(time.Second) }, silentZone("z1", 1200*time.Millisecond), breaker.Calm},
		"answered a moment ago":        {func(l *lonely) { l.send("z1", "a"); l.pass(300 * time.Millisecond) }, silentZone("z1", 0), breaker.Calm},
		"another sidecar was answered since": {
			func(l *lonely) { l.guard().PeerAnswered(answered("z1", "", 500*time.Millisecond)) },
			silentZone("z1", 1200*time.Millisecond), breaker.Calm,
		},
		"held by hand": {
			func(l *lonely) { l.guard().HoldZone("z1", breaker.Calm, 0, "", "") },
			silentZone("z1", 1200*time.Millisecond), breaker.Calm,
		},
		"too few stores": {func(*lonely) {}, breaker.Agreement{Sidecars: 3, Observation: breaker.Observation{Kind: breaker.ObservedSilent, Zone: "z1", Stores: 2, For: time.Minute}}, breaker.Calm},
		"it suspects its own pool": {
			func(l *lonely) {
				for _, zone := range []string{"z0", "z1", "z2", "z3"} {
					l.frozen[zone] = true
					l.send(zone, "a")
				}
				l.pass(2 * time.Second)
			},
			silentZone("z1", 1200*time.Millisecond), breaker.Calm,
		},
		"more zones than may be open": {
			func(l *lonely) {
				l.guard().Agree(silentZone("z2", 1200*time.Millisecond))
				l.guard().Agree(silentZone("z3", 1200*time.Millisecond))
			},
			silentZone("z1", 1200*time.Millisecond), breaker.Calm,
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLonely(t)
			l.others()
			l.pass(time.Second)
			tt.before(l)
			l.guard().Agree(tt.what)
			if got := l.state("z1"); got != tt.want {
				t.Errorf("z1 is %s (%s), want %s", got, l.evidence("z1"), tt.want)
			}
			if tt.want == breaker.Open && !strings.HasPrefix(l.evidence("z1"), "3 sidecars observe") {
				t.Errorf("evidence: %s", l.evidence("z1"))
			}
		})
	}
}

func TestAgreeOnAStore(t *testing.T) {
	l := newLonely(t)
	l.others()
	l.guard().Agree(silentStore("z0", "other", 1200*time.Millisecond))
	l.guard().Agree(silentStore("z1", "bad", 1200*time.Millisecond))
	l.guard().HoldStore("z1", "held", breaker.Calm, 0, "", "")
	l.guard().Agree(silentStore("z1", "held", 1200*time.Millisecond))
	l.guard().PeerAnswered(answered("z1", "well", 500*time.Millisecond)) // not known here, and not kept
	for store, want := range map[string]breaker.State{"z0/other": breaker.Calm, "z1/bad": breaker.Open, "z1/held": breaker.Calm} {
		zone, store, _ := strings.Cut(store, "/")
		if got := l.guard().Store(zone, store); got.State != want {
			t.Errorf("%s/%s is %s (%s), want %s", zone, store, got.State, got.Evidence, want)
		}
	}
	l.pass(2 * time.Second) // no second look after 900 ms: others have had it
	if got := l.guard().Store("z1", "bad").State; got != breaker.Open {
		t.Errorf("after 2 s it is %s", got)
	}
	l.guard().PeerAnswered(answered("z1", "bad", 5*time.Second))
	if got := l.guard().Store("z1", "bad").State; got != breaker.Open {
		t.Errorf("after an answer from before it is %s", got)
	}
	l.guard().PeerAnswered(answered("z1", "bad", 0))
	if got := l.guard().Store("z1", "bad").State; got != breaker.HalfOpen {
		t.Errorf("after another sidecar was answered it is %s", got)
	}
	l.send("z1", "bad")
	l.pass(100 * time.Millisecond)
	if got := l.guard().Store("z1", "bad").State; got != breaker.Calm || l.got["ok"] == 0 {
		t.Errorf("after its own answer it is %s", got)
	}
}

// TestPeerAnswered: an answer that another sidecar has had has an open zone tried, once.
func TestPeerAnswered(t *testing.T) {
	l := newLonely(t)
	l.others()
	l.others()
	l.frozen["z1"] = true
	l.guard().SetFleet(&askedFleet{}) // which never answers
	l.guard().Agree(silentZone("z1", 1500*time.Millisecond))
	l.pass(100 * time.Millisecond)
	l.guard().PeerAnswered(answered("z1", "", time.Second))
	if got := l.state("z1"); got != breaker.Open {
		t.Fatalf("%s after an answer from before", got)
	}
	l.guard().PeerAnswered(answered("z1", "", 0))
	if got := l.state("z1"); got != breaker.HalfOpen {
		t.Fatalf("%s after an answer", got)
	}
	l.send("z1", "a")
	l.others()
	if got := l.state("z1"); got != breaker.Open {
		t.Fatalf("%s after the request hangs that tries it", got)
	}
	for range 20 {
		l.guard().PeerAnswered(answered("z1", "", 0))
		l.pass(50 * time.Millisecond)
	}
	if got := l.state("z1"); got != breaker.Open {
		t.Errorf("%s: it is tried again and again, in vain", got)
	}
}

// askedFleet is a fleet that is asked for leases.
type askedFleet struct {
	mu    sync.Mutex
	asked []string
	d     []time.Duration
	none  bool   // there is no fleet
	then  func() // is called when it is asked; nil: nothing
}

func (f *askedFleet) Lease(zone, store string, d time.Duration) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked, f.d = append(f.asked, zone+"/"+store), append(f.d, d)
	if f.then != nil {
		f.then()
	}
	return !f.none
}

func (f *askedFleet) LeaseServer(address string, d time.Duration) bool {
	return f.Lease("", address, d)
}

func TestLease(t *testing.T) {
	open := func(t *testing.T) (*lonely, *askedFleet) {
		l, f := newLonely(t), &askedFleet{}
		l.others()
		l.others()
		l.guard().SetFleet(f)
		l.frozen["z1"] = true
		l.guard().Agree(silentZone("z1", 1500*time.Millisecond))
		l.pass(2500 * time.Millisecond)
		if l.state("z1") != breaker.Open || len(f.asked) > 0 {
			t.Fatalf("%s without a request, asked for %v", l.state("z1"), f.asked)
		}
		return l, f
	}
	t.Run("granted", func(t *testing.T) {
		l, f := open(t)
		l.send("z1", "a")
		l.send("z1", "b")
		if len(f.asked) != 1 || f.asked[0] != "z1/" || f.d[0] < time.Second {
			t.Fatalf("asked for %v, for %v", f.asked, f.d)
		}
		l.pass(20 * time.Millisecond)
		l.guard().Leased("z1", "", true, 0)
		l.pass(20 * time.Millisecond)
		if z, _ := l.guard().Zone("z1"); z.State != breaker.HalfOpen || z.Live != 1 {
			t.Fatalf("%s with %d requests", z.State, z.Live)
		}
		l.others()
		if l.state("z1") != breaker.Open || len(f.asked) != 2 || f.d[1] < 5*time.Second {
			t.Errorf("after the request hangs it is %s, and the fleet was asked for %v, for %v", l.state("z1"), f.asked, f.d)
		}
		l.guard().Leased("z1", "", true, 0) // the answer to that
		if l.state("z1") != breaker.Open {
			t.Errorf("%s", l.state("z1"))
		}
	})
	t.Run("refused", func(t *testing.T) {
		l, f := open(t)
		l.send("z1", "a")
		l.guard().Leased("z1", "", false, 3*time.Second)
		l.pass(5 * time.Millisecond)
		if l.got[string(breaker.ReasonZoneOpen)] != 1 || l.state("z1") != breaker.Open {
			t.Fatalf("%s, requests: %v", l.state("z1"), l.got)
		}
		l.others()
		l.send("z1", "a")
		if l.got[string(breaker.ReasonZoneOpen)] != 2 || len(f.asked) != 1 {
			t.Errorf("asked for %v, requests: %v", f.asked, l.got)
		}
		l.pass(2100 * time.Millisecond)
		l.send("z1", "a")
		if z, _ := l.guard().Zone("z1"); len(f.asked) != 2 || z.Turn != 1 {
			t.Errorf("asked for %v, turn %d", f.asked, z.Turn)
		}
	})
	t.Run("never answered", func(t *testing.T) {
		l, _ := open(t)
		l.send("z1", "a")
		l.pass(90 * time.Millisecond)
		if l.state("z1") != breaker.Open {
			t.Fatalf("%s after 90 ms", l.state("z1"))
		}
		l.pass(60 * time.Millisecond)
		if z, _ := l.guard().Zone("z1"); z.State != breaker.HalfOpen || z.Live != 1 {
			t.Errorf("%s with %d requests after 150 ms", z.State, z.Live)
		}
	})
	t.Run("no fleet", func(t *testing.T) {
		l, f := open(t)
		f.none = true
		l.send("z1", "a")
		if z, _ := l.guard().Zone("z1"); z.State != breaker.HalfOpen || z.Live != 1 {
			t.Errorf("%s with %d requests", z.State, z.Live)
		}
	})
	t.Run("no request for the longest open time", func(t *testing.T) {
		l, _ := open(t)
		for range 10 { // as long as others observe it
			l.guard().Agree(silentZone("z1", 1500*time.Millisecond))
			l.pass(time.Second)
		}
		if l.state("z1") != breaker.Open {
			t.Errorf("%s while others observe it", l.state("z1"))
		}
		l.pass(3 * time.Minute)
		if l.state("z1") == breaker.Open || l.state("z1") == breaker.HalfOpen {
			t.Errorf("%s after three minutes without a request", l.state("z1"))
		}
	})
	t.Run("of a store", func(t *testing.T) {
		l, f := newLonely(t), &askedFleet{}
		l.guard().SetFleet(f)
		l.others()
		l.frozen["z1/bad"] = true
		l.guard().Agree(silentStore("z1", "bad", 1500*time.Millisecond))
		l.pass(6 * time.Second)
		l.send("z1", "bad")
		if len(f.asked) != 1 || f.asked[0] != "z1/bad" {
			t.Fatalf("asked for %v", f.asked)
		}
		l.guard().Leased("z1", "bad", false, 2*time.Second)
		l.pass(5 * time.Millisecond)
		if l.got[string(breaker.ReasonQuarantine)] != 1 {
			t.Fatalf("requests: %v", l.got)
		}
		l.pass(2100 * time.Millisecond)
		l.send("z1", "bad")
		l.guard().Leased("z1", "bad", true, 0)
		l.others()
		l.others()
		l.others()
		if got := l.guard().Store("z1", "bad"); got.State != breaker.Open || len(f.asked) != 3 || f.d[2] < 5*time.Second {
			t.Errorf("%s; asked for %v, for %v", got.State, f.asked, f.d)
		}
	})
}

// TestLeaseOfAGuard: requests of a guard itself wait for the fleet's answer, which may
// come while it is asked.
func TestLeaseOfAGuard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t, twoSeconds())
		defer p.close()
		f := &askedFleet{}
		f.then = func() { p.guard.Leased("z7", "", true, 0) }
		p.guard.SetFleet(f)
		p.load(3*time.Second, 50, func(i int) (string, string) { return "z1", fmt.Sprint("s", i) })
		p.guard.Agree(silentZone("z7", 2*time.Second))
		if p.state("z7").State != breaker.Open {
			t.Fatal(p.state("z7").State)
		}
		time.Sleep(2500 * time.Millisecond)
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				slot, refusal := p.guard.Admit(context.Background(), breaker.Request{Zone: "z7", Store: fmt.Sprint(i)})
				if refusal != nil {
					t.Errorf("refused: %s", refusal.Detail)
					return
				}
				time.Sleep(20 * time.Millisecond)
				slot.Answer(breaker.OK)
				slot.End(breaker.OK)
			})
		}
		wg.Wait()
		if got := p.state("z7"); got.State != breaker.Troubled || len(f.asked) != 1 {
			t.Errorf("%s, asked for %v", got.State, f.asked)
		}
		back := p.guard.Observe(nil)
		if len(back) != 1 || back[0].Kind != breaker.ObservedAnswered || back[0].Zone != "z7" {
			t.Errorf("observed %+v after it came back", back)
		}
		p.guard.SetFleet(nil)
	})
}
