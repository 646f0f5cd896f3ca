//go:build e2e

package e2e_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// redisServer is a Redis that keeps its data on disk.
type redisServer struct {
	addr   string
	dir    string
	within []string // what runs it elsewhere: nsenter and its arguments
	cmd    *exec.Cmd
}

// startRedis runs a Redis on the loopback interface.
func startRedis(t *testing.T) *redisServer {
	t.Helper()
	s := &redisServer{addr: freeAddr(t), dir: t.TempDir()}
	s.start(t)
	return s
}

// startRedisIn runs a Redis in a network namespace, so that it can be cut off.
func startRedisIn(t *testing.T, n *namespace) *redisServer {
	t.Helper()
	s := &redisServer{addr: net.JoinHostPort(n.inside, "6379"), dir: t.TempDir(), within: n.enter()}
	s.start(t)
	return s
}

// start runs the server, again if it has ended, and waits until it answers.
func (s *redisServer) start(t *testing.T) {
	t.Helper()
	host, port, _ := net.SplitHostPort(s.addr)
	args := append(append([]string{}, s.within...), "redis-server", "--port", port, "--bind", host,
		"--protected-mode", "no", "--save", "", "--appendonly", "yes", "--dir", s.dir)
	cmd := exec.Command(args[0], args[1:]...)
	logTo(t, cmd, "redis.log")
	if err := as(cmd, "root"); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.cmd = cmd
	t.Cleanup(func() { killGroup(cmd) })
	client := s.client()
	defer client.Close()
	eventually(t, 10*time.Second, "Redis answers", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		return listens(s.addr) && client.Ping(ctx).Err() == nil
	})
}

func (s *redisServer) client() *redis.Client {
	return redis.NewClient(&redis.Options{Addr: s.addr, Protocol: 2, ContextTimeoutEnabled: true})
}

// switches are the targets that Redis itself keeps switches of.
func (s *redisServer) switches(t *testing.T) []string {
	t.Helper()
	client := s.client()
	defer client.Close()
	targets, err := client.HKeys(t.Context(), "{firebreak}:switches").Result()
	if err != nil {
		t.Fatal(err)
	}
	return targets
}

func (s *redisServer) signal(t *testing.T, sig syscall.Signal) {
	t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

// kill ends it at once.
func (s *redisServer) kill() { killGroup(s.cmd) }

// empty removes what it keeps on disk.
func (s *redisServer) empty(t *testing.T) {
	t.Helper()
	files, err := os.ReadDir(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if err := os.RemoveAll(filepath.Join(s.dir, f.Name())); err != nil {
			t.Fatal(err)
		}
	}
}

// namespace is a network of its own, joined to this one by a cable. It goes
// away with the process that holds it.
type namespace struct {
	holder          *exec.Cmd
	outside, inside string // the addresses of the cable's ends
}

// testNet is where the addresses of namespaces are from.
const testNet = "198.18.0.0/16"

// newNamespace makes a network namespace. Its addresses are of the range for
// benchmarks (RFC 2544), testNet: those for documentation are in use on some
// machines.
func newNamespace(t *testing.T) *namespace {
	t.Helper()
	holder := exec.Command("unshare", "--net", "sleep", "infinity")
	if err := as(holder, "root"); err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { killGroup(holder) })
	ours, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	pid := holder.Process.Pid
	eventually(t, 5*time.Second, "there is a network namespace; making one needs root", func() bool {
		theirs, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", pid))
		return err == nil && theirs != ours
	})
	block := pid % (1 << 14) * 4
	address := func(host int) string { return fmt.Sprintf("198.18.%d.%d", block>>8, block&0xff+host) }
	n := &namespace{holder: holder, outside: address(1), inside: address(2)}
	name := fmt.Sprintf("fb%d", pid)
	ip(t, "link add %s type veth peer name cable netns %d", name, pid)
	ip(t, "addr add %s/30 dev %s", n.outside, name)
	ip(t, "link set %s up", name)
	n.ip(t, "addr add %s/30 dev cable", n.inside)
	n.plug(t)
	return n
}

// enter is what runs a command in the namespace.
func (n *namespace) enter() []string {
	return []string{"nsenter", "--net", "--target", fmt.Sprint(n.holder.Process.Pid)}
}

// pull pulls out the cable: what is sent either way is lost without a word.
func (n *namespace) pull(t *testing.T) { t.Helper(); n.ip(t, "link set cable down") }

func (n *namespace) plug(t *testing.T) { t.Helper(); n.ip(t, "link set cable up") }

func (n *namespace) ip(t *testing.T, format string, args ...any) {
	t.Helper()
	run(t, append(append(n.enter(), "ip"), strings.Fields(fmt.Sprintf(format, args...))...)...)
}

func ip(t *testing.T, format string, args ...any) {
	t.Helper()
	run(t, append([]string{"ip"}, strings.Fields(fmt.Sprintf(format, args...))...)...)
}

func run(t *testing.T, command ...string) {
	t.Helper()
	if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", strings.Join(command, " "), err, out)
	}
}
