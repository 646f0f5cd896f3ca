package breaker_test

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
)

// apiServers is the API servers of a noisy day. Each has workers of its own and a
// backlog, stands still for moments, and all are restarted one after the other.
type apiServers struct {
	n          *noise
	addresses  []string
	candidates *breaker.Candidates
	servers    map[string]*apiServer
	anywhere   bool // requests go to any server, not to the one that firebreak chooses
	restarts   int
	lost       int // requests that a restart has cost
	verdicts   int // servers found ill that were not
}

// apiServer is one of them.
type apiServer struct {
	address        string
	workers        int
	down, stalled  interval
	running, queue []*job
}

// job is one request on a server.
type job struct {
	zone, store string
	slot        *breaker.Slot
	server      *apiServer
	outcome     breaker.Outcome
	answered    bool
	ended       bool
}

// newAPIServers divides the workers of a noisy day among servers.
func newAPIServers(n *noise, servers int) *apiServers {
	f := &apiServers{n: n, servers: make(map[string]*apiServer, servers)}
	for i := range servers {
		address := fmt.Sprintf("api%d:9000", i)
		f.addresses = append(f.addresses, address)
		f.servers[address] = &apiServer{address: address, workers: n.workers / servers}
	}
	n.sim.Guard().SetServers("test", f.addresses)
	n.fleet, n.world.fleet = f, f.send
	f.candidates = breaker.NewCandidates(f.addresses)
	return f
}

// begin lets servers stand still now and then, and restarts all of them every so
// often: by draining them first, and the next time without.
func (f *apiServers) begin(restart time.Duration) {
	f.n.every(4*time.Minute, func() {
		s := f.servers[f.addresses[f.n.random.IntN(len(f.addresses))]]
		s.stalled = interval{f.n.now, f.n.now + time.Duration(f.n.random.Int64N(int64(900*time.Millisecond)))}
	})
	var again func()
	again = func() {
		f.restart(0, f.restarts%2 == 0)
		f.restarts++
		f.n.at(f.n.now+restart, again)
	}
	f.n.at(restart/10, again)
}

// restart restarts the servers from the i-th on, one after the other.
func (f *apiServers) restart(i int, drain bool) {
	if i == len(f.addresses) {
		return
	}
	s, guard := f.servers[f.addresses[i]], f.n.sim.Guard()
	stop := func() {
		s.down = interval{f.n.now, f.n.now + time.Second}
		for _, j := range slices.Concat(s.running, s.queue) {
			f.lost++
			j.end(breaker.Broken)
		}
		s.running, s.queue = nil, nil
		f.n.at(s.down.to, func() {
			guard.DrainServer(s.address, false)
			f.restart(i+1, drain)
		})
	}
	if !drain {
		stop()
		return
	}
	guard.DrainServer(s.address, true)
	until := f.n.now + 10*time.Second
	var wait func()
	wait = func() {
		if len(s.running) == 0 && len(s.queue) == 0 || f.n.now >= until {
			stop()
			return
		}
		f.n.at(f.n.now+50*time.Millisecond, wait)
	}
	wait()
}

// foundIll counts verdicts on servers that are there.
func (f *apiServers) foundIll(address string) bool {
	if s := f.servers[address]; f.n.now < s.down.to+time.Second {
		return false
	}
	f.verdicts++
	return true
}

// send sends an admitted request to a server.
func (f *apiServers) send(zone, store string, slot *breaker.Slot) {
	tried := make(map[int]bool)
	for range f.addresses {
		i := -1
		if f.anywhere {
			for i = f.n.random.IntN(len(f.addresses)); tried[i]; i = f.n.random.IntN(len(f.addresses)) {
			}
			slot.Sent(f.addresses[i])
		} else {
			i = slot.PickServer(f.candidates, func(i int) bool { return !tried[i] })
		}
		s := f.servers[f.addresses[i]]
		if f.n.now < s.down.to {
			tried[i] = true
			slot.NotSent(s.address)
			continue
		}
		outcome := breaker.OK
		if zone+"/"+store == f.n.failing {
			outcome = breaker.Failure
		}
		f.accept(&job{zone: zone, store: store, slot: slot, server: s, outcome: outcome})
		return
	}
	slot.End(breaker.NoUpstream)
}

func (f *apiServers) accept(j *job) {
	f.n.at(f.n.now+j.slot.Timeout(), func() {
		if !j.answered && !j.ended {
			j.answered = true
			f.n.hung++
			j.slot.Hang()
		}
	})
	if s := j.server; len(s.running) >= s.workers {
		s.queue = append(s.queue, j)
		return
	}
	f.run(j)
}

func (f *apiServers) run(j *job) {
	s := j.server
	s.running = append(s.running, j)
	ends := f.n.now + f.n.takes()
	for _, still := range []interval{f.n.stalls[""], f.n.stalls[j.zone], s.stalled} {
		if still.to > f.n.now {
			ends += still.to - max(still.from, f.n.now)
		}
	}
	f.n.at(ends, func() {
		if j.ended {
			return
		}
		j.end(j.outcome)
		s.running = slices.DeleteFunc(s.running, func(other *job) bool { return other == j })
		if len(s.queue) > 0 {
			next := s.queue[0]
			s.queue = s.queue[1:]
			f.run(next)
		}
	})
}

func (j *job) end(o breaker.Outcome) {
	if !j.answered {
		j.answered = true
		j.slot.Answer(o)
	}
	j.ended = true
	j.slot.End(o)
}

// TestHealthyServers: on healthy days, with a rolling restart of all API servers
// every hour, no zone is cut off and no store is in quarantine for longer than a
// moment: two requests of a store, one after the other, may take too long by chance.
// FIREBREAK_NOISE_HOURS asks for more than a few minutes.
func TestHealthyServers(t *testing.T) {
	asked := os.Getenv("FIREBREAK_NOISE_HOURS")
	hours, _ := strconv.ParseFloat(cmp.Or(asked, "0"), 64)
	for i, tt := range []struct {
		servers, workers, zones int
		rate                    float64
		anywhere                bool
		short                   time.Duration
	}{
		{4, 8, 12, 300, false, 2 * time.Minute},
		{4, 8, 12, 150, true, 2 * time.Minute},
		{100, 16, 1000, 300, false, thorough(2*time.Minute, 20*time.Second)},
		{100, 16, 1000, 4000, false, thorough(10*time.Second, 3*time.Second)},
	} {
		t.Run(fmt.Sprintf("%d servers of %d, %d zones, %.0f requests a second, anywhere %t", tt.servers, tt.workers, tt.zones, tt.rate, tt.anywhere), func(t *testing.T) {
			t.Parallel()
			n := newNoise(t, tt.servers*tt.workers, tt.zones, 1, uint64(i+100))
			n.rate = tt.rate
			f := newAPIServers(n, tt.servers)
			f.anywhere = tt.anywhere
			d, restart := tt.short, tt.short/2
			if asked != "" {
				d, restart = time.Duration(hours*float64(time.Hour)*min(1, 300/tt.rate)), time.Hour
			}
			f.begin(restart)
			n.run(d)
			share := 100 * float64(n.refused) / float64(max(1, n.asked))
			t.Logf("%s, %d rolling restarts: %d requests, %d refused (%.4f %%), %d over the timeout, %d lost to restarts; %d zones cut off, %d stores in quarantine (longest %s), %d alarms, %d servers found ill",
				d.Round(time.Second), f.restarts, n.asked, n.refused, share, n.hung, f.lost, n.openings, n.quarantines, n.worst, n.alarms, f.verdicts)
			if n.openings+n.longQuarantines+n.alarms > 0 {
				t.Errorf("%d zones cut off, %d stores in quarantine for over 1 s, %d false alarms, want none: %q", n.openings, n.longQuarantines, n.alarms, n.details[:min(len(n.details), 10)])
			}
			if share > .01 {
				t.Errorf("%.4f %% of good requests refused, want at most 0.01 %%: %v", share, n.reasons)
			}
		})
	}
}
