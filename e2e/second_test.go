//go:build e2e

package e2e_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestSecondProcess starts a second process at the port and with the data directory
// of one that runs: it must not guard the same pool. After kill -9 of the first the
// next one starts at once.
func TestSecondProcess(t *testing.T) {
	t.Parallel()
	s := answering("")
	p := startProxy(t, s)
	file := filepath.Join(t.TempDir(), "Caddyfile")
	if err := os.WriteFile(file, []byte(s.caddyfile(p.addr, freeAddr(t))), 0o644); err != nil {
		t.Fatal(err)
	}
	second := exec.Command(world.firebreak, "run", "--config", file, "--adapter", "caddyfile")
	second.Env = p.env
	var said bytes.Buffer
	second.Stdout, second.Stderr = &said, &said
	if err := as(second, "root"); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := second.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(20*time.Second, func() { killGroup(second) })
	err := second.Wait()
	if !timer.Stop() || err == nil {
		t.Fatalf("the second process runs: %v", err)
	}
	for _, want := range []string{"another firebreak runs with the same data directory", fmt.Sprintf("process %d, since ", p.cmd.Process.Pid), "instance NAME"} {
		if !strings.Contains(said.String(), want) {
			t.Errorf("the second process does not say %q:\n%s", want, said.String())
		}
	}
	figure(t, "the second process ended after %s", time.Since(began).Round(100*time.Millisecond))
	p.reload(t, s)
	killGroup(p.cmd)
	p.start(t)
	p.listening(t)
}
