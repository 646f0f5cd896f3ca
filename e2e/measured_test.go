//go:build e2e

package e2e_test

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/examples/outage/load"
)

// measuredServers are four API servers of eight workers.
type measuredServers struct {
	servers []*pool
	path    string
	site    func(settings string) site // with so many workers
}

func measuredGunicorn(t *testing.T) measuredServers {
	t.Helper()
	var servers []*pool
	for range 4 {
		servers = append(servers, gunicornOf(t, serversOf))
	}
	return measuredServers{servers, "/search", func(settings string) site {
		s := serversSite(servers, "lb_policy firebreak")
		s.workers, s.each, s.app = settings, false, "server_status auto"
		return s
	}}
}

func measuredFPM(t *testing.T) measuredServers {
	t.Helper()
	var servers []*pool
	var addresses []string
	for range 4 {
		p := fpmOf(t, serversOf, 0)
		servers, addresses = append(servers, p), append(addresses, p.addr)
	}
	return measuredServers{servers, "/search.php", func(settings string) site {
		s := fpmSite(t, "", fmt.Sprintf("reverse_proxy %s {\n\t\ttransport firebreak fastcgi {\n\t\t\troot %s\n\t\t\tsplit .php\n\t\t}\n\t\tlb_policy firebreak\n\t}",
			strings.Join(addresses, " "), phpRoot(t)))
		s.workers, s.each, s.app = settings, false, "server_status auto"
		return s
	}}
}

// busySearches makes searches as slow as those of an everyday API: some 45 ms.
func busySearches(t *testing.T) {
	t.Helper()
	for _, d := range world.databases {
		d.setCost(t, "%", 45*time.Millisecond)
		t.Cleanup(func() { d.setCost(t, "%", 0) })
	}
}

// wrong are the servers whose number of workers is found wrong.
func (p *proxy) wrong(t *testing.T) (list []breaker.ServerStatus) {
	t.Helper()
	for _, s := range p.servers(t) {
		if s.Measured != nil && s.Measured.Wrong != "" {
			list = append(list, s)
		}
	}
	return list
}

// TestWorkersWrong: twice and half the workers that four servers have. Both are
// announced within a minute everywhere, with the right figure, and no longer once
// the setting is right.
func TestWorkersWrong(t *testing.T) {
	for name, start := range map[string]func(*testing.T) measuredServers{"gunicorn": measuredGunicorn, "FPM": measuredFPM} {
		t.Run(name, func(t *testing.T) {
			m := start(t)
			busySearches(t)
			if strict || name == "gunicorn" { // half a minute each
				t.Run("twice", func(t *testing.T) { findsWrong(t, m, 2*serversOf) })
			}
			if strict || name == "FPM" {
				t.Run("half", func(t *testing.T) { findsWrong(t, m, serversOf/2) })
			}
		})
	}
}

func findsWrong(t *testing.T, m measuredServers, setting int) {
	p := startProxy(t, m.site(fmt.Sprintf("%d per_server", setting)))
	tr := drive(t, everyday(p, m.path, 90*time.Second))
	first, right := time.Duration(0), time.Duration(0)
	eventually(t, time.Minute, "the wrong setting is announced with the right figure", func() bool {
		for _, s := range p.wrong(t) {
			if first == 0 {
				first = tr.now()
			}
			if s.Measured.Workers == serversOf && s.Measured.Exact && strings.Contains(s.Measured.Wrong, fmt.Sprintf("workers is %d, but the server has %d", setting, serversOf)) &&
				strings.HasPrefix(s.Measured.Write, fmt.Sprintf("workers %d per_server", serversOf)) {
				right = tr.now()
			}
		}
		return right > 0
	})
	for what, page := range map[string]string{
		"status": string(p.page(t, "/firebreak/status")), "firebreak status": p.firebreak(t, "status"), "firebreak servers": p.firebreak(t, "servers"), "the log": tail(p.log, 1000),
	} {
		if want := fmt.Sprintf("workers is %d, but the server has", setting); !strings.Contains(page, want) {
			t.Errorf("%s does not say %q:\n%s", what, want, page)
		}
	}
	if metrics := string(p.page(t, "/metrics")); strings.Contains(metrics, "caddy_firebreak_wrong_workers_servers 0") {
		t.Error("the metric counts no server")
	}
	p.reload(t, m.site(fmt.Sprintf("%d per_server", serversOf)))
	changed := tr.now()
	eventually(t, 10*time.Second, "nothing is wrong any more", func() bool { return len(p.wrong(t)) == 0 })
	corrected := tr.now() - changed
	tr.stop()
	rs := due(tr.wait(t), 0, changed-time.Second)
	figure(t, "workers %d where %d are, 4 servers: announced after %s, with the right figure after %s; gone %s after it was corrected; %.3f %% ok of %d, p99 %s",
		setting, serversOf, first.Round(100*time.Millisecond), right.Round(100*time.Millisecond), corrected.Round(100*time.Millisecond), load.OKPercent(rs), len(rs), ms(load.Percentile(rs, 99)))
	if log := tail(p.log, 1000); !strings.Contains(log, "the number of workers of a server is set right") {
		t.Error("the log does not say that it is right again")
	}
	killGroup(p.cmd)
}

// TestWorkersAuto: the number of workers is found out, is never more than there are
// by more than the one request that finds it out, and is known after a restart.
func TestWorkersAuto(t *testing.T) {
	m := measuredGunicorn(t)
	busySearches(t)
	p := startProxy(t, m.site("auto"))
	began := time.Now()
	tr := drive(t, everyday(p, m.path, 3*time.Minute))
	most := 0
	eventually(t, 150*time.Second, "the workers of all servers are known", func() bool {
		known := 0
		for _, s := range p.servers(t) {
			most = max(most, s.Workers)
			if s.Measured != nil && s.Measured.Exact && s.Workers == serversOf {
				known++
			}
		}
		return known == 4
	})
	found := time.Since(began)
	tr.stop()
	rs := due(tr.wait(t), 0, found-time.Second)
	killGroup(p.cmd)
	p.start(t)
	p.listening(t)
	for address, s := range p.servers(t) {
		if s.Workers != serversOf {
			t.Errorf("%s has %d workers after a restart", address, s.Workers)
		}
	}
	figure(t, "workers auto, 4 servers of %d: all found after %s, at most %d meanwhile; %.3f %% ok of %d, p99 %s", serversOf, found.Round(100*time.Millisecond), most, load.OKPercent(rs), len(rs), ms(load.Percentile(rs, 99)))
	if most > serversOf {
		t.Errorf("a server of %d workers was taken for one of %d", serversOf, most)
	}
}

// TestBusyAfterRestart: the workers that hang when firebreak is killed are on the
// books of the next process for as long as they hang, and no longer, whatever
// hung_hold is.
func TestBusyAfterRestart(t *testing.T) {
	for _, hold := range []string{"3s", "10m"} {
		t.Run("hung_hold "+hold, func(t *testing.T) {
			server := gunicornOf(t, serversOf)
			s := gunicornSite(server, "hung_hold "+hold)
			s.app = "server_status auto"
			p := startProxy(t, s)
			warm(t, p, "/search")
			d := world.databases[3]
			d.freeze()
			drive(t, everyday(p, "/search", 4*time.Second)).wait(t)
			before := p.zone(t, d.zone).Hung
			time.Sleep(time.Second) // it is on disk
			killGroup(p.cmd)
			p.start(t)
			p.listening(t)
			at := p.zone(t, d.zone).Hung
			time.Sleep(8 * time.Second)
			kept := p.zone(t, d.zone).Hung
			d.heal()
			healed := time.Now()
			eventually(t, 15*time.Second, "no worker hangs any more", func() bool { return p.zone(t, d.zone).Hung == 0 })
			figure(t, "hung_hold %s: %d workers hung, %d right after kill -9, %d 8 s later; none %s after the heal", hold, before, at, kept, time.Since(healed).Round(100*time.Millisecond))
			if before == 0 || at != before || kept < before {
				t.Errorf("%d workers hung, %d after the restart, %d 8 s later", before, at, kept)
			}
		})
	}
}

// TestOtherGuard: two processes with data directories of their own guard the same
// API server, at one port and at two. Both say so, until one of them is gone.
func TestOtherGuard(t *testing.T) {
	for name, samePort := range map[string]bool{"the same port": true, "ports of their own": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := answering("")
			s.handlers = guard + fmt.Sprintf("\n\treverse_proxy %s {\n\t\ttransport firebreak\n\t}", freeAddr(t))
			first := startProxy(t, s)
			addr := freeAddr(t)
			if samePort {
				addr = first.addr
			}
			second := newProxy(t, s, addr, freeAddr(t))
			second.start(t)
			began := time.Now()
			second.listening(t)
			first.reload(t, s)
			says := func(p *proxy) bool {
				return strings.Contains(string(p.page(t, "/firebreak/status")), "another firebreak, process ")
			}
			eventually(t, 20*time.Second, "both say so", func() bool { return says(first) && says(second) })
			took := time.Since(began)
			want := fmt.Sprintf("another firebreak, process %d, guards the same API servers", first.cmd.Process.Pid)
			for what, text := range map[string]string{"the log": tail(second.log, 100), "firebreak status": second.firebreak(t, "status")} {
				if !strings.Contains(text, want) || samePort != strings.Contains(text, "and listens at the same addresses") {
					t.Errorf("%s does not say %q:\n%s", what, want, text)
				}
			}
			if !strings.Contains(string(second.page(t, "/metrics")), "caddy_firebreak_other_guards 1") {
				t.Error("the metric does not count it")
			}
			killGroup(first.cmd)
			gone := time.Now()
			eventually(t, 10*time.Second, "it is no longer said", func() bool { return !says(second) })
			figure(t, "a second guard, %s: said after %s, no longer %s after the first was killed", name, took.Round(100*time.Millisecond), time.Since(gone).Round(100*time.Millisecond))
		})
	}
}

// TestOtherGuardHandover: neither reloads nor a process that takes the place of
// another one within seconds are told.
func TestOtherGuardHandover(t *testing.T) {
	t.Parallel()
	s := answering("")
	s.handlers = guard + fmt.Sprintf("\n\treverse_proxy %s {\n\t\ttransport firebreak\n\t}", freeAddr(t))
	first := startProxy(t, s)
	for range 20 {
		first.reload(t, s)
		time.Sleep(500 * time.Millisecond)
	}
	second := newProxy(t, s, first.addr, freeAddr(t))
	second.start(t)
	second.listening(t)
	time.Sleep(4 * time.Second)
	if err := syscall.Kill(first.cmd.Process.Pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	time.Sleep(12 * time.Second)
	for _, p := range []*proxy{first, second} {
		if log := tail(p.log, 1000); strings.Contains(log, "another firebreak") {
			t.Errorf("it is told:\n%s", log)
		}
	}
}
