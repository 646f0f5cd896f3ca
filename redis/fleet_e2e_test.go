//go:build e2e

package redis_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/fleet"
	firebreakredis "github.com/firebreak-proxy/firebreak/redis"
)

func openTransport(t *testing.T, o firebreakredis.Options) *firebreakredis.Transport {
	t.Helper()
	transport, err := firebreakredis.NewTransport(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = transport.Close() })
	return transport
}

// listener collects what a transport receives.
type listener struct {
	mu    sync.Mutex // guards below
	texts []string
	ages  []time.Duration
}

// take leaves out what comes twice: out of the stream and by the channel.
func (l *listener) take(message []byte, age time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if slices.Contains(l.texts, string(message)) {
		return
	}
	l.texts, l.ages = append(l.texts, string(message)), append(l.ages, age)
}

func (l *listener) has(want ...string) func() bool {
	return func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return fmt.Sprint(l.texts) == fmt.Sprint(want)
	}
}

// listen has a transport receive until the test ends or stop is called.
func listen(t *testing.T, transport *firebreakredis.Transport) (l *listener, stop func() error) {
	ctx, cancel := context.WithCancel(t.Context())
	l = new(listener)
	ended := make(chan error, 1)
	go func() { ended <- transport.Receive(ctx, l.take) }()
	return l, func() error { cancel(); return <-ended }
}

func TestTransport(t *testing.T) {
	t.Parallel()
	server := startRedis(t)
	a := openTransport(t, firebreakredis.Options{Addresses: []string{server.address}})
	b := openTransport(t, firebreakredis.Options{Addresses: []string{server.address}})
	other := openTransport(t, firebreakredis.Options{Addresses: []string{server.address}, Prefix: "other"})
	publish := func(transport *firebreakredis.Transport, text string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := transport.Publish(ctx, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	publish(a, "one")
	time.Sleep(300 * time.Millisecond)
	publish(other, "of another fleet")
	at, stopA := listen(t, a)
	bt, _ := listen(t, b)
	within(t, 2*time.Second, "what was published before", func() bool { return at.has("one")() && bt.has("one")() })
	if age := at.ages[0]; age < 300*time.Millisecond || age > 2*time.Second {
		t.Errorf("it is said to be %s old, want 300 ms or a little more", age)
	}
	time.Sleep(2500 * time.Millisecond) // longer than it takes to ask whether the channel is there
	publish(b, "two\x00\xff")
	within(t, time.Second, "what is published", func() bool { return at.has("one", "two\x00\xff")() && bt.has("one", "two\x00\xff")() })
	if at.ages[1] != 0 {
		t.Errorf("news is said to be %s old", at.ages[1])
	}
	began := time.Now()
	if err := stopA(); err == nil || time.Since(began) > 500*time.Millisecond {
		t.Errorf("receiving ended after %s: %v", time.Since(began), err)
	}
	time.Sleep(time.Second)
	publish(b, "three")
	again, _ := listen(t, a)
	within(t, 2*time.Second, "what was missed, and nothing that is older than three seconds", again.has("two\x00\xff", "three"))
	for n := range 2000 {
		publish(b, fmt.Sprint(n))
	}
	client := redis.NewClient(&redis.Options{Addr: server.address, Protocol: 2})
	defer client.Close()
	if n := client.XLen(t.Context(), "{firebreak}:fleet:recent").Val(); n < 256 || n > 512 {
		t.Errorf("the stream keeps %d messages, want about 256", n)
	}
	if d := client.PTTL(t.Context(), "{firebreak}:fleet:recent").Val(); d <= 0 || d > time.Minute {
		t.Errorf("the stream stays for %s, want a minute", d)
	}
}

func TestTransportLease(t *testing.T) {
	t.Parallel()
	server := startRedis(t)
	a := openTransport(t, firebreakredis.Options{Addresses: []string{server.address}})
	b := openTransport(t, firebreakredis.Options{Addresses: []string{server.address}})
	ask := func(transport *firebreakredis.Transport, d time.Duration, want bool, least, most time.Duration) {
		t.Helper()
		granted, left, err := transport.Lease(t.Context(), "zone/z7", d)
		if err != nil || granted != want || left < least || left > most {
			t.Errorf("%t for %s, %v; want %t for %s to %s", granted, left, err, want, least, most)
		}
	}
	ask(a, 500*time.Millisecond, true, 500*time.Millisecond, 500*time.Millisecond)
	ask(b, time.Second, false, time.Millisecond, 500*time.Millisecond)
	ask(a, time.Second, true, time.Second, time.Second) // extended
	time.Sleep(600 * time.Millisecond)
	ask(b, time.Second, false, time.Millisecond, 400*time.Millisecond)
	time.Sleep(500 * time.Millisecond)
	ask(b, time.Second, true, time.Second, time.Second)
	ask(a, time.Second, false, time.Millisecond, time.Second)
}

// TestTransportAway: calls end in time, and receiving ends so that it can begin again.
func TestTransportAway(t *testing.T) {
	t.Parallel()
	for name, away := range map[string]func(*redisServer, *hole){
		"killed":      func(s *redisServer, _ *hole) { s.kill() },
		"paused":      func(s *redisServer, _ *hole) { s.signal(syscall.SIGSTOP) },
		"partitioned": func(_ *redisServer, h *hole) { h.swallows.Store(true) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := startRedis(t)
			h := newHole(t, server.address)
			a := openTransport(t, firebreakredis.Options{Addresses: []string{h.address}})
			ended := make(chan error, 1)
			l := new(listener)
			go func() { ended <- a.Receive(t.Context(), l.take) }()
			if err := a.Publish(t.Context(), []byte("x")); err != nil {
				t.Fatal(err)
			}
			within(t, 2*time.Second, "the message", l.has("x"))
			away(server, h)
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			began := time.Now()
			if err := a.Publish(ctx, []byte("y")); err == nil {
				t.Error("published into the void")
			}
			if _, _, err := a.Lease(ctx, "zone/z7", time.Second); err == nil {
				t.Error("a lease of nobody")
			}
			if waited := time.Since(began); waited > 500*time.Millisecond {
				t.Errorf("calls waited for %s", waited)
			}
			select {
			case err := <-ended:
				t.Logf("receiving ended: %v", err)
			case <-time.After(8 * time.Second):
				t.Error("it goes on receiving from nobody")
			}
		})
	}
}

func TestTransportInCluster(t *testing.T) {
	t.Parallel()
	server := startRedis(t, "--cluster-enabled", "yes")
	client := redis.NewClient(&redis.Options{Addr: server.address, Protocol: 2})
	defer client.Close()
	if err := client.Do(t.Context(), "CLUSTER", "ADDSLOTSRANGE", 0, 16383).Err(); err != nil {
		t.Fatal(err)
	}
	a := openTransport(t, firebreakredis.Options{Addresses: []string{server.address}, Cluster: true})
	within(t, 10*time.Second, "the cluster is up", func() bool { return a.Publish(t.Context(), []byte("x")) == nil })
	l, _ := listen(t, a)
	within(t, 2*time.Second, "what was published before", l.has("x"))
	if granted, _, err := a.Lease(t.Context(), "store/z7/a b", time.Second); !granted || err != nil {
		t.Error(granted, err)
	}
}

// observer is a guard that observes one silent zone.
type observer struct {
	mu     sync.Mutex // guards below
	silent time.Time
	store  uint32
	agreed int
}

func (o *observer) Observe(buf []breaker.Observation) []breaker.Observation {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.silent.IsZero() {
		return buf
	}
	return append(buf, breaker.Observation{Kind: breaker.ObservedSilent, Zone: "z7", Stores: 1, Some: [3]uint32{o.store}, For: time.Since(o.silent)})
}

func (o *observer) Answers(_, buf []breaker.Observation) []breaker.Observation { return buf }
func (o *observer) PeerAnswered(breaker.Observation)                           {}
func (o *observer) Leased(string, string, bool, time.Duration)                 {}
func (o *observer) ServerLeased(string, bool, time.Duration)                   {}
func (o *observer) HasServer(string) bool                                      { return true }

func (o *observer) Agree(breaker.Agreement) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.agreed++
}

// trio is three sidecars of a fleet that observe what they are told to.
type trio struct {
	t      *testing.T
	fleets []*fleet.Fleet
	guards []*observer
}

func startTrio(t *testing.T, o firebreakredis.Options) *trio {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var work sync.WaitGroup
	t.Cleanup(func() { cancel(); work.Wait() })
	s := &trio{t: t}
	for i := range 3 {
		g := &observer{store: uint32(i + 1)}
		f := fleet.New(fleet.Options{Guard: g, Transport: openTransport(t, o), ID: fmt.Sprint("h", i, ":1"), Host: fmt.Sprint("h", i)})
		work.Go(func() { f.Run(ctx) })
		s.guards, s.fleets = append(s.guards, g), append(s.fleets, f)
	}
	within(t, 5*time.Second, "messages come back", s.connected(true))
	time.Sleep(7 * time.Second) // until they know each other
	return s
}

func (s *trio) connected(want bool) func() bool {
	return func() bool {
		return !slices.ContainsFunc(s.fleets, func(f *fleet.Fleet) bool { return f.Counts.Connected.Load() != want })
	}
}

// agree has all observe the same for a moment.
func (s *trio) agree() {
	s.t.Helper()
	for _, g := range s.guards {
		g.set(time.Now().Add(-time.Second))
	}
	within(s.t, 3*time.Second, "all agree", func() bool {
		return !slices.ContainsFunc(s.guards, func(g *observer) bool { return g.count() == 0 })
	})
	for _, g := range s.guards {
		g.set(time.Time{})
	}
}

func (o *observer) set(silent time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.silent, o.agreed = silent, 0
}

func (o *observer) count() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.agreed
}

// TestFleetOverRedis: three sidecars agree over a Redis, which is stopped, killed and cut
// off by the network meanwhile.
func TestFleetOverRedis(t *testing.T) {
	t.Parallel()
	server := startRedis(t)
	network := newHole(t, server.address)
	s := startTrio(t, firebreakredis.Options{Addresses: []string{network.address}})
	s.agree()
	for name, break_ := range map[string]func() (mend func()){
		"paused":      func() func() { server.signal(syscall.SIGSTOP); return func() { server.signal(syscall.SIGCONT) } },
		"killed":      func() func() { server.kill(); return func() { server.start() } },
		"partitioned": func() func() { network.swallows.Store(true); return network.mend },
	} {
		began := time.Now()
		mend := break_()
		within(t, 12*time.Second, name+": all notice", s.connected(false))
		t.Logf("%s: noticed after %s", name, time.Since(began).Round(time.Millisecond))
		mend()
		began = time.Now()
		within(t, 10*time.Second, name+": all are back", s.connected(true))
		t.Logf("%s: back %s after it was", name, time.Since(began).Round(time.Millisecond))
		time.Sleep(time.Second)
		s.agree()
	}
}

// startSentinel watches the master on a port of this machine. It returns its address.
func startSentinel(t *testing.T, master string) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	_, port, _ := net.SplitHostPort(address)
	file := filepath.Join(t.TempDir(), "sentinel.conf")
	text := fmt.Sprintf("port %s\nbind 127.0.0.1\nsentinel monitor m 127.0.0.1 %s 1\nsentinel down-after-milliseconds m 1000\nsentinel failover-timeout m 5000\n", port, master)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	process := exec.Command("redis-server", file, "--sentinel")
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = process.Process.Kill(); _ = process.Wait() })
	client := redis.NewClient(&redis.Options{Addr: address, Protocol: 2})
	defer client.Close()
	within(t, 5*time.Second, "the sentinel is there", func() bool { return client.Ping(t.Context()).Err() == nil })
	return address
}

// TestFleetOverSentinel: the master dies, and the fleet goes on over the replica that the
// sentinels make the master.
func TestFleetOverSentinel(t *testing.T) {
	if os.Getenv("FIREBREAK_STRICT") == "" {
		t.Skip("takes 20 s; FIREBREAK_STRICT=1 asks for it")
	}
	t.Parallel()
	master := startRedis(t)
	_, port, _ := net.SplitHostPort(master.address)
	replica := startRedis(t, "--replicaof", "127.0.0.1", port)
	sentinel := startSentinel(t, port)
	of := redis.NewClient(&redis.Options{Addr: replica.address, Protocol: 2})
	defer of.Close()
	within(t, 10*time.Second, "the replica follows", func() bool {
		return strings.Contains(of.Info(t.Context(), "replication").Val(), "master_link_status:up")
	})
	s := startTrio(t, firebreakredis.Options{Addresses: []string{sentinel}, MasterName: "m"})
	s.agree()
	time.Sleep(4 * time.Second) // until the sentinel knows the replica
	began := time.Now()
	master.kill()
	within(t, 12*time.Second, "all notice", s.connected(false))
	within(t, 30*time.Second, "all are back", s.connected(true))
	t.Logf("the fleet was away for %s", time.Since(began).Round(time.Millisecond))
	time.Sleep(time.Second)
	s.agree()
}
