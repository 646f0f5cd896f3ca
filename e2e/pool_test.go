//go:build e2e

package e2e_test

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/examples/outage/load"
)

// pool is an API server with synchronous workers, usually 32.
type pool struct {
	addr  string
	size  int // workers
	busy  *occupancy
	build func() *exec.Cmd
	extra []string // settings, "NAME=value", of the next start
	alive func() bool
	dir   string // where gunicorn's workers announce themselves
	cmd   *exec.Cmd
}

// start runs the server and waits until it answers.
func (p *pool) start(t *testing.T) {
	t.Helper()
	p.cmd = p.build()
	p.cmd.Env = append(p.cmd.Env, p.extra...)
	if err := startBehind(p.cmd); err != nil {
		t.Fatal(err)
	}
	eventually(t, 30*time.Second, "the API server at "+p.addr+" answers", p.alive)
}

// restart starts a server again that was killed, with other settings.
func (p *pool) restart(t *testing.T, settings ...string) {
	t.Helper()
	p.extra = settings
	p.start(t)
}

// booted waits until all workers of a server that was started again are up.
func (p *pool) booted(t *testing.T) {
	t.Helper()
	if p.dir != "" {
		allBooted(t, p.dir, p.size)
	}
}

// kill ends master and workers at once, as the kernel does when memory is short.
func (p *pool) kill() {
	killGroup(p.cmd)
	p.cmd = nil
	if files, err := os.ReadDir(p.dir); err == nil {
		for _, f := range files { // of workers that are no more
			os.Remove(filepath.Join(p.dir, f.Name()))
		}
	}
}

// startPool starts p, and stops it and heals all zones when the test ends.
func startPool(t *testing.T, p *pool, busyDir string) *pool {
	t.Helper()
	p.busy = watchOccupancy(t, busyDir)
	t.Cleanup(func() {
		for _, d := range world.databases {
			d.heal()
		}
		p.kill()
	})
	p.start(t)
	return p
}

// allBooted waits until every one of n workers has announced itself.
func allBooted(t *testing.T, dir string, n int) {
	t.Helper()
	eventually(t, time.Minute, "all workers are up", func() bool {
		entries, _ := os.ReadDir(dir)
		return len(entries) >= n
	})
}

// busyDirectory is where the workers of one pool say what they work on.
func busyDirectory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp(world.dir, "busy-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// gunicorn starts examples/gunicorn. Extra settings are "NAME=value".
func gunicorn(t *testing.T, settings ...string) *pool {
	t.Helper()
	return gunicornOf(t, workers, settings...)
}

func gunicornOf(t *testing.T, size int, settings ...string) *pool {
	t.Helper()
	return gunicornAt(t, freeAddr(t), "app:application", size, settings...)
}

// gunicornAt starts an application of gunicorn, at an address.
func gunicornAt(t *testing.T, addr, application string, size int, settings ...string) *pool {
	t.Helper()
	dir := busyDirectory(t)
	env := append(os.Environ(),
		"LISTEN="+addr, "BUSY_DIR="+dir, "STORES="+world.storesCSV, "ZONES="+world.zonesCSV,
		fmt.Sprintf("WORKERS=%d", size), "WORKER_TIMEOUT=0", "CONNECT_EARLY=1", "PYTHONDONTWRITEBYTECODE=1")
	build := func() *exec.Cmd {
		cmd := exec.Command("gunicorn", "--config", "gunicorn.conf.py", "--log-level", "warning", application)
		cmd.Dir = filepath.Join("..", "examples", "gunicorn")
		cmd.Env = slices.Concat(env, settings)
		logTo(t, cmd, "gunicorn.log")
		if err := as(cmd, "root"); err != nil {
			t.Fatal(err)
		}
		return cmd
	}
	alive := func() bool {
		resp, err := http.Get("http://" + addr + "/internal/alive")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	}
	p := startPool(t, &pool{addr: addr, size: size, build: build, alive: alive, dir: dir}, dir)
	allBooted(t, dir, size)
	return p
}

func phpFPM() string {
	found, _ := filepath.Glob("/usr/sbin/php-fpm*")
	if len(found) == 0 {
		return "php-fpm"
	}
	return found[len(found)-1]
}

// fpm starts examples/php-fpm; terminate is its request_terminate_timeout.
func fpm(t *testing.T, terminate time.Duration) *pool {
	t.Helper()
	return fpmOf(t, workers, terminate)
}

func fpmOf(t *testing.T, size int, terminate time.Duration) *pool {
	t.Helper()
	addr, dir, config := freeAddr(t), busyDirectory(t), fpmConfig(t, size)
	build := func() *exec.Cmd {
		cmd := exec.Command(phpFPM(), "--nodaemonize", "--allow-to-run-as-root",
			"--fpm-config", config)
		cmd.Env = append(os.Environ(),
			"FPM_LISTEN="+addr, "BUSY_DIR="+dir, "STORES="+world.storesCSV, "ZONES="+world.zonesCSV,
			fmt.Sprintf("FPM_TERMINATE=%d", int(terminate.Seconds())))
		logTo(t, cmd, "php-fpm.log")
		if err := as(cmd, "root"); err != nil {
			t.Fatal(err)
		}
		return cmd
	}
	return startPool(t, &pool{addr: addr, size: size, build: build, alive: func() bool { return listens(addr) }}, dir)
}

// fpmConfig is examples/php-fpm/pool.conf with another number of children.
func fpmConfig(t *testing.T, size int) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "examples", "php-fpm", "pool.conf"))
	if err != nil {
		t.Fatal(err)
	}
	const children = "pm.max_children = "
	changed := strings.Replace(string(text), children+strconv.Itoa(workers), children+strconv.Itoa(size), 1)
	if !strings.Contains(changed, children+strconv.Itoa(size)) {
		t.Fatalf("pool.conf has no %s%d", children, workers)
	}
	path := filepath.Join(t.TempDir(), "pool.conf")
	if err := os.WriteFile(path, []byte(changed), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// connectAll makes every child of PHP-FPM serve every zone, so that each has its
// connections, as after a day of traffic. Children that are free take turns, and
// so do the zones of our shoppers: a child would meet the same three zones again
// and again, and have to connect to the others when a freeze changes the turns.
func connectAll(t *testing.T, p *pool) {
	t.Helper()
	plain := startProxy(t, site{handlers: fmt.Sprintf("\n\troot %s\n\tphp_fastcgi %s", phpRoot(t), p.addr)})
	defer killGroup(plain.cmd)
	for z, d := range world.databases {
		target := shoppers{proxy: plain.addr, path: "/search.php"}.target(z, 0, false)
		burst := load.Plan{Rate: 1000, Burst: p.size, Duration: time.Millisecond, Pick: func(int) load.Target { return target }}
		// Searches as slow as this keep every child busy with one of them.
		d.setCost(t, "%", 300*time.Millisecond)
		served := map[string]bool{}
		eventually(t, time.Minute, "every child has served "+d.zone, func() bool {
			for _, r := range load.Run(t.Context(), burst) {
				if r.OK() {
					served[r.Worker] = true
				}
			}
			return len(served) == p.size
		})
		d.setCost(t, "%", 0)
	}
}
