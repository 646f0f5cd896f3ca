//go:build e2e

package e2e_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/examples/outage/api"
	"github.com/firebreak-proxy/firebreak/examples/outage/load"
	"github.com/firebreak-proxy/firebreak/examples/outage/zone"
)

// hall is twelve zone databases and many API servers in front of them, each of its own
// pool and with a sidecar of its own.
type hall struct {
	zones   []*zone.Server
	servers []*api.Server
	fleet   []*proxy
}

// openHall starts n sidecars with a pool each. options are those of the firebreak app.
func openHall(t *testing.T, n int, options string) *hall {
	t.Helper()
	h := new(hall)
	zoneOf, zoneAddr := map[string]string{}, map[string]string{}
	for z := range zones {
		server, err := zone.NewServer(zone.Config{Listen: "127.0.0.1:0", MinService: 2 * time.Millisecond, MaxService: 10 * time.Millisecond, Parallel: 64})
		if err != nil {
			t.Fatal(err)
		}
		h.zones = append(h.zones, server)
		zoneAddr[zoneName(z)] = server.Addr()
		for s := range storesPerZone {
			zoneOf[storeName(z, s)] = zoneName(z)
		}
	}
	for range n {
		server, err := api.NewServer(api.Config{Listen: "127.0.0.1:0", Workers: workers, ZoneOf: zoneOf, ZoneAddr: zoneAddr})
		if err != nil {
			t.Fatal(err)
		}
		h.servers = append(h.servers, server)
	}
	t.Cleanup(func() {
		for _, server := range h.servers {
			server.Close()
		}
		for _, z := range h.zones {
			z.Close()
		}
	})
	h.fleet = startFleetOf(t, n, func(i int) site {
		return site{pool: workers, app: fmt.Sprintf("instance host%02d\n%s", i, options), handlers: guard + fmt.Sprintf(`
	reverse_proxy %s {
		transport firebreak
	}`, h.servers[i].Addr())}
	})
	return h
}

// plan is everyday traffic, over all sidecars.
func (h *hall) plan(d time.Duration) load.Plan {
	shop := shoppers{path: "/search"}
	store, random := load.Zipf(storesPerZone, 1, 11), rand.New(rand.NewPCG(11, 11))
	return load.Plan{Rate: rate, Duration: d, Timeout: 10 * time.Second, Pick: func(n int) load.Target {
		shop.proxy = h.fleet[random.IntN(len(h.fleet))].addr
		return shop.target(n%zones, store(), false)
	}}
}

// hang stops a zone as a whole, as a frozen database does.
func (h *hall) hang(z int) {
	all := make([]string, storesPerZone)
	for s := range all {
		all[s] = storeName(z, s)
	}
	h.zones[z].Hang(all...)
}

func (h *hall) heal(t *testing.T, z int) {
	t.Helper()
	if err := h.zones[z].Heal(); err != nil {
		t.Fatal(err)
	}
}

// lost follows how many workers of all pools wait for a zone; most returns the most.
func (h *hall) lost(t *testing.T, z int) (most func() int) {
	t.Helper()
	stop, worst := make(chan struct{}), 0
	var work sync.WaitGroup
	work.Go(func() {
		for {
			sum := 0
			for _, server := range h.servers {
				sum += server.Pool().State().BusyByZone[zoneName(z)]
			}
			worst = max(worst, sum)
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	})
	end := sync.OnceFunc(func() { close(stop); work.Wait() })
	t.Cleanup(end)
	return func() int { end(); return worst }
}

// opened is when each sidecar cut the zone off for the first time after from; the zero
// time if it did not.
func (h *hall) opened(t *testing.T, z int, from time.Time) []time.Time {
	t.Helper()
	moments := make([]time.Time, len(h.fleet))
	for i, p := range h.fleet {
		file, err := os.Open(p.log)
		if err != nil {
			t.Fatal(err)
		}
		for lines := bufio.NewScanner(file); lines.Scan(); {
			var line struct {
				TS        float64
				Msg, Zone string
			}
			if json.Unmarshal(lines.Bytes(), &line) != nil || line.Zone != zoneName(z) || line.Msg != "zone is cut off: its requests are refused, other zones are not affected" {
				continue
			}
			if at := time.UnixMicro(int64(line.TS * 1e6)); at.After(from) {
				moments[i] = at
				break
			}
		}
		file.Close()
	}
	return moments
}

// third is when the third store of a zone was asked for that got no answer, at offset
// from or later.
func third(rs []load.Result, zone string, from time.Duration) time.Duration {
	stuck := map[string]bool{}
	for _, r := range due(inZone(rs, zone), from, time.Hour) {
		if !r.OK() {
			if stuck[r.Store] = true; len(stuck) == 3 {
				return r.At
			}
		}
	}
	return 0
}

// verdict says when the fleet cut a zone off, after the third of its stores was stuck.
func (h *hall) verdict(t *testing.T, tr *traffic, rs []load.Result, z int, from time.Duration) (first, last time.Duration, n int) {
	t.Helper()
	stuck := tr.start.Add(third(rs, zoneName(z), from))
	first = time.Hour
	for _, at := range h.opened(t, z, tr.start.Add(from)) {
		if !at.IsZero() {
			n++
			first, last = min(first, at.Sub(stuck)), max(last, at.Sub(stuck))
		}
	}
	return first, last, n
}

// TestFleetVerdict: fifty sidecars in front of fifty pools, six requests a second each.
// A zone that stops is found by all of them together; and by each alone while Redis is
// stopped.
func TestFleetVerdict(t *testing.T) {
	const sidecars, sick, slowAfter = 50, 6, time.Second
	redis := startRedis(t)
	h := openHall(t, sidecars, "state redis "+redis.addr+" {\nfleet\n}")
	tr := drive(t, h.plan(75*time.Second))
	tr.sleepUntil(15 * time.Second) // until they know each other
	messages, bytes := h.received(t)
	tr.sleepUntil(20 * time.Second)
	quietMessages, quietBytes := h.received(t)
	figure(t, "nothing is wrong: %.1f messages and %.0f bytes a second reach each sidecar", (quietMessages-messages)/5, (quietBytes-bytes)/5)

	lost := h.lost(t, sick)
	broke := tr.now()
	h.hang(sick)
	tr.sleepUntil(broke + 10*time.Second)
	messages, bytes = h.received(t)
	figure(t, "a zone is frozen: %.1f messages and %.0f bytes a second reach each sidecar", (messages-quietMessages)/10, (bytes-quietBytes)/10)
	workersLost := lost()
	healed := tr.now()
	h.heal(t, sick)
	tr.sleepUntil(healed + 10*time.Second)

	if err := redis.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	stopped := tr.now()
	tr.sleepUntil(stopped + 3*time.Second)
	lostAlone := h.lost(t, sick)
	brokeAlone := tr.now()
	h.hang(sick)
	tr.sleepUntil(brokeAlone + 15*time.Second)
	workersLostAlone := lostAlone()
	healedAlone := tr.now()
	h.heal(t, sick)
	tr.sleepUntil(healedAlone + 5*time.Second)
	killGroup(redis.cmd)
	rs := tr.wait(t)

	first, last, n := h.verdict(t, tr, rs, sick, broke)
	figure(t, "%d of %d sidecars cut the zone off, the first %.2f s and the last %.2f s after the third store was stuck in the fleet, with slow_after %s",
		n, sidecars, first.Seconds(), last.Seconds(), slowAfter)
	promise(t, n == sidecars && last <= slowAfter+500*time.Millisecond, n >= sidecars*9/10 && last <= slowAfter+4*time.Second,
		"%d of %d cut the zone off, the last after %s; want all within %s", n, sidecars, last, slowAfter+500*time.Millisecond)
	figure(t, "%d of %d workers lost at worst", workersLost, sidecars*workers)
	promise(t, workersLost <= 60, workersLost <= 200, "%d workers lost, want at most 60", workersLost)
	after := due(inZone(rs, zoneName(sick)), healed, stopped)
	figure(t, "after the heal the zone is %.2f %% ok in the first 2 s and %.2f %% from then on; the last bad answer came to a request of %.1f s after it",
		load.OKPercent(due(after, healed, healed+2*time.Second)), load.OKPercent(due(after, healed+2*time.Second, stopped)), max(0, lastBad(after)-healed).Seconds())
	wantOK(t, "the zone from 2 s after the heal on", due(after, healed+2*time.Second, stopped), 99)
	others := notInZones(rs, zoneName(sick))
	wantOK(t, "other zones", others, 99.9)

	firstAlone, lastAlone, nAlone := h.verdict(t, tr, rs, sick, brokeAlone)
	figure(t, "with Redis stopped: %d of %d sidecars cut the zone off by themselves within 15 s, the first %.2f s and the last %.2f s after the third store was stuck; %d workers lost",
		nAlone, sidecars, firstAlone.Seconds(), lastAlone.Seconds(), workersLostAlone)
	calm, away := due(others, 5*time.Second, broke), due(others, stopped, healedAlone)
	figure(t, "p99 of other zones: %s before, %s while the zone was frozen, %s while Redis was stopped",
		ms(load.Percentile(calm, 99)), ms(load.Percentile(due(others, broke, healed), 99)), ms(load.Percentile(away, 99)))
	promiseP99(t, "other zones while Redis is stopped", calm, away)
}

// received is how many messages and bytes a sidecar has received of the fleet, on
// average.
func (h *hall) received(t *testing.T) (messages, bytes float64) {
	t.Helper()
	for _, p := range h.fleet {
		text := string(p.page(t, "/metrics"))
		messages += metric(t, text, `caddy_firebreak_fleet_messages_total{result="received"}`)
		bytes += metric(t, text, `caddy_firebreak_fleet_bytes_total{direction="received"}`)
	}
	n := float64(len(h.fleet))
	return messages / n, bytes / n
}

// metric reads one series out of a scrape.
func metric(t *testing.T, text, series string) float64 {
	t.Helper()
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, series+" "); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
	}
	t.Fatalf("there is no %s", series)
	return 0
}
