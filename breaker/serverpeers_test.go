package breaker_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
)

// serving is a lonely sidecar in front of servers, of which some stand still.
type serving struct {
	*lonely
	silent map[string]bool
	sent   map[string]int
	asks   *askedFleet
}

func newServing(t *testing.T, addresses ...string) *serving {
	t.Helper()
	s := &serving{lonely: newLonely(t), silent: map[string]bool{}, sent: map[string]int{}, asks: &askedFleet{}}
	s.guard().SetServers("test", addresses)
	s.guard().SetFleet(s.asks)
	candidates := breaker.NewCandidates(addresses)
	s.fleet = func(zone, store string, slot *breaker.Slot) {
		address := addresses[slot.PickServer(candidates, func(int) bool { return true })]
		s.sent[address]++
		takes, outcome := s.serve(zone, store)
		if s.silent[address] {
			takes = time.Hour
		}
		s.answerAfter(request{zone, store, s.now}, slot, takes, outcome)
	}
	return s
}

// load sends a request every 20 ms for d.
func (s *serving) load(d time.Duration) {
	for n := range int(d / (20 * time.Millisecond)) {
		s.at(s.now+time.Duration(n)*20*time.Millisecond, func() { s.send(fmt.Sprint("z", n%4), fmt.Sprint("s", n%7)) })
	}
	s.pass(d)
}

func (s *serving) server(address string) breaker.ServerStatus {
	for _, v := range s.guard().Servers() {
		if v.Address == address {
			return v
		}
	}
	return breaker.ServerStatus{}
}

func silentServer(address string, d time.Duration, stores int) breaker.Agreement {
	return breaker.Agreement{Sidecars: 3, Observation: breaker.Observation{Kind: breaker.ObservedSilent, Server: address, Stores: stores, For: d}}
}

// TestAgreeOnServer: what keeps a guard from taking a server out of service on its own
// verdict keeps it from doing so on the fleet's.
func TestAgreeOnServer(t *testing.T) {
	const api3 = "api3:9000"
	for _, tt := range []struct {
		name      string
		addresses []string
		before    func(s *serving)
		after     time.Duration // since its latest answer
		stores    int
		want      breaker.ServerState
	}{
		{"three stores", []string{"api1:9000", "api2:9000", api3}, nil, 2 * time.Second, 3, breaker.OutOfService},
		{"two stores", []string{"api1:9000", "api2:9000", api3}, nil, 2 * time.Second, 2, breaker.InService},
		{"it has answered here since", []string{"api1:9000", "api2:9000", api3}, nil, 500 * time.Millisecond, 3, breaker.InService},
		{"it has answered another sidecar since", []string{"api1:9000", "api2:9000", api3}, func(s *serving) {
			s.guard().PeerAnswered(breaker.Observation{Kind: breaker.ObservedAnswered, Server: api3, For: 500 * time.Millisecond})
		}, 2 * time.Second, 3, breaker.InService},
		{"the last one", []string{api3}, nil, 2 * time.Second, 3, breaker.InService},
		{"as many are out as may be", []string{"api1:9000", "api2:9000", api3}, func(s *serving) {
			s.guard().Agree(silentServer("api1:9000", 1500*time.Millisecond, 3))
		}, 2 * time.Second, 3, breaker.InService},
		{"drained", []string{"api1:9000", "api2:9000", api3}, func(s *serving) { s.guard().DrainServer(api3, true) }, 2 * time.Second, 3, breaker.InService},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newServing(t, tt.addresses...)
			s.load(2 * time.Second)
			s.pass(tt.after)
			if tt.before != nil {
				tt.before(s)
			}
			s.guard().Agree(silentServer(api3, 1500*time.Millisecond, tt.stores))
			v := s.server(api3)
			if v.State != tt.want || tt.want == breaker.OutOfService && !strings.Contains(v.Evidence, "3 sidecars observe") {
				t.Errorf("%+v, want %s", v, tt.want)
			}
		})
	}
	t.Run("another one on each machine", func(t *testing.T) {
		const local = "127.0.0.1:9001"
		s := newServing(t, "api1:9000", "api2:9000", local)
		s.pass(2 * time.Second)
		s.guard().Agree(silentServer(local, 1500*time.Millisecond, 3))
		if v := s.server(local); v.State != breaker.InService || s.guard().HasServer(local) || !s.guard().HasServer("api1:9000") || s.guard().HasServer("api9:9000") {
			t.Errorf("%+v", v)
		}
	})
}

// TestObserveServers: a server that owes answers while others give them, by the stores and
// zones that it owes them to; not one that is another one on each machine, nor a store or a zone that
// is silent by itself.
func TestObserveServers(t *testing.T) {
	servers := func(s *serving) (list []breaker.Observation) {
		for _, o := range s.guard().Observe(nil) {
			if o.Server != "" {
				list = append(list, o)
			}
		}
		return list
	}
	for _, tt := range []struct {
		name   string
		third  string
		freeze func(s *serving)
		alone  bool // one store, or zone, may speak against the server
		want   string
	}{
		{"a server", "api3:9000", func(s *serving) { s.silent["api3:9000"] = true }, false, "api3:9000"},
		{"a local one", "127.0.0.1:9000", func(s *serving) { s.silent["127.0.0.1:9000"] = true }, false, ""},
		{"a store", "api3:9000", func(s *serving) { s.frozen["z1/s1"] = true }, true, ""},
		{"a zone", "api3:9000", func(s *serving) { s.frozen["z1"] = true }, true, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newServing(t, "api1:9000", "api2:9000", tt.third)
			s.load(2 * time.Second)
			if got := s.guard().Observe(nil); len(got) > 0 {
				t.Fatalf("on a calm day: %+v", got)
			}
			tt.freeze(s)
			claimed := 0
			for range 40 { // its first request may count as answered: one that was on its way was
				s.load(100 * time.Millisecond)
				for _, o := range servers(s) {
					if tt.alone && o.Stores < 2 {
						continue // others are answered by the server, and say so
					}
					claimed++
					if o.Server != tt.want || o.Kind != breaker.ObservedSilent || o.Stores == 0 || o.Some[0] == 0 || o.For < time.Second {
						t.Fatalf("%+v, want %q", o, tt.want)
					}
				}
			}
			if (claimed > 0) != (tt.want != "") {
				t.Errorf("claimed %d times", claimed)
			}
		})
	}
	t.Run("it answers again", func(t *testing.T) {
		s := newServing(t, "api1:9000", "api2:9000", "api3:9000")
		s.load(2 * time.Second)
		s.pass(1100 * time.Millisecond)
		s.guard().Agree(silentServer("api3:9000", 1100*time.Millisecond, 3))
		s.pass(100 * time.Millisecond)
		s.guard().PeerAnswered(breaker.Observation{Kind: breaker.ObservedAnswered, Server: "api3:9000"})
		s.load(100 * time.Millisecond)
		got := servers(s)
		if v := s.server("api3:9000"); v.State != breaker.InService || len(got) != 1 || got[0].Kind != breaker.ObservedAnswered || got[0].Server != "api3:9000" {
			t.Errorf("%+v, told %+v", v, got)
		}
		asked := []breaker.Observation{{Kind: breaker.ObservedSilent, Server: "api3:9000", For: time.Second}, {Kind: breaker.ObservedSilent, Server: "api9:9000", For: time.Second}}
		if got := s.guard().Answers(asked, nil); len(got) != 1 || got[0].Server != "api3:9000" {
			t.Errorf("%+v", got)
		}
	})
}

// TestLeaseOfServer: one sidecar tries a server for all, and one that was told in vain
// that it answers does not believe that again.
func TestLeaseOfServer(t *testing.T) {
	const api3 = "api3:9000"
	out := func(t *testing.T) *serving {
		s := newServing(t, "api1:9000", "api2:9000", api3)
		s.load(2 * time.Second)
		s.pass(1100 * time.Millisecond)
		s.silent[api3] = true
		s.guard().Agree(silentServer(api3, 1100*time.Millisecond, 3))
		if v := s.server(api3); v.State != breaker.OutOfService {
			t.Fatalf("%+v", v)
		}
		s.sent[api3] = 0
		return s
	}
	wait := func(t *testing.T, s *serving) {
		t.Helper()
		for n := 0; len(s.asks.asked) == 0; n++ {
			if n == 80 {
				t.Fatal("the fleet is not asked")
			}
			s.load(100 * time.Millisecond)
		}
		if s.asks.asked[0] != "/"+api3 || s.asks.d[0] < time.Second || s.sent[api3] > 0 {
			t.Fatalf("asked for %v, for %v; %d requests were sent there", s.asks.asked, s.asks.d, s.sent[api3])
		}
	}
	t.Run("granted", func(t *testing.T) {
		s := out(t)
		wait(t, s)
		s.guard().ServerLeased(api3, true, 0)
		s.load(3 * time.Second)
		if s.sent[api3] != 1 || len(s.asks.asked) != 2 || s.asks.d[1] < 3*time.Second {
			t.Errorf("%d requests, asked for %v, for %v: want one, and that others are kept off", s.sent[api3], s.asks.asked, s.asks.d)
		}
	})
	t.Run("refused", func(t *testing.T) {
		s := out(t)
		wait(t, s)
		s.guard().ServerLeased(api3, false, 3*time.Second)
		s.load(2800 * time.Millisecond)
		if s.sent[api3] != 0 || len(s.asks.asked) != 1 {
			t.Errorf("%d requests, asked for %v", s.sent[api3], s.asks.asked)
		}
		s.load(300 * time.Millisecond)
		if len(s.asks.asked) != 2 {
			t.Errorf("asked for %v", s.asks.asked)
		}
	})
	t.Run("never answered", func(t *testing.T) {
		s := out(t)
		wait(t, s)
		s.load(200 * time.Millisecond)
		if s.sent[api3] != 1 {
			t.Errorf("%d requests, want one: it decides by itself", s.sent[api3])
		}
	})
	t.Run("no fleet", func(t *testing.T) {
		s := out(t)
		s.asks.none = true
		s.load(4 * time.Second)
		if s.sent[api3] != 1 {
			t.Errorf("%d requests, want one", s.sent[api3])
		}
	})
	t.Run("the fleet is left", func(t *testing.T) {
		s := out(t)
		s.guard().SetFleet(nil)
		s.load(4 * time.Second)
		if s.sent[api3] != 1 {
			t.Errorf("%d requests, want one", s.sent[api3])
		}
	})
	t.Run("while it is agreed on", func(t *testing.T) {
		s := out(t)
		for range 80 {
			s.guard().Agree(silentServer(api3, s.now-2100*time.Millisecond, 3))
			s.load(100 * time.Millisecond)
		}
		if len(s.asks.asked) > 0 {
			t.Errorf("asked for %v", s.asks.asked)
		}
	})
	t.Run("misled", func(t *testing.T) {
		s := out(t)
		for range 40 {
			s.guard().PeerAnswered(breaker.Observation{Kind: breaker.ObservedAnswered, Server: api3})
			s.load(100 * time.Millisecond)
		}
		if s.sent[api3] != 1 {
			t.Errorf("%d requests, want one", s.sent[api3])
		}
	})
}
