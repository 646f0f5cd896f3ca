package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// child is a process started by this program. It dies with this program: its
// standard input is a pipe that ends, and on Linux the kernel kills it.
type child struct {
	name    string
	cmd     *exec.Cmd
	logPath string
	done    chan struct{} // closed when the process has ended
}

// startChild starts bin and returns when all of addrs accept connections.
func startChild(name, dir string, addrs, env []string, bin string, args ...string) (*child, error) {
	c := &child{
		name:    name,
		cmd:     exec.Command(bin, args...),
		logPath: dir + "/" + name + ".log",
		done:    make(chan struct{}),
	}
	out, err := os.OpenFile(c.logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	c.cmd.Stdout, c.cmd.Stderr = out, out
	c.cmd.Env = append(os.Environ(), env...)
	c.cmd.SysProcAttr = childAttributes()
	if _, err := c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	go func() {
		_ = c.cmd.Wait()
		close(c.done)
	}()
	for _, addr := range addrs {
		if err := c.waitListening(addr); err != nil {
			c.kill()
			return nil, err
		}
	}
	return c, nil
}

func (c *child) waitListening(addr string) error {
	deadline := time.After(20 * time.Second)
	for {
		conn, err := net.DialTimeout("tcp", addr, time.Second)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-c.done:
			return fmt.Errorf("%s ended at once:\n%s", c.name, c.logTail())
		case <-deadline:
			return fmt.Errorf("%s does not listen on %s:\n%s", c.name, addr, c.logTail())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// logTail is the end of what the process wrote, for error messages.
func (c *child) logTail() string {
	log, err := os.ReadFile(c.logPath)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(log)), "\n")
	return strings.Join(lines[max(0, len(lines)-5):], "\n")
}

func (c *child) signal(sig syscall.Signal) error {
	return c.cmd.Process.Signal(sig)
}

// kill ends the process, also a stopped one, and waits for its end.
func (c *child) kill() {
	if c == nil {
		return
	}
	_ = c.signal(syscall.SIGKILL)
	<-c.done
}

// dieWithParent ends this process when the pipe on its standard input ends.
func dieWithParent() {
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
}
