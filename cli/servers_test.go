package cli_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// startServers runs a sidecar in front of two API servers, the first of which
// answers when it may. It returns their addresses.
func startServers(t *testing.T, may <-chan struct{}) (*sidecar, [2]string) {
	t.Helper()
	var addresses [2]string
	for i := range addresses {
		api := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if i == 0 && r.URL.Path == "/slow" {
				<-may
			}
		}))
		t.Cleanup(api.Close)
		addresses[i] = strings.TrimPrefix(api.URL, "http://")
	}
	dir := t.TempDir()
	s := &sidecar{t: t, dir: dir, address: "unix/" + filepath.Join(dir, "admin.sock"), site: freeAddress(t)}
	config := fmt.Sprintf(`{
	admin %s
	persist_config off
	storage file_system %s
	auto_https off
	firebreak {
		workers 8 per_server
		instance test-1
		directory hash z1
		zone * {
			timeout 4s
		}
	}
}
http://%s {
	firebreak {
		key query key
	}
	reverse_proxy %s %s {
		transport firebreak
		lb_policy firebreak
	}
}
`, s.address, dir, s.site, addresses[0], addresses[1])
	if err := os.WriteFile(filepath.Join(dir, "Caddyfile"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	s.start()
	return s, addresses
}

// TestServers drains a server, waits until nothing is under way there, and takes
// it back.
func TestServers(t *testing.T) {
	may := make(chan struct{})
	s, api := startServers(t, may)
	expect := func(code int, want string, args ...string) string {
		t.Helper()
		r := s.run(args...)
		if out := spaces.ReplaceAllString(r.out+r.err, " "); r.code != code || !strings.Contains(out, want) {
			t.Errorf("%v: exit code %d, %s; want %d and %q", args, r.code, out, code, want)
		}
		return r.out
	}
	expect(0, api[0]+" in service ", "servers")
	if out := expect(0, "workers: 0 of 16 occupied", "status"); strings.Contains(out, "SERVER") {
		t.Errorf("all servers are in service, and the status shows %s", out)
	}
	expect(3, "no server \"127.0.0.1:1\" among the upstreams", "server", "drain", "127.0.0.1:1")
	expect(1, "--for must not be negative", "server", "drain", api[0], "--for", "-1s")
	expect(0, api[1]+" gets no new requests; revision 1", "server", "drain", api[1], "--reason", "deploy")
	expect(0, api[1]+" is drained already", "server", "drain", api[1], "--reason", "deploy")
	expect(0, "drained", "servers")
	if out := expect(0, "workers: 0 of 8 occupied", "status"); !strings.Contains(spaces.ReplaceAllString(out, " "), api[1]+" drained") {
		t.Errorf("the status does not show the drained server: %s", out)
	}
	expect(0, "no request is under way there after", "server", "drain", api[1], "--reason", "deploy", "--wait")
	expect(0, "server "+api[1]+" drain in force", "maintenance", "list")

	answered := make(chan error, 1) // of the first, since the second is drained
	go func() {
		res, err := http.Get("http://" + s.site + "/slow?key=a")
		if err == nil {
			res.Body.Close()
		}
		answered <- err
	}()
	time.Sleep(300 * time.Millisecond)
	expect(0, api[1]+" gets requests again", "server", "undrain", api[1])
	expect(4, ": 1 request; it stays drained", "server", "drain", api[0], "--wait", "--timeout", "400ms", "--for", "1m")
	out := expect(0, "", "server", "drain", api[0], "--wait", "--json", "--for", "1m") // until the deadline
	var server struct {
		Draining   bool
		Live, Hung int
		Drain      struct{ Mode, By string }
	}
	if err := json.Unmarshal([]byte(out), &server); err != nil || !server.Draining || server.Live != 0 || server.Hung != 1 || server.Drain.Mode != "drain" || server.Drain.By != "alice" {
		t.Errorf("%v: %s", err, out)
	}
	expect(0, "but 1 hung request: their clients were answered", "server", "drain", api[0], "--wait", "--for", "1m")
	close(may)
	if err := <-answered; err != nil {
		t.Error(err)
	}
	expect(0, api[0]+" gets requests again", "server", "undrain", api[0])
	expect(0, api[0]+" was not drained", "server", "undrain", api[0])
	expect(0, "server "+api[0], "maintenance", "history")
}
