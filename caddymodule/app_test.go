package caddymodule_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/caddymodule"
	"github.com/firebreak-proxy/firebreak/internal/loopback"
	_ "github.com/firebreak-proxy/firebreak/mysql"
	_ "github.com/firebreak-proxy/firebreak/postgres"
	_ "github.com/firebreak-proxy/firebreak/redis"
)

// sidecar is Caddy with firebreak, in this process. There can be one at a time.
type sidecar struct {
	admin string // host:port
	site  string // host:port

	storage string // the folder of Caddy's storage
}

// startSidecar loads a configuration: app is the inside of the global option,
// site the inside of a site.
func startSidecar(t *testing.T, app, site string) *sidecar {
	t.Helper()
	t.Setenv("XDG_CONFIG_HOME", caddymodule.TempHome(t))
	t.Setenv("XDG_DATA_HOME", caddymodule.TempHome(t))
	s := &sidecar{admin: freeAddress(t), site: freeAddress(t), storage: caddymodule.TempHome(t)}
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Error("stopping Caddy:", err)
		}
	})
	if err := s.load(app, site); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *sidecar) load(app, site string) error {
	config, err := adapt(s.caddyfile(app, site))
	if err != nil {
		return err
	}
	return caddy.Load([]byte(config), true)
}

func (s *sidecar) caddyfile(app, site string) string {
	storage := ""
	if s.storage != "" {
		storage = "\tstorage file_system " + s.storage + "\n"
	}
	return fmt.Sprintf("{\n"+storage+"\tadmin %s\n\tpersist_config off\n\tauto_https off\n\tgrace_period 1s\n\tfirebreak {\n%s\n\t}\n}\n\nhttp://%s {\n%s\n}\n",
		s.admin, app, s.site, site)
}

// app is firebreak's app in the running configuration.
func (s *sidecar) app(t *testing.T) *caddymodule.App {
	t.Helper()
	module, err := caddy.ActiveContext().AppIfConfigured("firebreak")
	if err != nil {
		t.Fatal(err)
	}
	return module.(*caddymodule.App)
}

// ask sends a request to the admin API.
func (s *sidecar) ask(t *testing.T, method, path string) (*http.Response, string) {
	t.Helper()
	return s.send(t, method, path, "")
}

// send sends a request with a body to the admin API.
func (s *sidecar) send(t *testing.T, method, path, body string, header ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+s.admin+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	resp, err := client.Do(req)
	// Caddy swaps its admin endpoint at each load, and the old one's accept
	// queue is lost with it.
	for range 5 {
		if err == nil {
			break
		}
		resp, err = client.Do(req)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	checkDescribed(t, req, body, resp, answer)
	return resp, string(answer)
}

func freeAddress(t *testing.T) string {
	t.Helper()
	addr, err := loopback.Addr()
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

// deadAddress is an address at which no process listens, nor can as long as the
// test runs: a connection goes out from it.
func deadAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn.LocalAddr().String()
}

const (
	smallApp = `
		workers 32
		zone * {
			max_inflight 4
			slow_after 200ms
			open_time 1m
		}
		directory inline {
			zone z1 {
				stores a b c d
			}
			zone z2 {
				stores e slash/store
			}
		}`
	smallSite = "firebreak {\n\tkey query key\n\tkey header X-Key\n\tkey json key\n}\nrespond ok"
)

// openZone lets requests of three stores of zone z1 hang until it opens, and
// returns their slots: none if it is open already.
func openZone(t *testing.T, g *breaker.Guard) []*breaker.Slot {
	t.Helper()
	if z, _ := g.Zone("z1"); z.State == breaker.Open {
		return nil
	}
	var stuck []*breaker.Slot
	for _, store := range []string{"a", "b", "c"} {
		stuck = append(stuck, admit(t, g, "z1", store))
	}
	eventuallyOr(t, func() string {
		if z, _ := g.Zone("z1"); z.State != breaker.Open {
			return fmt.Sprintf("zone z1 is %s after requests of three stores hung, want open", z.State)
		}
		return ""
	})
	for _, slot := range stuck {
		slot.Hang()
	}
	return stuck
}

func admit(t *testing.T, g *breaker.Guard, zone, store string) *breaker.Slot {
	t.Helper()
	slot, refusal := g.Admit(t.Context(), breaker.Request{Zone: zone, Store: store})
	if refusal != nil {
		t.Fatal("refused:", refusal.Detail)
	}
	slot.Track()
	return slot
}

func TestReloadKeepsState(t *testing.T) {
	s := startSidecar(t, smallApp, smallSite)
	guard := s.app(t).Guard()
	stuck := openZone(t, guard) // before z2 is silent too, which speaks for the pool
	live, hung := admit(t, guard, "z2", "e"), admit(t, guard, "z2", "e")
	hung.Hang()
	before, _ := guard.Zone("z1")

	if err := s.load(strings.Replace(smallApp, "max_inflight 4", "max_inflight 6\ntimeout 3s", 1), smallSite); err != nil {
		t.Fatal(err)
	}
	if s.app(t).Guard() != guard {
		t.Fatal("the reload made a new guard: all state is lost")
	}
	after, _ := guard.Zone("z1")
	if after.State != breaker.Open || !after.OpenedAt.Equal(before.OpenedAt) || after.Turn != before.Turn {
		t.Errorf("z1 was %+v before the reload, and is %+v after it", before, after)
	}
	if st := guard.Status(); st.Live != 1 || st.Hung != 4 || st.Occupied != 5 {
		t.Errorf("after the reload: %d live and %d hung slots of %d, want 1 and 4 of 5", st.Live, st.Hung, st.Occupied)
	}
	if got := guard.Policy().Default.Timeout; got != 3*time.Second {
		t.Errorf("after the reload the timeout in force is %s, want the new one, 3s", got)
	}
	for _, slot := range append(stuck, live, hung) {
		slot.End(breaker.OK)
	}
	if st := guard.Status(); st.Occupied != 0 {
		t.Errorf("slots opened before the reload ended after it, but %d are still on the books", st.Occupied)
	}
}

// TestFailedReload lets a new configuration fail at different points: state,
// settings and admin API stay those of the running one.
func TestFailedReload(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	s := startSidecar(t, smallApp, smallSite)
	app := s.app(t)
	guard, policy := app.Guard(), app.Policy()
	openZone(t, guard)
	newApp := strings.Replace(smallApp, "workers 32", "workers 99", 1)
	broken := map[string]func() error{
		"the directory is missing": func() error {
			return s.load("workers 99\ndirectory file "+filepath.Join(t.TempDir(), "none.csv"), smallSite)
		},
		"another module fails to provision": func() error {
			return s.load(newApp, smallSite+"\n@odd expression `odd(`\nrespond @odd odd")
		},
		"the port is taken": func() error {
			other := *s
			other.site = taken.Addr().String()
			return other.load(newApp, smallSite)
		},
	}
	for name, load := range broken {
		t.Run(name, func(t *testing.T) {
			// Apps start in no order: often enough firebreak is first.
			for range 6 {
				if err := load(); err == nil {
					t.Fatal("loads, but should fail")
				}
			}
			if guard.Policy() != policy {
				t.Errorf("%d workers are in force after the failed load, want the 32 of the running configuration", guard.Policy().Workers)
			}
			if z, _ := guard.Zone("z1"); z.State != breaker.Open {
				t.Errorf("z1 is %s after the failed load, want open", z.State)
			}
			resp, body := s.ask(t, http.MethodGet, "/firebreak/status")
			if resp.StatusCode != http.StatusOK || !strings.Contains(body, `"workers": 32`) {
				t.Errorf("the admin API says %s %s, want the running state", resp.Status, body)
			}
		})
	}
}

// TestValidateBesideServer checks a configuration in the process of a running
// server: nothing may change.
func TestValidateBesideServer(t *testing.T) {
	s := startSidecar(t, smallApp, smallSite)
	app := s.app(t)
	openZone(t, app.Guard())
	config, err := adapt(s.caddyfile("workers 99\ndirectory hash z8 z9", smallSite))
	if err != nil {
		t.Fatal(err)
	}
	validates(t, config)
	if s.app(t).Guard() != app.Guard() || app.Guard().Policy() != app.Policy() {
		t.Error("validating changed the running server's settings")
	}
	if z, _ := app.Guard().Zone("z1"); z.State != breaker.Open {
		t.Errorf("z1 is %s after validating, want open", z.State)
	}
	if _, known := app.Guard().Zone("z8"); known {
		t.Error("validating made the guard know zones of the other configuration")
	}
}

func TestReloadsLeakNothing(t *testing.T) {
	stores := filepath.Join(t.TempDir(), "stores.csv")
	writeFile(t, stores, "store,zone\na,z1\n")
	app := "workers 32\ndirectory file " + stores
	s := startSidecar(t, app, smallSite)
	reload := func() {
		t.Helper()
		// The text must differ, or Caddy does nothing.
		if err := s.load(app, smallSite+fmt.Sprintf("\nheader X-Now %d", time.Now().UnixNano())); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		reload()
	}
	before := settledGoroutines()
	const reloads = 20
	for range reloads {
		reload()
	}
	if after := settledGoroutines(); after >= before+reloads/2 {
		buf := make([]byte, 1<<20)
		t.Errorf("%d goroutines before %d reloads, %d after:\n%s", before, reloads, after, buf[:runtime.Stack(buf, true)])
	}
}

// settledGoroutines is the number of goroutines once those that are about to
// end have ended.
func settledGoroutines() int {
	least := runtime.NumGoroutine()
	for range 30 {
		time.Sleep(50 * time.Millisecond)
		least = min(least, runtime.NumGoroutine())
	}
	return least
}

// TestStopEndsGuard makes sure that the guard ends with the last configuration
// that uses it, and that the next one starts afresh.
func TestStopEndsGuard(t *testing.T) {
	s := startSidecar(t, smallApp, smallSite)
	first := s.app(t).Guard()
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := s.load(smallApp, smallSite); err != nil {
		t.Fatal(err)
	}
	if s.app(t).Guard() == first {
		t.Error("the guard outlived the configurations that used it")
	}
}

func TestWithoutWorkers(t *testing.T) {
	// As JSON, since the Caddyfile finds this earlier.
	const site = `{"admin":{"disabled":true,"config":{"persist":false}},"apps":{"http":{"servers":{"s":{"listen":["127.0.0.1:0"],"automatic_https":{"disable":true},` +
		`"routes":[{"handle":[{"handler":"firebreak","keys":[{"from":"query","name":"key"}]}]}]}}}}}`
	err := caddy.Load([]byte(site), true)
	if err == nil {
		_ = caddy.Stop()
		t.Fatal("loads without the number of workers")
	}
	if !strings.Contains(err.Error(), "firebreak { workers N }") {
		t.Errorf("error %q does not say what to write", err)
	}
}

func TestBrokenDirectoryFile(t *testing.T) {
	stores := filepath.Join(t.TempDir(), "stores.csv")
	writeFile(t, stores, "store,zone\na,z1\nb\n")
	s := &sidecar{admin: freeAddress(t), site: freeAddress(t)}
	err := s.load("workers 32\ndirectory file "+stores, smallSite)
	if err == nil {
		_ = caddy.Stop()
		t.Fatal("loads with a broken directory")
	}
	if want := stores + ":3"; !strings.Contains(err.Error(), want) {
		t.Errorf("error %q does not name %s", err, want)
	}
}

// TestDirectoryFileReload makes sure that the guard learns of new zones, and
// that a broken file changes nothing.
func TestDirectoryFileReload(t *testing.T) {
	stores := filepath.Join(t.TempDir(), "stores.csv")
	writeFile(t, stores, "store,zone\na,z1\n")
	s := startSidecar(t, "workers 32\ndirectory file "+stores, smallSite)
	guard := s.app(t).Guard()
	if _, known := guard.Zone("z1"); !known {
		t.Fatal("the guard does not know the directory's zone z1")
	}
	writeFile(t, stores, "store,zone\na,z1\nb,z2\n")
	eventually(t, "the guard knows the new zone z2", func() bool {
		_, known := guard.Zone("z2")
		return known
	})
	writeFile(t, stores, "store,zone\na,z1\nbroken\n")
	time.Sleep(600 * time.Millisecond)
	if route, ok := s.app(t).Directory().Lookup("b"); !ok || route.Zone != "z2" {
		t.Errorf("after a broken file store b is at %v, %t; want the old table", route, ok)
	}
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	beside := path + ".new"
	if err := os.WriteFile(beside, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(beside, path); err != nil {
		t.Fatal(err)
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatal("waited 10s in vain until", what)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
