//go:build e2e

package redis_test

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/zonecheck"
)

// TestCheck: the check of a zone's Redis, over one connection that is kept.
func TestCheck(t *testing.T) {
	server := startRedis(t)
	client := redis.NewClient(&redis.Options{Addr: server.address, Protocol: 2})
	defer client.Close()
	if err := client.Set(t.Context(), "health", "all is well", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if err := client.Do(t.Context(), "ACL", "SETUSER", "checker", "on", ">secret", "+ping").Err(); err != nil {
		t.Fatal(err)
	}
	if err := client.Set(t.Context(), "large", strings.Repeat("x", 4<<20), 0).Err(); err != nil {
		t.Fatal(err)
	}
	check := func(address, send, expect string) error {
		return zonecheck.Check(t.Context(), "z1", &config.Check{
			Protocol: "redis", Address: address, Send: send, Expect: expect, Timeout: config.Duration(2 * time.Second),
		})
	}
	for _, test := range []struct{ address, send, expect, want string }{
		{server.address, "", "", ""},
		{server.address, "", "PONG", ""},
		{"redis://checker:secret@" + server.address, "", "PONG", ""}, // may do nothing else
		{"redis://" + server.address + "/0", "GET health", "well", ""},
		{server.address, "GET health", "ill", `answered "all is well"`},
		{server.address, "GET nothing", "", "nil"},
		{server.address, "NONSENSE", "", "unknown command"},
		{server.address, "GET large", "", "too large"},
		{"redis://checker:wrong@" + server.address, "", "", "WRONGPASS"},
		{"redis://:wr%zzong@" + server.address, "", "", "no URL"},
	} {
		err := check(test.address, test.send, test.expect)
		switch {
		case test.want == "" && err != nil:
			t.Errorf("%s %q: %v", test.address, test.send, err)
		case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "wr%zz")):
			t.Errorf("%s %q: %v, want %q", test.address, test.send, err, test.want)
		}
	}
	accepted := func() string {
		for line := range strings.Lines(client.Info(t.Context(), "stats").Val()) {
			if strings.HasPrefix(line, "total_connections_received:") {
				return line
			}
		}
		return ""
	}
	_ = check(server.address, "", "") // the one before was given up
	before := accepted()
	for range 3 {
		if err := check(server.address, "", ""); err != nil {
			t.Error(err)
		}
	}
	if after := accepted(); after == "" || after != before {
		t.Errorf("connections: %q before, %q after three checks", before, after)
	}
	_ = server.process.Process.Signal(syscall.SIGSTOP)
	err := check(server.address, "", "")
	_ = server.process.Process.Signal(syscall.SIGCONT)
	if err == nil || !strings.Contains(err.Error(), "no answer in time") {
		t.Errorf("frozen: %v", err)
	}
	if err := check(server.address, "", ""); err != nil {
		t.Errorf("after the thaw: %v", err)
	}
}
