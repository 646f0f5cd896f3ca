//go:build e2e

package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/internal/loopback"
)

// TestFleet: fifty sidecars that share one Redis. A change made at one of them
// is in force at all others within a second, each knows of all, and the dead
// disappear.
func TestFleet(t *testing.T) {
	t.Parallel()
	const sidecars, rounds, killed = 50, 20, 5
	began := time.Now()
	redis := startRedis(t)
	fleet := startFleet(t, sidecars, answering("state redis "+redis.addr))
	figure(t, "%d sidecars started in %.1f s", sidecars, time.Since(began).Seconds())

	var delays []time.Duration
	for n := range rounds {
		on := n%2 == 0
		delays = append(delays, spread(t, fleet, fleet[n%sidecars], on)...)
	}
	median, p99, limit := percentile(delays, 50), percentile(delays, 99), time.Second
	figure(t, "%d changes reached the %d other sidecars in %s at the median, p99 %s, at worst %s, from the call's start",
		rounds, sidecars-1, ms(median), ms(p99), ms(percentile(delays, 100)))
	// The median of sidecars that only poll would be half a second.
	promise(t, p99 <= limit, p99 <= 3*limit && median <= limit/3, "a change reached the fleet within %s at p99, %s at the median; want at most %s at p99", p99, median, limit)

	applied := time.Now()
	eventually(t, 3*time.Second, "all sidecars say that they apply the latest revision", func() bool {
		// Each knows about itself before it has told the others.
		all := fmt.Sprintf("%d of %d apply revision %d", sidecars, sidecars, rounds)
		return fleet[7].fleet(t) == all && fleet[3].fleet(t) == all
	})
	figure(t, "each sidecar knew what all apply %.1f s after the last change", time.Since(applied).Seconds())
	wantText(t, "status --fleet", fleet[3].mustCommand(t, "status", "--fleet"),
		fmt.Sprintf("fleet: %d of %d apply revision %d", sidecars, sidecars, rounds), fmt.Sprintf(":%d ", fleet[49].cmd.Process.Pid))
	resident, shared := memory(t, fleet)
	figure(t, "memory of a sidecar: %d MB resident at the median, %d MB with shared pages counted once, %d MB for all", resident>>20, shared>>20, shared*sidecars>>20)

	for _, p := range fleet[:killed] {
		killGroup(p.cmd)
	}
	died := time.Now()
	eventually(t, 18*time.Second, "the killed are gone from the fleet", func() bool {
		return fleet[killed].fleet(t) == fmt.Sprintf("%d of %d apply revision %d", sidecars-killed, sidecars-killed, rounds)
	})
	figure(t, "%d killed sidecars were gone from the fleet after %.1f s", killed, time.Since(died).Seconds())
}

// startFleet starts sidecars, a few at a time, so that they do not starve each
// other.
func startFleet(t *testing.T, n int, s site) []*proxy {
	t.Helper()
	return startFleetOf(t, n, func(int) site { return s })
}

// startFleetOf starts sidecars that have a site each.
func startFleetOf(t *testing.T, n int, siteOf func(i int) site) []*proxy {
	t.Helper()
	ports, err := loopback.Ports(2 * n)
	if err != nil {
		t.Fatal(err)
	}
	fleet := make([]*proxy, n)
	for i := range fleet {
		fleet[i] = newProxy(t, siteOf(i), fmt.Sprintf("127.0.0.1:%d", ports[2*i]), fmt.Sprintf("127.0.0.1:%d", ports[2*i+1]),
			"GOMAXPROCS=1", "GOMEMLIMIT=64MiB")
		fleet[i].start(t)
		if i >= 4 {
			fleet[i-4].listening(t)
		}
	}
	for _, p := range fleet {
		p.listening(t)
	}
	return fleet
}

// spread makes a change at one sidecar and returns when it came to hold at each
// of the others, from the call's start.
func spread(t *testing.T, fleet []*proxy, at *proxy, on bool) []time.Duration {
	t.Helper()
	method, body := http.MethodPut, `{"reason": "on fire"}`
	if !on {
		method, body = http.MethodDelete, ""
	}
	delays := make(chan time.Duration, len(fleet))
	var asking sync.WaitGroup
	began := time.Now()
	for _, p := range fleet {
		if p == at {
			continue
		}
		asking.Go(func() {
			for time.Since(began) < 10*time.Second {
				if a, err := p.ask(storeName(6, 1)); err == nil && (a.refusal == "maintenance") == on {
					delays <- time.Since(began)
					return
				}
				time.Sleep(20 * time.Millisecond)
			}
			t.Errorf("the change did not reach %s within 10 s", p.addr)
		})
	}
	at.mustChange(t, method, "maintenance/zones/z07", body)
	if at.inMaintenance(t, storeName(6, 1)) != on {
		t.Error("the change is not in force where it was made")
	}
	asking.Wait()
	close(delays)
	var all []time.Duration
	for d := range delays {
		all = append(all, d)
	}
	return all
}

// fleet is the sidecar's word on the fleet.
func (p *proxy) fleet(t *testing.T) string {
	t.Helper()
	var answer struct{ Fleet struct{ Summary string } }
	if err := json.Unmarshal(p.page(t, "/firebreak/status?fleet=1"), &answer); err != nil {
		t.Fatal(err)
	}
	return answer.Fleet.Summary
}

var rollup = regexp.MustCompile(`(?m)^(Rss|Pss): +(\d+) kB$`)

// memory is what a process of the fleet takes at the median, in bytes: all, and
// with its share alone of what it shares.
func memory(t *testing.T, fleet []*proxy) (resident, shared int) {
	t.Helper()
	sizes := map[string][]int{}
	for _, p := range fleet {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", p.cmd.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range rollup.FindAllSubmatch(text, -1) {
			kb, _ := strconv.Atoi(string(found[2]))
			sizes[string(found[1])] = append(sizes[string(found[1])], kb<<10)
		}
	}
	for _, all := range sizes {
		slices.Sort(all)
	}
	return sizes["Rss"][len(fleet)/2], sizes["Pss"][len(fleet)/2]
}

// stop ends the process as an operator does, and returns how long that took.
func (p *proxy) stop(t *testing.T) time.Duration {
	t.Helper()
	began := time.Now()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = p.cmd.Wait()
	return time.Since(began)
}
