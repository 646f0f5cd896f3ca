package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/firebreak-proxy/firebreak/internal/loopback"
)

// proxy is a running firebreak.
type proxy struct {
	cmd    *exec.Cmd
	output bytes.Buffer
}

func startProxy(binary, dir, caddyfile string) (*proxy, error) {
	path := filepath.Join(dir, "Caddyfile")
	if err := os.WriteFile(path, []byte(caddyfile), 0o600); err != nil {
		return nil, err
	}
	p := &proxy{cmd: exec.Command(binary, "run", "--config", path, "--adapter", "caddyfile")}
	p.cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	p.cmd.Stderr = &p.output
	return p, p.cmd.Start()
}

// stop ends the proxy; it may be called twice.
func (p *proxy) stop() error {
	p.cmd.Process.Signal(syscall.SIGTERM)
	if err := p.cmd.Wait(); err != nil {
		return fmt.Errorf("%w\n%s", err, p.output.String())
	}
	return nil
}

func waitFor(addr string) error {
	for range 3000 {
		if conn, err := net.Dial("tcp", addr); err == nil {
			return conn.Close()
		}
		time.Sleep(10 * time.Millisecond)
	}
	return errors.New("the proxy did not start within 30 s")
}

// startUp measures how long firebreak takes to know many stores, and in how
// much memory it keeps them.
func startUp(binary, dir string, stores int) error {
	path := filepath.Join(dir, "stores.csv")
	var csv bytes.Buffer
	csv.WriteString("store,zone\n")
	for i := range stores {
		fmt.Fprintf(&csv, "store-%07d,zone-%03d\n", i, i%1000)
	}
	if err := os.WriteFile(path, csv.Bytes(), 0o600); err != nil {
		return err
	}
	csv = bytes.Buffer{}
	ports, err := loopback.Ports(2)
	if err != nil {
		return err
	}
	began := time.Now()
	p, err := startProxy(binary, dir, fmt.Sprintf(`{
	admin localhost:%d
	auto_https off
	persist_config off
	firebreak {
		workers 4000
		directory file %s
	}
}
http://127.0.0.1:%d {
	firebreak {
		key query key
	}
	respond "ok"
}
`, ports[0], path, ports[1]))
	if err != nil {
		return err
	}
	defer p.stop()
	addr := fmt.Sprintf("127.0.0.1:%d", ports[1])
	if err := waitFor(addr); err != nil {
		return err
	}
	started := time.Since(began)
	for i := range 2000 { // every zone has traffic
		res, err := http.Get(fmt.Sprintf("http://%s/?key=store-%07d", addr, i))
		if err != nil {
			return err
		}
		res.Body.Close()
	}
	fmt.Printf("FIGURE %d stores in 1000 zones: started in %.2f s (budget 3), %s resident after start and traffic in every zone (budget 250 MB)\n",
		stores, started.Seconds(), resident(p.cmd.Process.Pid))
	return nil
}

func resident(pid int) string {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			var kb int
			fmt.Sscan(rest, &kb)
			return fmt.Sprintf("%d MB", kb/1024)
		}
	}
	return "unknown"
}
