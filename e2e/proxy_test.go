//go:build e2e

package e2e_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// proxy is a running firebreak (or Caddy as it comes).
type proxy struct {
	addr    string // where clients ask
	admin   string
	guarded bool // with the firebreak app
	home    string
	env     []string
	cmd     *exec.Cmd
	log     string // its file
}

// site is what a test's Caddyfile holds beside addresses.
type site struct {
	pool     int    // workers; 0: the firebreak app is left out
	each     bool   // whether pool is the workers of each server
	workers  string // instead of pool, if it is not a number
	app      string // more options of the firebreak app
	zone     string // more options of "zone *"
	handlers string // directives of the site
	servers  string // the global option "servers"
	source   string // of the directory; "": a file
	stores   string // the directory's file; "": that of the twelve zones
	browsers bool   // whether people may open the dashboard by its address
}

// gunicornSite is the Caddyfile a README would show for gunicorn.
func gunicornSite(p *pool, zoneOptions string) site {
	return site{pool: p.size, zone: zoneOptions, handlers: guard + fmt.Sprintf(`
	reverse_proxy %s {
		transport firebreak
	}`, p.addr)}
}

const guard = `
	firebreak {
		key query key
		key json key
	}`

func (s site) caddyfile(addr, admin string) string {
	var b strings.Builder
	// The tests ask the admin API forty times a second: not worth a log line.
	origins := ""
	if s.browsers {
		origins = fmt.Sprintf(" {\n\t\torigins %s \"\"\n\t}", admin)
	}
	fmt.Fprintf(&b, `{
	admin %s%s
	auto_https off
	persist_config off
	log default {
		exclude admin.api
	}
%s
`, admin, origins, s.servers)
	if s.pool > 0 {
		per := ""
		if s.each {
			per = " per_server"
		}
		fmt.Fprintf(&b, `	firebreak {
		workers %s%s
		directory %s
		%s
		zone * {
			timeout 2s
			%s
		}
	}
`, cmp.Or(s.workers, strconv.Itoa(s.pool)), per, cmp.Or(s.source, "file "+cmp.Or(s.stores, world.storesCSV)), s.app, s.zone)
	}
	_, port, _ := net.SplitHostPort(addr)
	fmt.Fprintf(&b, "}\n\nhttp://:%s {\n\tbind 127.0.0.1%s\n}\n", port, s.handlers)
	return b.String()
}

// binary is the firebreak under test.
func binary() (string, error) {
	path := os.Getenv("FIREBREAK_BIN")
	if path == "" {
		path = filepath.Join("..", "bin", "firebreak")
	}
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("no firebreak to test: run make build, or set FIREBREAK_BIN (%w)", err)
	}
	return filepath.Abs(path)
}

// startProxy runs the binary with the site and waits until it listens.
func startProxy(t *testing.T, s site) *proxy {
	t.Helper()
	p := newProxy(t, s, freeAddr(t), freeAddr(t))
	p.start(t)
	p.listening(t)
	return p
}

// newProxy prepares a proxy: its configuration, and a home of its own.
func newProxy(t *testing.T, s site, addr, admin string, env ...string) *proxy {
	t.Helper()
	p := &proxy{addr: addr, admin: admin, guarded: s.pool > 0, home: t.TempDir()}
	p.env = append(os.Environ(), "HOME="+p.home, "XDG_DATA_HOME="+p.home, "XDG_CONFIG_HOME="+p.home)
	p.env = append(p.env, env...)
	if err := os.WriteFile(p.config(), []byte(s.caddyfile(addr, admin)), 0o644); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *proxy) config() string { return filepath.Join(p.home, "Caddyfile") }

// start runs the process, again if it has ended.
func (p *proxy) start(t *testing.T) {
	t.Helper()
	cmd := exec.Command(world.firebreak, "run", "--config", p.config(), "--adapter", "caddyfile")
	cmd.Env = p.env
	p.log = logTo(t, cmd, "firebreak.log")
	if err := as(cmd, "root"); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.cmd = cmd
	t.Cleanup(func() { killGroup(cmd) })
}

// listening waits until the process does.
func (p *proxy) listening(t *testing.T) {
	t.Helper()
	eventually(t, 20*time.Second, "the proxy at "+p.addr+" listens", func() bool {
		return listens(p.addr) && listens(p.admin) && (!p.guarded || p.active())
	})
}

// active reports whether the configuration is in force: the listeners are there a
// moment earlier.
func (p *proxy) active() bool {
	resp, err := adminClient.Get("http://" + p.admin + "/firebreak/status")
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

func listens(addr string) bool {
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// reload loads a new Caddyfile through the admin API.
func (p *proxy) reload(t *testing.T, s site) {
	t.Helper()
	body := s.caddyfile(p.addr, p.admin)
	resp, err := http.Post("http://"+p.admin+"/load", "text/caddyfile", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(resp.Body)
		t.Fatalf("reload: %s: %s", resp.Status, text)
	}
}

// poolStatus is what the tests read of GET /firebreak/status.
type poolStatus struct {
	Workers     int          `json:"workers"`
	Occupied    int          `json:"occupied"`
	Hung        int          `json:"hung"`
	PoolSuspect bool         `json:"pool_suspect"`
	Zones       []zoneStatus `json:"zones"`
	Maintenance struct {
		Revision uint64 `json:"revision"`
		Stale    bool   `json:"stale"`
		Problem  string `json:"problem"`
		InForce  int    `json:"in_force"`
	} `json:"maintenance"`
}

// zoneStatus is what the tests read of GET /firebreak/zones/{zone}.
type zoneStatus struct {
	Zone        string    `json:"zone"`
	State       string    `json:"state"`
	OpenedAt    time.Time `json:"opened_at"`
	Turn        int       `json:"turn"`
	Live        int       `json:"live"`
	Hung        int       `json:"hung"`
	MaxInflight int       `json:"max_inflight"`
	Evidence    string    `json:"evidence"`
	Quarantined []string  `json:"quarantined"`
	Culprits    []struct {
		Store string `json:"store"`
		State string `json:"state"`
	} `json:"culprits"`
}

func (p *proxy) status(t *testing.T) (s poolStatus) {
	t.Helper()
	p.get(t, "/firebreak/status", &s)
	return s
}

// calm tells whether firebreak sees nothing wrong anywhere.
func (p *proxy) calm(t *testing.T) bool {
	t.Helper()
	if !p.guarded {
		return true
	}
	s := p.status(t)
	return !s.PoolSuspect && !slices.ContainsFunc(s.Zones, func(z zoneStatus) bool {
		return z.State != "calm" || len(z.Quarantined) > 0
	})
}

func (p *proxy) zone(t *testing.T, name string) (z zoneStatus) {
	t.Helper()
	p.get(t, "/firebreak/zones/"+name, &z)
	return z
}

// adminClient does not wait for ever for a proxy that hangs.
var adminClient = &http.Client{Timeout: 5 * time.Second}

func (p *proxy) get(t *testing.T, path string, into any) {
	t.Helper()
	body := p.page(t, path)
	if err := json.Unmarshal(body, into); err != nil {
		t.Fatalf("GET %s: %v: %s", path, err, body)
	}
}

func (p *proxy) page(t *testing.T, path string) []byte {
	t.Helper()
	resp, err := adminClient.Get("http://" + p.admin + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var body bytes.Buffer
	if _, err := body.ReadFrom(resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %s, %v: %s", path, resp.Status, err, body.Bytes())
	}
	return body.Bytes()
}
