package cli_test

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/internal/loopback"
)

// built is the program that is tested: cmd/firebreak, built without the race
// detector, with which each of its many starts would take a second.
var built string

func TestMain(m *testing.M) {
	os.Exit(buildAndRun(m))
}

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "firebreak-cli-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	built = filepath.Join(dir, "firebreak")
	if out, err := exec.Command("go", "build", "-o", built, "../cmd/firebreak").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building the program: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// result is how a run of the program went.
type result struct {
	code     int
	out, err string
}

// program is the command with args, ready to run.
func program(t *testing.T, dir string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), built, args...)
	cmd.Dir = dir
	cmd.Env = []string{
		"HOME=" + dir, "XDG_DATA_HOME=" + dir, "XDG_CONFIG_HOME=" + dir,
		"USER=alice", "TZ=UTC", "PATH=" + os.Getenv("PATH"),
	}
	return cmd
}

// sidecar is a running firebreak.
type sidecar struct {
	t       *testing.T
	dir     string
	address string // of its admin endpoint
	site    string // where it serves
}

// manyStores is more stores than one call of the admin API takes.
const manyStores = 25000

// startSidecar runs a sidecar of twelve zones with a few stores each, but the
// last, which has many.
func startSidecar(t *testing.T) *sidecar {
	t.Helper()
	dir := t.TempDir()
	s := &sidecar{t: t, dir: dir, address: "unix/" + filepath.Join(dir, "admin.sock"), site: freeAddress(t)}
	var stores strings.Builder
	stores.WriteString("store,zone\n")
	for n := 1; n <= 12; n++ {
		fmt.Fprintf(&stores, "a%d,z%[1]d\nb%[1]d,z%[1]d\n", n)
	}
	for n := range manyStores {
		fmt.Fprintf(&stores, "s%05d,z12\n", n)
	}
	table := filepath.Join(dir, "stores.csv")
	if err := os.WriteFile(table, []byte(stores.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("key") == "b7" {
			http.Error(w, "damaged", http.StatusInternalServerError)
		}
	}))
	t.Cleanup(api.Close)
	config := fmt.Sprintf(`{
	admin %s
	persist_config off
	storage file_system %s
	auto_https off
	firebreak {
		workers 32
		instance test-1
		directory file %s
		check GET /check?key={store} {
			to %s
			every 100ms
			retries 0
		}
	}
}
http://%s {
	firebreak {
		key query key
	}
	respond "ok"
}
`, s.address, dir, table, strings.TrimPrefix(api.URL, "http://"), s.site)
	if err := os.WriteFile(filepath.Join(dir, "Caddyfile"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	s.start()
	return s
}

// start runs the sidecar until the test ends.
func (s *sidecar) start() {
	t := s.t
	t.Helper()
	var log bytes.Buffer
	cmd := program(t, s.dir, "run")
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("the sidecar's log:\n%s", log.String())
		}
	})
	for until := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if conn, err := net.Dial("unix", filepath.Join(s.dir, "admin.sock")); err == nil {
			conn.Close()
			if s.run("status").code == 0 {
				return
			}
		}
		if time.Now().After(until) {
			t.Fatal("the sidecar did not come up")
		}
	}
}

// freeAddress is an address without a listener.
func freeAddress(t *testing.T) string {
	t.Helper()
	addr, err := loopback.Addr()
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

// run runs a command against the sidecar, without input.
func (s *sidecar) run(args ...string) result { return s.runWith("", args...) }

// runWith runs a command with an input.
func (s *sidecar) runWith(input string, args ...string) result {
	s.t.Helper()
	return runProgram(s.t, s.dir, input, append(slices.Clone(args), "--address", s.address)...)
}

func runProgram(t *testing.T, dir, input string, args ...string) result {
	t.Helper()
	var out, errors bytes.Buffer
	cmd := program(t, dir, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &out, &errors
	_ = cmd.Run()
	return result{cmd.ProcessState.ExitCode(), out.String(), errors.String()}
}

// must runs a command that has to succeed.
func (s *sidecar) must(args ...string) string {
	s.t.Helper()
	r := s.run(args...)
	if r.code != 0 || r.err != "" {
		s.t.Fatalf("%v: exit code %d, %s%s", args, r.code, r.out, r.err)
	}
	return r.out
}
