//go:build e2e

package e2e_test

import (
	"bytes"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/internal/loopback"
)

// as makes cmd run as the named user when the tests run as root.
func as(cmd *exec.Cmd, name string) error {
	attr := &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.SysProcAttr = attr
	if os.Geteuid() != 0 {
		return nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		return err
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	attr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return nil
}

// logTo sends a command's output to a file of the test, shown if it fails.
func logTo(t *testing.T, cmd *exec.Cmd, name string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = f, f
	t.Cleanup(func() {
		f.Close()
		if t.Failed() {
			t.Logf("end of %s:\n%s", name, tail(path, 60))
		}
	})
	return path
}

func tail(path string, lines int) string {
	text, _ := os.ReadFile(path)
	all := strings.Split(string(text), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// startBehind starts a command whose processes give way to the proxy and the
// load generator: on two cores a server that starts 32 workers would otherwise
// hold up the clock of the test, and its clients would all come late at once.
func startBehind(cmd *exec.Cmd) error {
	if err := cmd.Start(); err != nil {
		return err
	}
	return syscall.Setpriority(syscall.PRIO_PGRP, cmd.Process.Pid, 10)
}

// killGroup kills a command with all its children and waits for it, unless that
// has been done.
func killGroup(cmd *exec.Cmd) {
	if cmd == nil || cmd.Process == nil || cmd.ProcessState != nil {
		return
	}
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	_ = cmd.Wait()
}

// freeAddr is a loopback address without a listener.
func freeAddr(t *testing.T) string {
	t.Helper()
	addr, err := loopback.Addr()
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

// eventually waits until ok, and fails the test if that takes too long.
func eventually(t *testing.T, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %s: %s", limit, what)
		}
	}
}

// children lists the processes whose parent is pid. It looks at every process
// there is, which must not disturb what is measured meanwhile: filepath.Glob
// takes four times as long.
func children(pid int) []int {
	proc, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer proc.Close()
	names, _ := proc.Readdirnames(-1)
	var found []int
	for _, name := range names {
		child, err := strconv.Atoi(name)
		if err != nil {
			continue // not a process
		}
		text, err := os.ReadFile("/proc/" + name + "/stat")
		if err != nil {
			continue // ended meanwhile
		}
		// pid (name) state ppid …; the name may hold anything, even a bracket.
		fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		if len(fields) > 1 && fields[1] == strconv.Itoa(pid) {
			found = append(found, child)
		}
	}
	return found
}
