//go:build e2e

package redis_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/fleet"
	firebreakredis "github.com/firebreak-proxy/firebreak/redis"
)

// hole is a network between sidecars and a server that may swallow all bytes, both ways,
// while connections stay open and new ones are accepted.
type hole struct {
	address  string
	swallows atomic.Bool

	mu    sync.Mutex // guards below
	conns map[net.Conn]struct{}
}

func newHole(t *testing.T, to string) *hole {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := &hole{address: listener.Addr().String(), conns: make(map[net.Conn]struct{})}
	var work sync.WaitGroup
	t.Cleanup(func() {
		listener.Close()
		h.cut()
		work.Wait()
	})
	work.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", to)
			if err != nil {
				client.Close()
				continue
			}
			h.mu.Lock()
			h.conns[client], h.conns[server] = struct{}{}, struct{}{}
			h.mu.Unlock()
			work.Go(func() { h.carry(client, server) })
			work.Go(func() { h.carry(server, client) })
		}
	})
	return h
}

func (h *hole) carry(from, to net.Conn) {
	defer from.Close()
	defer to.Close()
	buf := make([]byte, 16<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		if h.swallows.Load() {
			continue
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

// cut closes what has lost bytes.
func (h *hole) cut() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for conn := range h.conns {
		conn.Close()
	}
	clear(h.conns)
}

func (h *hole) mend() {
	h.swallows.Store(false)
	h.cut()
}

// TestPartition: the network to Redis swallows everything. Requests do not notice, and a
// zone that stops then is found by its own sidecar.
func TestPartition(t *testing.T) {
	t.Parallel()
	h := newHole(t, startRedis(t).address)
	ctx, cancel := context.WithCancel(t.Context())
	var work sync.WaitGroup
	defer work.Wait()
	defer cancel()
	app := config.App{Workers: 32, Zones: []config.Zone{{Name: "*", Timeout: config.Duration(2 * time.Second)}}}
	policy, err := app.Policy()
	if err != nil {
		t.Fatal(err)
	}
	guard := breaker.New(policy, breaker.Options{})
	defer guard.Close()
	f := fleet.New(fleet.Options{
		Guard: guard, ID: "h:1", Host: "h",
		Transport: openTransport(t, firebreakredis.Options{Addresses: []string{h.address}}),
	})
	guard.SetFleet(f)
	work.Go(func() { f.Run(ctx) })
	within(t, 5*time.Second, "messages come back", f.Counts.Connected.Load)

	frozen := make(chan struct{})
	defer close(frozen)
	var stopped atomic.Bool
	request := func(zone, store string) (took time.Duration) {
		began := time.Now()
		slot, refusal := guard.Admit(ctx, breaker.Request{Zone: zone, Store: store})
		if refusal != nil {
			return 0
		}
		slot.Track()
		if zone == "z7" && stopped.Load() {
			work.Go(func() { <-frozen; slot.End(breaker.OK) })
			time.AfterFunc(slot.Timeout(), slot.Hang)
			return 0
		}
		time.Sleep(20 * time.Millisecond)
		slot.Answer(breaker.OK)
		slot.End(breaker.OK)
		return time.Since(began)
	}
	// load is d of a hundred requests/s. It returns the 99th percentile of the others.
	load := func(d time.Duration) time.Duration {
		var mu sync.Mutex
		var all []time.Duration
		var requests sync.WaitGroup
		for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			zone := fmt.Sprint("z", rand.IntN(10))
			requests.Go(func() {
				if took := request(zone, fmt.Sprint("s", rand.IntN(50))); took > 0 {
					mu.Lock()
					defer mu.Unlock()
					all = append(all, took)
				}
			})
		}
		requests.Wait()
		slices.Sort(all)
		return all[len(all)*99/100]
	}
	before := load(2 * time.Second)
	h.swallows.Store(true)
	began := time.Now()
	during := load(2 * time.Second)
	within(t, 5*time.Second, "the fleet counts as lost", func() bool { return !f.Counts.Connected.Load() })
	t.Logf("p99 %s, and %s while Redis is not reached; noticed within %s", before, during, time.Since(began))
	if during > before*11/10+2*time.Millisecond { // two: what a busy machine adds to either
		t.Errorf("p99 %s, want within 10 %% of %s", during, before)
	}
	stopped.Store(true)
	began = time.Now()
	for z, _ := guard.Zone("z7"); z.State != breaker.Open; z, _ = guard.Zone("z7") {
		if time.Since(began) > 8*time.Second {
			t.Fatalf("the zone that stopped is %s", z.State)
		}
		load(100 * time.Millisecond)
	}
	t.Logf("the zone that stopped is cut off after %s", time.Since(began))
	h.mend()
	within(t, 10*time.Second, "messages come back again", f.Counts.Connected.Load)
}
