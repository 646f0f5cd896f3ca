package breaker_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/config"
)

// newFleet is a pool of four API servers with eight workers each. pick is how a
// server is chosen: firebreak's own way, or at random.
func newFleet(t *testing.T, pick string) *pool {
	t.Helper()
	app := config.App{WorkersPerServer: 8, Zones: []config.Zone{{Name: "*", Timeout: config.Duration(2 * time.Second)}}}
	p := newPool(t, app)
	p.setServers("api1", "api2", "api3", "api4")
	p.dead, p.slowBy, p.sick = map[string]bool{}, map[string]time.Duration{}, map[string]bool{}
	random := rand.New(rand.NewPCG(1, 2))
	next := 0
	p.pick = func(slot *breaker.Slot) string {
		p.mu.Lock()
		servers := p.servers
		defer p.mu.Unlock()
		switch pick {
		case "random", "round_robin":
			server := ""
			for try := 0; try == 0 || try < 8 && slot.Declines(server); try++ {
				next++
				server = servers[(next+next/12)%len(servers)] // by turns, but not in step with the zones
				if pick == "random" {
					server = servers[random.IntN(len(servers))]
				}
			}
			slot.Sent(server)
			return server
		}
		i := slot.PickServer(breaker.NewCandidates(servers), func(int) bool { return true })
		return servers[i]
	}
	return p
}

func (p *pool) setServers(servers ...string) {
	p.mu.Lock()
	p.servers = servers
	p.mu.Unlock()
	p.guard.SetServers("handler", servers)
}

// server is the picture of one server.
func (p *pool) server(address string) breaker.ServerStatus {
	for _, s := range p.guard.Servers() {
		if s.Address == address {
			return s
		}
	}
	return breaker.ServerStatus{}
}

// nothingBlamed fails the test if a zone was cut off or a store named since.
func (p *pool) nothingBlamed() {
	p.t.Helper()
	for len(p.guard.Events()) > 0 {
		switch e := <-p.guard.Events(); e.Kind {
		case breaker.EventZoneOpened, breaker.EventStoreQuarantined:
			p.t.Errorf("%s %s %s %s", e.Kind, e.Zone, e.Store, e.Evidence)
		}
	}
}

// TestFrozenServer: one of four API servers stands still. Its requests are lost,
// and nothing else.
func TestFrozenServer(t *testing.T) {
	for _, tt := range []struct {
		pick string
		lost int // requests, of 25 s
	}{
		{"firebreak", 4},
		{"random", 8},
		{"round_robin", 8},
	} {
		t.Run(tt.pick, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newFleet(t, tt.pick)
				defer p.close()
				p.load(10*time.Second, 300, allZones)
				calm := percentile(p, time.Time{}, .99, anyZone)
				began := time.Now()
				p.freeze("api3")
				p.load(25*time.Second, 300, allZones)
				lost := p.count(began, func(r result) bool { return r.outcome != "ok" })
				if lost > tt.lost {
					t.Errorf("%d requests of 7,500 lost, want at most %d: %v", lost, tt.lost, p.details)
				}
				if got := percentile(p, began, .99, anyZone); tt.pick == "firebreak" && got > calm*11/10 {
					t.Errorf("p99 %s, want within 10 %% of %s", got, calm)
				}
				if s := p.server("api3"); s.State != breaker.OutOfService {
					t.Errorf("the frozen server is %s: %+v", s.State, s)
				}
				p.nothingBlamed()
				p.heal("api3")
				healed := time.Now()
				p.load(5*time.Second, 300, allZones)
				if got := okPercent(p, healed, anyZone); got < 100 {
					t.Errorf("from its return on %.2f %% ok, want all", got)
				}
				if s := p.server("api3"); s.State != breaker.InService {
					t.Errorf("5 s after its return the server is %s: %+v", s.State, s)
				}
				t.Logf("%d of 7,500 lost", lost)
			})
		})
	}
}

// TestPeakWhileAServerIsFrozen: a server that stands still gets no more than it takes
// to judge it, also when the others are full for a moment, and from the moment on
// that its answers are missing.
func TestPeakWhileAServerIsFrozen(t *testing.T) {
	for _, after := range []time.Duration{80 * time.Millisecond, 500 * time.Millisecond} {
		t.Run(after.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newFleet(t, "firebreak")
				defer p.close()
				p.load(10*time.Second, 300, allZones)
				began := time.Now()
				p.freeze("api3")
				p.load(after, 300, allZones)
				p.load(30*time.Millisecond, 1500, allZones) // twice what the others can do
				p.load(5*time.Second, 300, allZones)
				if lost := p.count(began, func(r result) bool { return r.outcome != "ok" }); lost > 4 {
					t.Errorf("%d requests lost, want at most 4: %v", lost, p.details)
				}
				p.nothingBlamed()
			})
		})
	}
}

// TestKilledServer: what is sent to a server that refuses connections goes to
// another one.
func TestKilledServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newFleet(t, "firebreak")
		defer p.close()
		p.load(5*time.Second, 300, allZones)
		began := time.Now()
		p.mu.Lock()
		p.dead["api2"] = true
		p.mu.Unlock()
		p.load(5*time.Second, 300, allZones)
		if s := p.server("api2"); s.State != breaker.Away {
			t.Errorf("the server is %s", s.State)
		}
		if got := p.guard.Status().Workers; got != 24 {
			t.Errorf("the pool has %d workers, want those of three servers", got)
		}
		p.mu.Lock()
		p.dead["api2"] = false
		p.mu.Unlock()
		p.load(3*time.Second, 300, allZones)
		if got := okPercent(p, began, anyZone); got < 100 {
			t.Errorf("%.2f %% ok, want all", got)
		}
		if s := p.server("api2"); s.State != breaker.InService {
			t.Errorf("3 s after its start the server is %s", s.State)
		}
		p.nothingBlamed()
	})
}

// TestServersComeAndGo: capacity follows, and draining loses nothing.
func TestServersComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newFleet(t, "firebreak")
		defer p.close()
		p.load(3*time.Second, 300, allZones)
		began := time.Now()
		for _, server := range []string{"api1", "api2", "api3", "api4"} {
			p.guard.DrainServer(server, true)
			if got := p.guard.Status().Workers; got != 24 {
				t.Errorf("with %s drained the pool has %d workers, want 24", server, got)
			}
			p.load(500*time.Millisecond, 300, allZones)
			if s := p.server(server); s.Live != 0 || !s.Draining {
				t.Errorf("half a second after it was drained %s has %d live requests", server, s.Live)
			}
			p.guard.DrainServer(server, false)
			p.load(500*time.Millisecond, 300, allZones)
		}
		p.setServers("api1", "api2", "api3", "api4", "api5", "api6")
		p.load(time.Second, 300, allZones)
		if got := p.guard.Status().Workers; got != 48 {
			t.Errorf("six servers have %d workers, want 48", got)
		}
		p.setServers("api4", "api5", "api6")
		p.load(time.Second, 300, allZones)
		if got := p.guard.Status().Workers; got != 24 {
			t.Errorf("three servers have %d workers, want 24", got)
		}
		if got := okPercent(p, began, anyZone); got < 100 {
			t.Errorf("%.2f %% ok, want all: %v", got, p.details)
		}
		p.nothingBlamed()
	})
}

// TestSickServers: one answers ten times slower, one answers errors to everything.
func TestSickServers(t *testing.T) {
	t.Run("slow", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p := newFleet(t, "firebreak")
			defer p.close()
			p.load(5*time.Second, 300, allZones)
			began := time.Now()
			p.mu.Lock()
			p.slowBy["api1"] = 200 * time.Millisecond
			p.mu.Unlock()
			p.load(20*time.Second, 300, allZones)
			if got := okPercent(p, began, anyZone); got < 100 {
				t.Errorf("%.2f %% ok, want all: %v", got, p.details)
			}
			p.nothingBlamed()
		})
	})
	t.Run("errors", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p := newFleet(t, "firebreak")
			defer p.close()
			p.load(5*time.Second, 300, allZones)
			began := time.Now()
			p.mu.Lock()
			p.sick["api1"] = true
			p.mu.Unlock()
			p.load(20*time.Second, 300, allZones)
			if s := p.server("api1"); s.State != breaker.OutOfService {
				t.Errorf("the server is %s: %+v", s.State, s)
			}
			if got := okPercent(p, began, anyZone); got < 99 {
				t.Errorf("%.2f %% ok, want 99", got)
			}
			p.nothingBlamed()
			p.mu.Lock()
			p.sick["api1"] = false
			p.mu.Unlock()
			p.load(70*time.Second, 300, allZones)
			if s := p.server("api1"); s.State != breaker.InService {
				t.Errorf("it is well again, and %s: %+v", s.State, s)
			}
		})
	})
}

// TestFrozenZoneAndServer: rows and columns. Both are found, and nothing else.
func TestFrozenZoneAndServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newFleet(t, "firebreak")
		defer p.close()
		p.load(10*time.Second, 300, allZones)
		began := time.Now()
		p.freeze("z7")
		p.load(time.Second, 300, allZones)
		p.freeze("api3")
		p.load(20*time.Second, 300, allZones)
		if got := okPercent(p, began, notZone("z7")); got < 99.9 {
			t.Errorf("other zones: %.3f %% ok, want 99.9: %v", got, p.details)
		}
		// If it holds requests of the frozen zone already, it may get only one of
		// another, which is too little for a verdict: it is in doubt, and avoided.
		if s := p.server("api3"); s.State != breaker.OutOfService && s.State != breaker.InDoubt {
			t.Errorf("the frozen server is %s: %+v", s.State, s)
		}
		if s := p.state("z7"); s.State != breaker.Open && s.State != breaker.HalfOpen {
			t.Errorf("the frozen zone is %s", s.State)
		}
		for len(p.guard.Events()) > 0 {
			if e := <-p.guard.Events(); e.Zone != "" && e.Zone != "z7" && e.To != breaker.Calm {
				t.Errorf("%s %s %s: %s", e.Kind, e.Zone, e.Store, e.Evidence)
			}
		}
	})
}

// TestFrozenZoneIsSpread: the stuck requests of a zone are not piled on one server.
func TestFrozenZoneIsSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newFleet(t, "firebreak")
		defer p.close()
		p.load(10*time.Second, 300, allZones)
		p.freeze("z7")
		p.load(40*time.Second, 300, allZones)
		var hung []int
		for _, s := range p.guard.Servers() {
			hung = append(hung, s.Hung)
			if s.State != breaker.InService && s.State != breaker.InDoubt {
				t.Errorf("%s is %s: %s", s.Address, s.State, s.Evidence)
			}
		}
		if most, even := slices.Max(hung), (p.worstOf("z7")+3)/4; most > even+1 {
			t.Errorf("hung requests by server: %v, want %d at most", hung, even+1)
		}
		if p.worstOf("z7") > 5 {
			t.Errorf("%d workers lost, want 5", p.worstOf("z7"))
		}
	})
}

func BenchmarkPickServer(b *testing.B) {
	for _, n := range []int{4, 100} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			p, err := (&config.App{WorkersPerServer: 16}).Policy()
			if err != nil {
				b.Fatal(err)
			}
			g := breaker.New(p, breaker.Options{})
			defer g.Close()
			servers := make([]string, n)
			for i := range servers {
				servers[i] = fmt.Sprintf("10.0.0.%d:9000", i)
			}
			g.SetServers("handler", servers)
			slot, refusal := g.Admit(b.Context(), breaker.Request{Zone: "z1", Store: "s"})
			if refusal != nil {
				b.Fatal(refusal.Detail)
			}
			candidates, usable := breaker.NewCandidates(servers), func(int) bool { return true }
			b.ReportAllocs()
			for b.Loop() {
				slot.PickServer(candidates, usable)
			}
		})
	}
}
