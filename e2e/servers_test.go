//go:build e2e

package e2e_test

import (
	"bytes"
	"fmt"
	"maps"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/examples/outage/load"
)

// serversOf is how many workers each of the servers of these tests has.
const serversOf = 8

// serversSite is the Caddyfile for several API servers, without health checks.
func serversSite(servers []*pool, lines string) site {
	return site{pool: serversOf * len(servers), handlers: guard + fmt.Sprintf(`
	reverse_proxy %s {
		transport firebreak
		%s
	}`, addressesOf(servers), lines)}
}

func addressesOf(servers []*pool) string {
	var addresses []string
	for _, p := range servers {
		addresses = append(addresses, p.addr)
	}
	return strings.Join(addresses, " ")
}

// signal sends a signal to a server's master and workers.
func (p *pool) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(-p.cmd.Process.Pid, s); err != nil {
		t.Fatal(err)
	}
}

// servers is how the proxy sees its servers, by address.
func (p *proxy) servers(t *testing.T) map[string]breaker.ServerStatus {
	t.Helper()
	var list []breaker.ServerStatus
	p.get(t, "/firebreak/servers", &list)
	found := make(map[string]breaker.ServerStatus, len(list))
	for _, s := range list {
		found[s.Address] = s
	}
	return found
}

// blamed is what the proxy has blamed, as an operator's screen would show it.
type blamed struct {
	stop  chan struct{}
	done  chan struct{}
	zones int             // most zones cut off at once
	dark  time.Duration   // the longest time with a store in quarantine
	out   map[string]bool // servers that were out of service, or away
}

// blame watches what the proxy blames beside one zone, "" for none.
func (p *proxy) blame(t *testing.T, but string) *blamed {
	t.Helper()
	b := &blamed{stop: make(chan struct{}), done: make(chan struct{}), out: map[string]bool{}}
	go func() {
		defer close(b.done)
		var since time.Time
		for {
			since = b.look(t, p, but, since)
			select {
			case <-b.stop:
				return
			case <-time.After(100 * time.Millisecond):
			}
		}
	}()
	return b
}

// look looks once. since is when a store was first seen in quarantine.
func (b *blamed) look(t *testing.T, p *proxy, but string, since time.Time) time.Time {
	var s breaker.Status
	p.get(t, "/firebreak/status", &s)
	for address, server := range p.servers(t) {
		if server.State == breaker.OutOfService || server.State == breaker.Away {
			b.out[address] = true
		}
	}
	open, quarantined := 0, 0
	for _, z := range s.Zones {
		if z.Zone == but {
			continue
		}
		quarantined += z.QuarantinedCount
		if z.State == breaker.Open || z.State == breaker.HalfOpen {
			open++
		}
	}
	switch b.zones = max(b.zones, open); {
	case quarantined == 0:
		return time.Time{}
	case since.IsZero():
		return time.Now()
	}
	b.dark = max(b.dark, time.Since(since))
	return since
}

func (b *blamed) end() {
	close(b.stop)
	<-b.done
}

// nothingElse fails the test if more was blamed than the servers named.
func (b *blamed) nothingElse(t *testing.T, guilty ...*pool) {
	t.Helper()
	promise(t, b.zones == 0, b.zones == 0, "%d zones were cut off that were well", b.zones)
	promise(t, b.dark <= time.Second, b.dark <= 3*time.Second, "a store of a zone that was well was in quarantine for %s", b.dark)
	innocent := maps.Clone(b.out)
	for _, p := range guilty {
		delete(innocent, p.addr)
	}
	promise(t, len(innocent) == 0, len(innocent) == 0, "servers were taken out of service that were well: %v", innocent)
}

// lost are the requests that got no answer of an API server.
func lost(rs []load.Result) int {
	n := 0
	for _, r := range rs {
		if !r.OK() {
			n++
		}
	}
	return n
}

// TestServers: four API servers, and what may happen to them or to a zone behind them.
func TestServers(t *testing.T) {
	r := startRow(t, 4)
	p := startProxy(t, serversSite(r.servers, "lb_policy firebreak"))
	warm(t, p, "/search")
	s := scene{proxy: p, path: "/search", calm: 4 * time.Second, fault: 10 * time.Second, after: 3 * time.Second}
	t.Run("frozen", func(t *testing.T) { playFrozenServer(t, s, r.servers[0]) })
	t.Run("killed", func(t *testing.T) { playKilledServer(t, s, r.servers[1]) })
	t.Run("rolling restart", func(t *testing.T) { playRollingRestart(t, p, r.servers) })
	t.Run("slow", func(t *testing.T) { playSlowServer(t, s, r) })
	t.Run("errors", func(t *testing.T) { playErrors(t, s, r) })
	s.sick = world.databases[sickZone].zone
	t.Run("zone", func(t *testing.T) { playFrozenZone(t, s, r.servers) })
	t.Run("zone and server", func(t *testing.T) { playZoneAndServer(t, s, r.servers[2]) })
	t.Run("zone and restart", func(t *testing.T) { playZoneAndRestart(t, s, r.servers[3]) })
	for _, policy := range []string{"random", "round_robin"} {
		t.Run(policy, func(t *testing.T) { playPolicy(t, r.servers, policy) })
	}
	t.Run("scale", func(t *testing.T) { playScale(t, r) })
}

// TestServersFPM is the same with PHP-FPM, as far as it may differ.
func TestServersFPM(t *testing.T) {
	servers := make([]*pool, 4)
	for i := range servers {
		servers[i] = fpmOf(t, serversOf, 0)
	}
	conf := fpmSite(t, "", fpmTransport(t, servers...))
	conf.pool, conf.each = serversOf, true
	p := startProxy(t, conf)
	warm(t, p, "/search.php")
	s := scene{proxy: p, path: "/search.php", calm: 4 * time.Second, fault: 10 * time.Second, after: 3 * time.Second}
	t.Run("frozen", func(t *testing.T) { playFrozenServer(t, s, servers[0]) })
	t.Run("killed", func(t *testing.T) { playKilledServer(t, s, servers[1]) })
}

// playFrozenServer: an API server stands still, without any health check. Its requests
// go to the others.
func playFrozenServer(t *testing.T, s scene, ill *pool) {
	if strict {
		s.fault = 25 * time.Second
	}
	var frozen breaker.ServerStatus
	back := time.Duration(0)
	f := s.play(t, func() { ill.signal(t, syscall.SIGSTOP) }, func() {
		frozen = s.proxy.servers(t)[ill.addr]
		ill.signal(t, syscall.SIGCONT)
		returned := time.Now()
		eventually(t, 10*time.Second, "the server is back in full use", func() bool {
			now := s.proxy.servers(t)[ill.addr]
			back = time.Since(returned)
			return now.State == breaker.InService && now.Hung == 0
		})
	})
	figure(t, "one of four servers frozen for %s: %.3f %% ok of %d, %d lost; %s; it is %s, with %d hung; %d zones cut off, a store in quarantine for %s; back after %s",
		s.fault, load.OKPercent(f.all), len(f.all), lost(f.all), f.p99s(), frozen.State, frozen.Hung, f.blamed.zones, f.blamed.dark.Round(100*time.Millisecond), back.Round(time.Millisecond))
	promise(t, lost(f.all) <= 4, lost(f.all) <= 12, "%d requests are lost, want at most 4: %s", lost(f.all), bad(f.all))
	f.blamed.nothingElse(t, ill)
	promiseP99(t, "requests while a server is frozen", f.before, f.during)
	promise(t, back <= 2*time.Second, back <= 5*time.Second, "the server was back after %s", back)
}

// playKilledServer: an API server is killed and started again 5 s later. At most what
// was under way on it is lost.
func playKilledServer(t *testing.T, s scene, ill *pool) {
	s.fault = 5 * time.Second
	f := s.play(t, ill.kill, func() {
		ill.start(t)
		eventually(t, 10*time.Second, "the server is back in service", func() bool {
			return s.proxy.servers(t)[ill.addr].State == breaker.InService
		})
	})
	figure(t, "one of four servers killed for %s: %.3f %% ok of %d, %d lost", s.fault, load.OKPercent(f.all), len(f.all), lost(f.all))
	promise(t, lost(f.all) <= serversOf, lost(f.all) <= 2*serversOf, "%d requests are lost, want at most the %d that can be under way on a server: %s", lost(f.all), serversOf, bad(f.all))
	f.blamed.nothingElse(t, ill)
}

// playRollingRestart: all API servers are restarted one after the other, drained
// before. No request is lost.
func playRollingRestart(t *testing.T, p *proxy, servers []*pool) {
	tr := drive(t, everyday(p, "/search", time.Minute))
	tr.sleepUntil(2 * time.Second)
	var took []time.Duration
	for _, server := range servers {
		began := time.Now()
		p.firebreak(t, "server", "drain", server.addr, "--reason", "deploy", "--wait")
		server.kill()
		server.start(t)
		server.booted(t)
		p.firebreak(t, "server", "undrain", server.addr)
		took = append(took, time.Since(began).Round(10*time.Millisecond))
	}
	time.Sleep(2 * time.Second)
	tr.stop()
	rs := load.Filter(tr.wait(t), func(r load.Result) bool { return r.Err != load.ErrCanceled })
	figure(t, "rolling restart of four servers by drain, %v each: %d lost of %d", took, lost(rs), len(rs))
	promise(t, lost(rs) == 0, lost(rs) <= 2, "%d requests are lost: %s", lost(rs), bad(rs))
}

// firebreak runs a command against the proxy.
func (p *proxy) firebreak(t *testing.T, args ...string) string {
	t.Helper()
	program, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	cmd := exec.Command(program, append(args, "--address", p.admin)...)
	cmd.Env = p.env
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %v: %s", args, err, out.String())
	}
	return out.String()
}
