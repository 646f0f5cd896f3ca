//go:build e2e

package redis_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/firebreak-proxy/firebreak/maintenance"
	"github.com/firebreak-proxy/firebreak/maintenance/conformance"
	firebreakredis "github.com/firebreak-proxy/firebreak/redis"
)

// redisServer is a Redis of the test's own.
type redisServer struct {
	t       *testing.T
	address string
	dir     string
	process *exec.Cmd
	log     bytes.Buffer
}

// startRedis starts a Redis that keeps its data on disk.
func startRedis(t *testing.T, more ...string) *redisServer {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &redisServer{t: t, address: listener.Addr().String(), dir: t.TempDir()}
	listener.Close()
	s.start(more...)
	t.Cleanup(s.kill)
	return s
}

func (s *redisServer) start(more ...string) {
	s.t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		s.t.Fatal("redis-server is missing: apt-get install redis-server")
	}
	_, port, _ := net.SplitHostPort(s.address)
	args := append([]string{"--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes", "--dir", s.dir}, more...)
	s.process = exec.Command(path, args...)
	s.process.Stdout, s.process.Stderr = &s.log, &s.log
	if err := s.process.Start(); err != nil {
		s.t.Fatal(err)
	}
	client := redis.NewClient(&redis.Options{Addr: s.address, Protocol: 2})
	defer client.Close()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		err := client.Ping(context.Background()).Err()
		if err == nil || strings.Contains(err.Error(), "NOAUTH") {
			return
		}
		if time.Now().After(end) {
			s.t.Fatalf("redis-server does not start: %v\n%s", err, s.log.String())
		}
	}
}

func (s *redisServer) signal(sig syscall.Signal) {
	s.t.Helper()
	if err := s.process.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}

// kill ends it as a power cut of the process does: with SIGKILL.
func (s *redisServer) kill() {
	_ = s.process.Process.Signal(syscall.SIGCONT)
	_ = s.process.Process.Kill()
	_ = s.process.Wait()
}

func (s *redisServer) open(prefix string) maintenance.Backend {
	s.t.Helper()
	b, err := firebreakredis.New(firebreakredis.Options{Addresses: []string{s.address}, Prefix: prefix})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = b.Close() })
	return b
}

func TestRedis(t *testing.T) {
	t.Parallel()
	server := startRedis(t)
	conformance.Run(t, conformance.Options{Watch: 100 * time.Millisecond}, func(t *testing.T) func() maintenance.Backend {
		return func() maintenance.Backend { return server.open(t.Name()) }
	})
}

func TestRedisClusterAndACL(t *testing.T) {
	t.Parallel()
	server := startRedis(t, "--cluster-enabled", "yes")
	client := redis.NewClient(&redis.Options{Addr: server.address, Protocol: 2})
	defer client.Close()
	for _, command := range [][]any{
		{"CLUSTER", "ADDSLOTSRANGE", 0, 16383},
		{"ACL", "SETUSER", "firebreak", "on", ">secret", "~{shop}:*", "&{shop}:*", "+@all", "-@dangerous"},
		{"ACL", "SETUSER", "default", "resetpass", ">other"},
	} {
		if err := client.Do(t.Context(), command...).Err(); err != nil {
			t.Fatal(command, err)
		}
	}
	open := func(user, password string) *maintenance.Board {
		b, err := firebreakredis.New(firebreakredis.Options{Addresses: []string{server.address}, Cluster: true, Username: user, Password: password, Prefix: "shop"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = b.Close() })
		return maintenance.New(maintenance.Options{Backend: b})
	}
	board := open("firebreak", "secret")
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		_, _, err := board.Change(t.Context(), maintenance.Author{}, on("a"))
		if err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
	if sw := board.Lookup("z", "a"); sw == nil {
		t.Error("not in force")
	}
	if err := open("firebreak", "wrong").Load(t.Context()); err == nil || !strings.Contains(err.Error(), "set the right username and password") {
		t.Errorf("with a wrong password: %v", err)
	}
}

func TestRedisErrorsSayWhatToDo(t *testing.T) {
	server := startRedis(t)
	client := redis.NewClient(&redis.Options{Addr: server.address, Protocol: 2})
	defer client.Close()
	if err := client.Set(t.Context(), "{fb}:head", "a string", 0).Err(); err != nil {
		t.Fatal(err)
	}
	board := maintenance.New(maintenance.Options{Backend: server.open("fb")})
	if err := board.Load(t.Context()); err == nil || !strings.Contains(err.Error(), "choose another prefix") {
		t.Errorf("keys of somebody else: %v", err)
	}
}

// TestRedisCorruptRecords: one broken switch is left out, named and counted.
func TestRedisCorruptRecords(t *testing.T) {
	server := startRedis(t)
	writer := maintenance.New(maintenance.Options{Backend: server.open("fb")})
	mustChange(t, writer, on("a", "b", "c"))
	client := redis.NewClient(&redis.Options{Addr: server.address, Protocol: 2})
	defer client.Close()
	client.HSet(t.Context(), "{fb}:switches", "store/b", "{broken", "nonsense", "{}", "store/x", `{"scope":"store","name":"y","mode":"full"}`)
	reader := maintenance.New(maintenance.Options{Backend: server.open("fb")})
	if err := reader.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	view := reader.View()
	if len(view.State.Switches) != 2 || len(view.Corrupt) != 3 {
		t.Errorf("%d switches, corrupt %v; want 2 and 3 records named", len(view.State.Switches), view.Corrupt)
	}
}

// TestRedisAway takes Redis away in every way: switches stay, lookups do not
// notice, and all is well again by itself.
func TestRedisAway(t *testing.T) {
	t.Parallel()
	server := startRedis(t)
	boards := make([]*maintenance.Board, 3)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{}, len(boards))
	t.Cleanup(func() {
		cancel()
		for range boards {
			<-done
		}
	})
	for i := range boards {
		boards[i] = maintenance.New(maintenance.Options{Backend: server.open("fb"), Sync: 200 * time.Millisecond, Timeout: 500 * time.Millisecond, ID: fmt.Sprint(i)})
		go func() { boards[i].Run(ctx); done <- struct{}{} }()
	}
	mustChange(t, boards[0], on("a"))
	inForce := func(store string) func() bool {
		return func() bool {
			for _, b := range boards {
				if b.Lookup("z", store) == nil || b.View().Stale {
					return false
				}
			}
			return true
		}
	}
	within(t, 100*time.Millisecond, "a change reaches every board", inForce("a"))
	for name, break_ := range map[string]func() (mend func()){
		"killed":  func() func() { server.kill(); return func() { server.start() } },
		"paused":  func() func() { server.signal(syscall.SIGSTOP); return func() { server.signal(syscall.SIGCONT) } },
		"emptied": func() func() { server.kill(); return func() { empty(t, server.dir); server.start() } },
	} {
		t.Run(name, func(t *testing.T) {
			mend := break_()
			within(t, 3*time.Second, "boards say stale", func() bool { return boards[1].View().Stale })
			worst := time.Duration(0)
			for range 1000 {
				began := time.Now()
				if boards[1].Lookup("z", "a") == nil {
					t.Fatal("a switch is lost")
				}
				worst = max(worst, time.Since(began))
			}
			began := time.Now()
			if _, _, err := boards[0].Change(t.Context(), maintenance.Author{}, on("never")); err == nil {
				t.Error("a change was acknowledged by a Redis that is away")
			}
			t.Logf("lookup at worst %s; a change was refused after %s", worst, time.Since(began))
			newcomer := maintenance.New(maintenance.Options{Backend: server.open("fb"), Timeout: 500 * time.Millisecond})
			if err := newcomer.Load(t.Context()); err == nil {
				t.Error("a newcomer does not say that it knows nothing")
			}
			mend()
			began = time.Now()
			within(t, 5*time.Second, "all is well again", inForce("a"))
			t.Logf("well again %s after Redis", time.Since(began))
			if err := newcomer.Sync(t.Context()); err != nil || newcomer.Lookup("z", "a") == nil {
				within(t, 2*time.Second, "the newcomer knows", func() bool { _ = newcomer.Sync(t.Context()); return newcomer.Lookup("z", "a") != nil })
			}
			mustChange(t, boards[2], on("after-"+name))
			within(t, time.Second, "changes work again", inForce("after-"+name))
		})
	}
}

// TestRedisEmptiedAndWrittenTo: Redis loses everything, and a writer that knows
// nothing writes before those that know. Both are kept.
func TestRedisEmptiedAndWrittenTo(t *testing.T) {
	server := startRedis(t)
	old := []*maintenance.Board{
		maintenance.New(maintenance.Options{Backend: server.open("fb")}),
		maintenance.New(maintenance.Options{Backend: server.open("fb")}),
	}
	mustChange(t, old[0], on("a", "b"))
	if err := old[1].Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	server.kill()
	empty(t, server.dir)
	server.start()
	newcomer := maintenance.New(maintenance.Options{Backend: server.open("fb")})
	mustChange(t, newcomer, on("c"))
	for _, b := range []*maintenance.Board{old[0], old[1], newcomer} {
		_ = b.Sync(t.Context())
		if err := b.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, store := range []string{"a", "b", "c"} {
			if b.Lookup("z", store) == nil {
				t.Errorf("%s is lost", store)
			}
		}
	}
	if one, two := old[0].View().State.Head, newcomer.View().State.Head; one != two {
		t.Errorf("heads %v and %v", one, two)
	}
	mustChange(t, old[1], off("a"))
	for _, b := range []*maintenance.Board{old[0], newcomer} {
		if err := b.Sync(t.Context()); err != nil || b.Lookup("z", "a") != nil {
			t.Errorf("a switch comes back from the dead: %v", err)
		}
	}
}

func empty(t *testing.T, dir string) {
	t.Helper()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
}

func within(t *testing.T, d time.Duration, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(d); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %s: %s", d, what)
		}
	}
}
