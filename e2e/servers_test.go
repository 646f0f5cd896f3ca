//go:build e2e

package e2e_test

import (
	"bytes"
	"fmt"
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

// startServers starts n API servers.
func startServers(t *testing.T, n int) []*pool {
	t.Helper()
	servers := make([]*pool, n)
	for i := range servers {
		servers[i] = gunicornOf(t, serversOf)
	}
	return servers
}

// serversSite is the Caddyfile for several API servers, without health checks.
func serversSite(servers []*pool, lines string) site {
	var addresses strings.Builder
	for _, p := range servers {
		addresses.WriteString(p.addr + " ")
	}
	return site{pool: serversOf * len(servers), handlers: guard + fmt.Sprintf(`
	reverse_proxy %s {
		transport firebreak
		%s
	}`, addresses.String(), lines)}
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

// blamed is for how long a zone was not calm or a store in quarantine, at most,
// between two looks.
type blamed struct {
	stop  chan struct{}
	done  chan struct{}
	zones int           // most zones cut off at once
	dark  time.Duration // the longest time with a store in quarantine
}

// blame watches what the proxy blames.
func (p *proxy) blame(t *testing.T) *blamed {
	t.Helper()
	b := &blamed{stop: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(b.done)
		var since time.Time
		for {
			var s breaker.Status
			p.get(t, "/firebreak/status", &s)
			open, quarantined := 0, 0
			for _, z := range s.Zones {
				quarantined += z.QuarantinedCount
				if z.State == breaker.Open || z.State == breaker.HalfOpen {
					open++
				}
			}
			switch b.zones = max(b.zones, open); {
			case quarantined == 0:
				since = time.Time{}
			case since.IsZero():
				since = time.Now()
			default:
				b.dark = max(b.dark, time.Since(since))
			}
			select {
			case <-b.stop:
				return
			case <-time.After(100 * time.Millisecond):
			}
		}
	}()
	return b
}

func (b *blamed) end() {
	close(b.stop)
	<-b.done
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

// TestServerFrozen: one of four API servers stands still for 25 s, without any
// health check. Its requests go to the others.
func TestServerFrozen(t *testing.T) {
	const calm, freeze, after = 8 * time.Second, 25 * time.Second, 8 * time.Second
	servers := startServers(t, 4)
	p := startProxy(t, serversSite(servers, "lb_policy firebreak"))
	warm(t, p, "/search")
	tr := drive(t, everyday(p, "/search", calm+freeze+after))
	tr.sleepUntil(calm)
	b := p.blame(t)
	froze := tr.now()
	servers[0].signal(t, syscall.SIGSTOP)
	tr.sleepUntil(calm + freeze)
	frozen := p.servers(t)[servers[0].addr]
	servers[0].signal(t, syscall.SIGCONT)
	back, returned := time.Duration(0), time.Now()
	eventually(t, 10*time.Second, "the server is back in full use", func() bool {
		s := p.servers(t)[servers[0].addr]
		back = time.Since(returned)
		return s.State == breaker.InService && s.Hung == 0
	})
	rs := tr.wait(t)
	b.end()
	before, during := due(rs, time.Second, froze), due(rs, froze, calm+freeze)
	figure(t, "one of four servers frozen for %s: %.3f %% ok of %d, %d lost; p99 %s before, %s during; its books: %s, %d hung; %d zones cut off, a store in quarantine for %s; back after %s",
		freeze, load.OKPercent(rs), len(rs), lost(rs), ms(load.Percentile(before, 99)), ms(load.Percentile(during, 99)), frozen.State, frozen.Hung, b.zones, b.dark.Round(100*time.Millisecond), back.Round(time.Millisecond))
	wantOK(t, "requests while a server is frozen", rs, 99.95)
	promise(t, lost(rs) <= 4, lost(rs) <= 12, "%d requests are lost, want at most 4: %s", lost(rs), bad(rs))
	promise(t, b.zones == 0, b.zones == 0, "%d zones were cut off for what a server did", b.zones)
	promise(t, b.dark <= time.Second, b.dark <= 3*time.Second, "a store was in quarantine for %s for what a server did", b.dark)
	promise(t, back <= 2*time.Second, back <= 5*time.Second, "the server was back after %s", back)
}

// TestServerKilled: one of four API servers is killed and started again 5 s later.
// At most what was under way on it is lost.
func TestServerKilled(t *testing.T) {
	servers := startServers(t, 4)
	p := startProxy(t, serversSite(servers, "lb_policy firebreak"))
	warm(t, p, "/search")
	tr := drive(t, everyday(p, "/search", 20*time.Second))
	tr.sleepUntil(5 * time.Second)
	servers[1].kill()
	tr.sleepUntil(10 * time.Second)
	servers[1].start(t)
	eventually(t, 10*time.Second, "the server is back in service", func() bool {
		return p.servers(t)[servers[1].addr].State == breaker.InService
	})
	rs := tr.wait(t)
	figure(t, "one of four servers killed for 5 s: %.3f %% ok of %d, %d lost", load.OKPercent(rs), len(rs), lost(rs))
	promise(t, lost(rs) <= serversOf, lost(rs) <= 2*serversOf, "%d requests are lost, want at most the %d that can be under way on a server: %s", lost(rs), serversOf, bad(rs))
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

// TestRollingRestart: all four API servers are restarted one after the other,
// drained before. No request is lost.
func TestRollingRestart(t *testing.T) {
	servers := startServers(t, 4)
	p := startProxy(t, serversSite(servers, "lb_policy firebreak"))
	warm(t, p, "/search")
	tr := drive(t, everyday(p, "/search", 60*time.Second))
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
