//go:build e2e

package e2e_test

import (
	"fmt"
	"testing"
	"time"
)

// TestShareAuto: the workers of two servers are divided among the sidecars that are
// in front of them, whoever comes and goes, and stay so while the state is down.
func TestShareAuto(t *testing.T) {
	t.Parallel()
	redis := startRedis(t)
	servers := []string{freeAddr(t), freeAddr(t)}
	fleet := startFleet(t, 3, site{
		pool: 16, app: "share auto\n\t\tstate redis " + redis.addr,
		handlers: guard + fmt.Sprintf("\n\treverse_proxy %s %s {\n\t\ttransport firebreak\n\t}", servers[0], servers[1]),
	})
	divided := func(by int, among ...*proxy) func() bool {
		return func() bool {
			sum := make(map[string]int)
			for _, p := range among {
				for address, s := range p.servers(t) {
					if s.Workers < 8/by || s.Workers > (8+by-1)/by {
						return false
					}
					sum[address] += s.Workers
				}
			}
			return sum[servers[0]] == 8 && sum[servers[1]] == 8
		}
	}
	began := time.Now()
	eventually(t, 12*time.Second, "three sidecars divide 8 workers of each server", divided(3, fleet...))
	figure(t, "three new sidecars had divided the workers after %.1f s", time.Since(began).Seconds())

	fleet[0].stop(t)
	began = time.Now()
	eventually(t, 20*time.Second, "the two that are left divide them", divided(2, fleet[1:]...))
	figure(t, "the part of one that was stopped was used after %.1f s", time.Since(began).Seconds())

	redis.kill()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(time.Second) {
		if !divided(2, fleet[1:]...)() {
			t.Fatal("the parts have changed while the state is down")
		}
	}
	redis.start(t)
	killGroup(fleet[1].cmd)
	began = time.Now()
	eventually(t, 35*time.Second, "the last one has all", divided(1, fleet[2]))
	figure(t, "the part of one that was killed was used after %.1f s", time.Since(began).Seconds())
}
