//go:build e2e

package e2e_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	docpages "github.com/firebreak-proxy/firebreak/internal/pages"
)

// notRun are the commands of the documentation that this test does not type, and
// why. A command that is not here is run. Of make it is seen at least that it
// knows the target.
var notRun = []struct{ command, why string }{
	{`^make (test|lint|e2e)\b`, "a step of .ci/run; this test is a part of make e2e"},
	{`^make fuzz\b`, "takes 6 minutes; make test gives each fuzz target its seeds"},
	{`^make soak\b`, "takes as long as it is told; make test runs minutes of the same noise"},
	{`^make oracle\b`, "takes minutes; make test plays a part of it"},
	{`^make dist\b`, "takes minutes and cross-compiles; build/try-package.sh and try-image.sh try what it makes"},
	{`^make freeze\b`, "takes 25 minutes; a round of each is a part of make e2e"},
	{`^make bench\b`, "takes minutes, and prints figures of a machine that has nothing else to do; make lint compiles all of it"},
	{`^go test \./fleet -run TestScale`, "a part of make test, which leaves out ten thousand"},
	{`^go test \./caddymodule -run Docs$`, "a part of make test, a step of .ci/run"},
	{`^go test -tags e2e \./e2e -run 'Docs\|Newcomer'$`, "this test"},
	{`^sudo (dpkg|rpm) -i `, "needs what make dist builds; TestPackage installs a .deb that is made in the same way"},
	{`^podman `, "there is no podman here; build/try-image.sh runs the image in namespaces"},
	{`^sha256sum --check`, "needs what make dist builds"},
	{`^make (dist|pictures)\b`, "takes minutes; the results are in the releases and in docs/images"},
	{`^xcaddy build\b`, "needs a network; make xcaddy, a step of .ci/run, types it"},
}

// ownServers are the pages that start all they need themselves. Every other page
// begins beside a calm stage, as make run starts it.
var ownServers = map[string]bool{
	"CONTRIBUTING.md":             true,
	"docs/upgrade.md":             true,
	"examples/gunicorn/README.md": true,
	"examples/php-fpm/README.md":  true,
	"examples/systemd/README.md":  true,
}

// TestDocs types the commands of every page in order, each page on a machine of
// its own, as a user with a clean checkout at home. The machine has a
// network of its own, so that every address is the one on the page.
func TestDocs(t *testing.T) {
	all, err := docpages.All("..")
	if err != nil {
		t.Fatal(err)
	}
	origin := docsOrigin(t)
	began, ran, found := time.Now(), new(counter), 0
	t.Run("pages", func(t *testing.T) {
		for _, p := range all {
			commands := 0
			for _, b := range p.Blocks {
				commands += len(b.Commands())
			}
			if commands == 0 {
				continue
			}
			found += commands
			t.Run(p.Path, func(t *testing.T) {
				t.Parallel()
				ran.add(runPage(t, p, origin))
			})
		}
	})
	figure(t, "%d of %d commands run, %d pages, in %.0f s", ran.sum, found, ran.n, time.Since(began).Seconds())
	if ran.sum < 180 {
		t.Errorf("only %d commands were run", ran.sum)
	}
}

type counter struct {
	mu     sync.Mutex
	n, sum int
}

func (c *counter) add(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n, c.sum = c.n+1, c.sum+n
}

// runPage types what is on a page and says how many commands that were.
func runPage(t *testing.T, p *docpages.Page, origin string) (ran int) {
	s := docsMachine(t, p, origin)
	for _, b := range p.Blocks {
		if b.File != "" {
			if err := os.WriteFile(filepath.Join(s.cwd, b.File), []byte(b.Text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		for _, c := range b.Commands() {
			if reason := whyNot(c.Text); reason != "" {
				t.Logf("%s:%d: not run (%s): %s", c.Page, c.Line, reason, c.Text)
				if strings.HasPrefix(c.Text, "make ") {
					c.Text = "MAKEFLAGS=n " + c.Text
					s.follow(c)
				}
				continue
			}
			s.follow(c)
			ran++
		}
	}
	return ran
}

// follow types a command and fails the test if it does not do what the page says.
func (s *docsStage) follow(c docpages.Command) {
	// The tunnel first: it is no server of this machine.
	if s.tunnel(c.Text) || s.serve(c.Text) {
		return
	}
	began := time.Now()
	wrong := s.try(c)
	// What a person types later than the test does may not be so yet.
	for wrong != "" && readsOnly(c.Text) && time.Since(began) < 12*time.Second {
		time.Sleep(200 * time.Millisecond)
		wrong = s.try(c)
	}
	if wrong != "" {
		s.t.Fatalf("%s:%d: %s\n%s\nA command that cannot be run here belongs into notRun in e2e/docs_test.go, with the reason.", c.Page, c.Line, c.Text, wrong)
	}
}

func whyNot(command string) string {
	for _, n := range notRun {
		if regexp.MustCompile(n.command).MatchString(strings.TrimSpace(command)) {
			return n.why
		}
	}
	return ""
}

var changes = regexp.MustCompile(`-X|--request| -d |--data |maintenance (on|off)|(firebreak|stage) (open|close|reset|recover|replay)|go run|^(sudo|make|cd|cp|git|createdb|psql)\b`)

func readsOnly(command string) bool { return !changes.MatchString(command) }

// docsOrigin is what somebody clones, and beside it the programs that its
// Makefile builds. Users of their own can read all of it.
func docsOrigin(t *testing.T) string {
	t.Helper()
	origin := cleanClone(t)
	run(t, "go", "build", "-o", world.dir, "../examples/outage", "../examples/outages")
	run(t, "cp", world.firebreak, filepath.Join(world.dir, "firebreak"))
	return origin
}

// docsMachine is the machine on which a page is followed.
func docsMachine(t *testing.T, p *docpages.Page, origin string) *docsStage {
	t.Helper()
	home := docsHome(t, origin)
	layTools(t, filepath.Join(home, "tools"))
	checkout := filepath.Join(home, "firebreak")
	clones := strings.Contains(p.Text, "\ngit clone ")
	if !clones {
		run(t, "cp", "-a", origin, checkout)
		layFiles(t, checkout)
	}
	s := newDocsStage(t, "alice", home)
	switch {
	case clones:
	case ownServers[p.Path]:
		s.cwd = checkout
	default:
		s.cwd = checkout
		s.serve("make run")
	}
	if strings.Contains(p.Text, "\ncreatedb ") {
		s.database()
	}
	return s
}

// docsHome is a home whose git finds the repository without a network.
func docsHome(t *testing.T, origin string) string {
	t.Helper()
	home, err := os.MkdirTemp(world.dir, "home-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(home, 0o755); err != nil {
		t.Fatal(err)
	}
	config := "[safe]\n\tdirectory = *\n[url \"file://" + origin + "\"]\n\tinsteadOf = https://github.com/firebreak-proxy/firebreak\n"
	if err := os.WriteFile(filepath.Join(home, ".gitconfig"), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	return home
}

// layTools lays out what is built already. An outage that make outage plays is
// shorter here than in life.
func layTools(t *testing.T, dir string) {
	t.Helper()
	const goScript = `#!/bin/sh
case "$*" in
"build "*"-o bin/firebreak ./cmd/firebreak") mkdir -p bin && exec ln -sf WORLD/firebreak bin/firebreak ;;
"env "*) exec GO "$@" ;;
"run ./examples/outages "*) shift 2 && exec WORLD/outages "$@" ;;
"run ./examples/outage scenario "*) shift 2 && exec WORLD/outage "$@" -calm 1s -fault 2s -after 1s ;;
"run ./examples/outage "*) shift 2 && exec WORLD/outage "$@" ;;
esac
echo "e2e/docs_test.go has not built this: go $*" >&2
exit 1
`
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"go": strings.NewReplacer("WORLD", world.dir, "GO ", goTool(t)+" ").Replace(goScript), ".curlrc": "fail-with-body\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"firebreak", "caddy"} {
		if err := os.Symlink(filepath.Join(world.dir, "firebreak"), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
}

func goTool(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("go")
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// layFiles lays out what a page takes for granted: what make build made, a table
// of stores, and access logs of a quiet minute.
func layFiles(t *testing.T, checkout string) {
	t.Helper()
	var plain, packed bytes.Buffer
	noon := time.Date(2026, 1, 14, 9, 30, 0, 0, time.UTC)
	for n := range 600 {
		fmt.Fprintf(&plain, `{"ts":%.3f,"request":{"method":"GET","host":"localhost","uri":"/search?key=s0%d01","headers":{}},"duration":0.02,"size":9,"status":200}`+"\n",
			float64(noon.Add(time.Duration(n)*100*time.Millisecond).UnixMilli())/1000, n%2*6)
	}
	w := gzip.NewWriter(&packed)
	_, _ = w.Write(plain.Bytes())
	_ = w.Close()
	if err := os.MkdirAll(filepath.Join(checkout, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"stores.csv": []byte("store,zone\ns0001,z1\ns0601,z7\n"),
		"access.log": plain.Bytes(), "access.log.gz": packed.Bytes(),
	} {
		if err := os.WriteFile(filepath.Join(checkout, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Join(world.dir, "firebreak"), filepath.Join(checkout, "bin/firebreak")); err != nil {
		t.Fatal(err)
	}
}
