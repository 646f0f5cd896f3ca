//go:build e2e

package e2e_test

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/maintenance"
)

// publicAddr is an address of this machine that is not a loopback one: servers behind
// those are shared by no fleet.
func publicAddr(t *testing.T) string {
	t.Helper()
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addresses {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && n.IP.IsGlobalUnicast() {
			listener, err := net.Listen("tcp", net.JoinHostPort(n.IP.String(), "0"))
			if err != nil {
				t.Fatal(err)
			}
			defer listener.Close()
			return listener.Addr().String()
		}
	}
	t.Fatal("this machine has no IPv4 address but those of the loopback")
	return ""
}

// TestFleetServer: ten sidecars in front of the same three API servers, five requests a
// second each. One server stops: it is out of service on all of them, people are told of
// it once, and of its return once.
func TestFleetServer(t *testing.T) {
	if !strict {
		t.Skip("three quarters of a minute; FIREBREAK_STRICT=1 runs it")
	}
	const sidecars = 10
	redis, receiver := startRedis(t), startHooks(t)
	servers, upstreams := make([]*freezable, 3), ""
	for i := range servers {
		servers[i] = startFreezableOn(t, publicAddr(t))
		upstreams += " " + servers[i].addr
	}
	fleet := startFleetOf(t, sidecars, func(i int) site {
		return site{
			pool: 16, each: true, app: "instance host" + string(rune('a'+i)) + "\nstate redis " + redis.addr + " {\nfleet\n}", servers: receiver.bound(),
			handlers: guard + "\n\treverse_proxy" + upstreams + " {\n\t\ttransport firebreak\n\t\tlb_policy firebreak\n\t}",
		}
	})
	for _, p := range fleet {
		p.trickle(t, 200*time.Millisecond)
	}
	time.Sleep(12 * time.Second) // until they know each other
	page := func() (view struct{ Servers []maintenance.FleetServer }) {
		fleet[0].get(t, "/firebreak/fleet", &view)
		return view
	}
	if got := page().Servers; len(got) > 0 {
		t.Fatalf("servers that are well: %+v", got)
	}
	froze := time.Now()
	servers[1].freeze("s")
	eventually(t, 10*time.Second, "it is out of service on all", func() bool {
		for _, p := range fleet {
			if p.servers(t)[servers[1].addr].State != breaker.OutOfService {
				return false
			}
		}
		return true
	})
	figure(t, "out of service on all %d sidecars %.2f s after it stopped", sidecars, time.Since(froze).Seconds())
	eventually(t, 5*time.Second, "the fleet page tells", func() bool {
		got := page().Servers
		return len(got) == 1 && got[0].Server == servers[1].addr && got[0].Summary == "out of service on 10 of 10"
	})
	wantText(t, "status --fleet", fleet[0].mustCommand(t, "status", "--fleet"), "out of service on 10 of 10")
	began := receiver.one(t, "began", 15*time.Second, 0)
	if began.Server != servers[1].addr || began.Zone != "" {
		t.Errorf("%+v", began)
	}
	agreed := 0
	for _, p := range fleet {
		if strings.Contains(p.servers(t)[servers[1].addr].Evidence, "sidecars observe") {
			agreed++
		}
	}
	healed := time.Now()
	servers[1].heal()
	eventually(t, 10*time.Second, "it is back on all", func() bool { return len(page().Servers) == 0 })
	figure(t, "%d of %d took it out since others observe it, too; back on all %.2f s after the heal", agreed, sidecars, time.Since(healed).Seconds())
	ended := receiver.one(t, "ended", 30*time.Second, 0)
	if ended.Incident != began.Incident || ended.Sidecars != sidecars || ended.Server != servers[1].addr {
		t.Errorf("ended: %+v\nbegan: %+v", ended, began)
	}
	figure(t, "%d requests were lost", ended.Lost)
	for _, p := range fleet {
		for _, z := range p.status(t).Zones {
			if z.State == "open" {
				t.Errorf("zone %s is open", z.Zone)
			}
		}
	}
}
