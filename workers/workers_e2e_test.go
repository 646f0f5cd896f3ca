//go:build e2e && linux

package workers_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/workers"
)

// workersOf is how many workers the servers of these tests have.
const workersOf = 8

// start runs a server until the test ends.
func start(t *testing.T, name string, args ...string) {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is not installed: the end-to-end tests need it", name)
	}
	cmd := exec.Command(path, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	log := filepath.Join(t.TempDir(), "log")
	file, err := os.Create(log)
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = file, file
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
		file.Close()
		if t.Failed() {
			text, _ := os.ReadFile(log)
			t.Logf("%s said:\n%s", name, text)
		}
	})
}

// answers waits until something answers at a network address.
func answers(t *testing.T, network, address string) {
	t.Helper()
	for range 200 {
		if conn, err := net.Dial(network, address); err == nil {
			conn.Close()
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("nothing listens at %s", address)
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// client keeps up to limit requests in flight, as a proxy does that has that many
// slots. Each takes a worker about 40 ms.
type client struct {
	ask      func() error
	limit    atomic.Int64
	inFlight atomic.Int64
	answered atomic.Int64
	failed   atomic.Int64
}

func (c *client) run(ctx context.Context) {
	var work sync.WaitGroup
	defer work.Wait()
	for ctx.Err() == nil {
		if c.inFlight.Load() >= c.limit.Load() {
			time.Sleep(time.Millisecond)
			continue
		}
		c.inFlight.Add(1)
		work.Go(func() {
			defer c.inFlight.Add(-1)
			if err := c.ask(); err != nil {
				c.failed.Add(1)
			} else {
				c.answered.Add(1)
			}
		})
	}
}

// finds watches a server whose setting is wrong, and wants the right figure
// within a minute.
func finds(t *testing.T, source workers.Source, ask func() error, setting int) {
	t.Helper()
	if err := ask(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(100 * time.Millisecond) // until its worker is free
	if idle, err := source.Read(t.Context()); err != nil || idle.Busy != 0 {
		t.Errorf("an idle pool: %+v, %v", idle, err)
	}
	c := &client{ask: ask}
	c.limit.Store(int64(setting))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	found := make(chan workers.Finding, 100)
	var problem atomic.Value
	highest := 0
	w := &workers.Watch{
		Source: source, Setting: func() int { return setting }, InFlight: func() int { return int(c.inFlight.Load()) },
		Tell: func(f workers.Finding) { found <- f },
		Read: func(_ workers.Reading, e workers.Estimate, next int, err error) {
			if err != nil {
				problem.Store(err)
			}
			highest = max(highest, e.Workers)
			c.limit.Store(int64(max(setting, next)))
		},
	}
	began := time.Now()
	var work sync.WaitGroup
	work.Go(func() { c.run(ctx) })
	work.Go(func() { w.Run(ctx) })
	defer func() {
		cancel()
		work.Wait()
		if highest > workersOf {
			t.Errorf("%d workers were taken for %d", workersOf, highest)
		}
		t.Logf("%d answered, %d failed", c.answered.Load(), c.failed.Load())
	}()
	for {
		select {
		case f := <-found:
			t.Logf("after %s: %s", time.Since(began).Round(time.Millisecond), f)
			if !f.Wrong || setting > workersOf && f.Estimate.Workers != workersOf {
				t.Errorf("found: %s", f)
			}
			if f.Estimate.Exact && f.Estimate.Workers == workersOf {
				return
			}
		case <-time.After(time.Until(began.Add(time.Minute))):
			t.Fatalf("the right figure is not known after a minute; the latest problem: %v", problem.Load())
		}
	}
}

var wrongSettings = map[string]int{"twice": 2 * workersOf, "half": workersOf / 2}

// TestGunicorn finds the workers of gunicorn by the kernel, over TCP and a unix
// socket.
func TestGunicorn(t *testing.T) {
	dir := t.TempDir()
	app := "import time\ndef app(environ, respond):\n    time.sleep(0.04)\n    respond('200 OK', [('Content-Length', '2')])\n    return [b'ok']\n"
	if err := os.WriteFile(filepath.Join(dir, "slow.py"), []byte(app), 0o600); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "api.sock")
	for name, at := range map[string]struct{ network, dial, bind, address string }{
		"TCP":  {"tcp", freePort(t), "", ""},
		"unix": {"unix", socket, "unix:" + socket, "unix/" + socket},
	} {
		if at.bind == "" {
			at.bind, at.address = at.dial, at.dial
		}
		start(t, "gunicorn", "--chdir", dir, "--bind", at.bind, "--workers", fmt.Sprint(workersOf), "slow:app")
		answers(t, at.network, at.dial)
		time.Sleep(2 * time.Second) // until all workers have started
		ask := func() error {
			conn, err := net.Dial(at.network, at.dial)
			if err != nil {
				return err
			}
			defer conn.Close()
			fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: api\r\nConnection: close\r\n\r\n")
			answer, err := io.ReadAll(conn)
			if err == nil && !strings.HasPrefix(string(answer), "HTTP/1.1 200") {
				err = fmt.Errorf("it answered %.40q", answer)
			}
			return err
		}
		for setting, n := range wrongSettings {
			t.Run(name+"/"+setting, func(t *testing.T) {
				source, err := workers.NewKernel(t.Context(), at.address, false)
				if err != nil {
					t.Fatal(err)
				}
				finds(t, source, ask, n)
			})
		}
	}
}

// TestFPM finds the workers of PHP-FPM by the kernel and by its status page, served
// by a listener of its own and by its workers.
func TestFPM(t *testing.T) {
	for _, manager := range []string{"static", "dynamic"} {
		dir := t.TempDir()
		listen, status := freePort(t), freePort(t)
		settings := fmt.Sprintf(`[global]
error_log = %[1]s/fpm.log
daemonize = no
[www]
user = root
listen = %[2]s
pm = %[3]s
pm.max_children = %[4]d
pm.start_servers = 2
pm.min_spare_servers = 1
pm.max_spare_servers = 8
pm.status_path = /status
pm.status_listen = %[5]s
`, dir, listen, manager, workersOf, status)
		if err := os.WriteFile(filepath.Join(dir, "fpm.conf"), []byte(settings), 0o600); err != nil {
			t.Fatal(err)
		}
		script := filepath.Join(dir, "slow.php")
		if err := os.WriteFile(script, []byte("<?php usleep(40000); echo 'ok';"), 0o644); err != nil {
			t.Fatal(err)
		}
		start(t, "php-fpm8.2", "--nodaemonize", "--allow-to-run-as-root", "--fpm-config", filepath.Join(dir, "fpm.conf"))
		answers(t, "tcp", listen)
		answers(t, "tcp", status)
		time.Sleep(time.Second)
		kernel, err := workers.NewKernel(t.Context(), listen, true)
		if err != nil {
			t.Fatal(err)
		}
		page, err := workers.NewFPM("fastcgi://"+status+"/status", true)
		if err != nil {
			t.Fatal(err)
		}
		own, err := workers.NewFPM("fastcgi://"+listen+"/status", false)
		if err != nil {
			t.Fatal(err)
		}
		for by, source := range map[string]workers.Source{"kernel": kernel, "status_listen": page, "status_path": own} {
			for setting, n := range wrongSettings {
				if manager == "dynamic" && by == "status_path" {
					continue
				}
				t.Run(manager+"/"+by+"/"+setting, func(t *testing.T) {
					finds(t, source, func() error { return askFPM(listen, script) }, n)
				})
			}
		}
	}
}

// askFPM runs a script.
func askFPM(address, script string) error {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	record := func(kind byte, content []byte) {
		header := []byte{1, kind, 0, 1, 0, 0, 0, 0}
		binary.BigEndian.PutUint16(header[4:], uint16(len(content)))
		_, _ = conn.Write(append(header, content...))
	}
	var params []byte
	for _, p := range [][2]string{{"REQUEST_METHOD", "GET"}, {"SCRIPT_FILENAME", script}, {"SCRIPT_NAME", "/slow.php"}} {
		params = append(params, byte(len(p[0])), byte(len(p[1])))
		params = append(append(params, p[0]...), p[1]...)
	}
	record(1, []byte{0, 1, 0, 0, 0, 0, 0, 0})
	record(4, params)
	record(4, nil)
	record(5, nil)
	answer, err := io.ReadAll(bufio.NewReader(conn))
	if err == nil && !strings.Contains(string(answer), "\r\n\r\nok") {
		err = fmt.Errorf("it answered %.80q", answer)
	}
	return err
}
