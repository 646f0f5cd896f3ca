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
	"syscall"
	"testing"
	"time"

	docpages "github.com/firebreak-proxy/firebreak/internal/pages"
)

// notRun are commands of the documentation that the test does not run, and why.
// A command that is not here is run.
var notRun = []struct{ command, why string }{
	{`^make run\b`, "the stage that all other commands talk to is what it starts; TestNewcomer runs it"},
	{`^make (test|e2e|bench|lint|fuzz|build|outage|xcaddy)\b`, "takes minutes; .ci/run runs them, but outage, whose parts examples/outage tests"},
	{`^(sudo )?(apt-get|systemctl|journalctl|install|useradd|mv|cp|ln|chmod|chown)\b`, "changes the machine"},
	{`^xcaddy\b|^(caddy|firebreak) upgrade\b|^go install\b`, "downloads; make xcaddy builds the same way"},
	{`^git clone\b|^cd firebreak$`, "TestNewcomer works in a clean copy"},
	{`^ssh\b|^scp\b|^rsync\b|^ansible\b`, "needs another machine"},
	{`^promtool\b|^prometheus\b|^grafana|^docker\b`, "tested beside the files that it reads"},
	{`^(firebreak|bin/firebreak|caddy) (run|start|stop|reload)\b`, "the stage has its own server; the other e2e tests start it so"},
	{`^(\w+=\S+ )*(psql|createdb|gunicorn|php-fpm\S*|redis-cli|redis-server)\b`, "the other e2e tests run these programs"},
	{`^(xdg-open|open http)`, "a browser"},
	{`\b20\d{6}-\d{6}-\w+`, "names an incident or a recovery of another day"},
	{`^go run \./examples/outage (run|scenario)\b`, "the stage is what it starts; scenarios take minutes"},
}

// pagesNotRun are pages whose commands need another stage.
var pagesNotRun = map[string]string{
	"examples/gunicorn/README.md": "needs gunicorn in front of databases of its own: TestFreeze and its neighbours run this example's application",
	"examples/php-fpm/README.md":  "needs PHP-FPM in front of databases of its own: TestFreezeFPMTransport and its neighbours run this example's application",
	"CONTRIBUTING.md":             "is about working on firebreak",
}

// TestDocs runs the commands of every page in order, each page against a stage
// of its own: twelve zones, an API server and firebreak, as make run starts
// them. The stage has a network of its own, so that every address is the one on
// the page.
func TestDocs(t *testing.T) {
	all, err := docpages.All("..")
	if err != nil {
		t.Fatal(err)
	}
	outage := buildOutage(t)
	began, ran, found := time.Now(), new(counter), 0
	t.Run("pages", func(t *testing.T) {
		for _, p := range all {
			var commands []docpages.Command
			for _, b := range p.Blocks {
				commands = append(commands, b.Commands()...)
			}
			if len(commands) == 0 || pagesNotRun[p.Path] != "" {
				continue
			}
			found += len(commands)
			t.Run(p.Path, func(t *testing.T) {
				t.Parallel()
				ran.add(runPage(t, outage, commands))
			})
		}
	})
	figure(t, "%d commands of %d pages run in %.0f s", ran.sum, ran.n, time.Since(began).Seconds())
	if found < 50 {
		t.Errorf("only %d commands were found", found)
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

func buildOutage(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "outage")
	run(t, "go", "build", "-o", path, "../examples/outage")
	return path
}

// runPage runs commands one after the other and says how many it ran.
func runPage(t *testing.T, outage string, commands []docpages.Command) (ran int) {
	s := startDocsStage(t, outage)
	for _, c := range commands {
		if reason := whyNot(c.Text); reason != "" {
			t.Logf("%s:%d: not run (%s): %s", c.Page, c.Line, reason, c.Text)
			continue
		}
		ran++
		began := time.Now()
		wrong := s.try(c)
		// What a person types later than the test does may not be so yet.
		for wrong != "" && readsOnly(c.Text) && time.Since(began) < 12*time.Second {
			time.Sleep(200 * time.Millisecond)
			wrong = s.try(c)
		}
		if wrong != "" {
			t.Fatalf("%s:%d: %s\n%s\nA command that cannot be run here belongs into notRun in e2e/docs_test.go, with the reason.", c.Page, c.Line, c.Text, wrong)
		}
	}
	return ran
}

func whyNot(command string) string {
	for _, n := range notRun {
		if regexp.MustCompile(n.command).MatchString(strings.TrimSpace(command)) {
			return n.why
		}
	}
	return ""
}

var (
	changes    = regexp.MustCompile(`-X|--request| -d |--data |maintenance (on|off)|(firebreak|stage) (open|close|reset|recover|replay)|go run`)
	exitCode   = regexp.MustCompile(`#.*exit code (\d+)`)
	endless    = regexp.MustCompile(`^(curl (-\w* )*-\w*N|curl.*--no-buffer|firebreak top|bin/firebreak top)`)
	statusLine = regexp.MustCompile(`(?m)^(HTTP/\S+ )?([1-5]\d\d)\b`)
)

func readsOnly(command string) bool { return !changes.MatchString(command) }

// docsStage is a directory and a network of its own, in which commands are run
// as a person would type them.
type docsStage struct {
	t     *testing.T
	dir   string
	enter []string
}

// startDocsStage starts what make run starts.
func startDocsStage(t *testing.T, outage string) *docsStage {
	t.Helper()
	s := newDocsStage(t, t.TempDir())
	s.furnish(outage)
	s.play(outage, "run", "-firebreak", "bin/firebreak", "-config", "Caddyfile")
	return s
}

// newDocsStage makes the network.
func newDocsStage(t *testing.T, dir string) *docsStage {
	t.Helper()
	holder := exec.Command("unshare", "--net", "sh", "-c", "ip link set lo up && exec sleep infinity")
	if err := as(holder, "root"); err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { killGroup(holder) })
	s := &docsStage{t: t, dir: dir, enter: []string{"nsenter", "--net", "--target", fmt.Sprint(holder.Process.Pid)}}
	eventually(t, 5*time.Second, "there is a network namespace; making one needs root", func() bool {
		out, err := exec.Command(s.enter[0], append(s.enter[1:], "ip", "-o", "addr", "show", "lo")...).Output()
		ours, _ := os.Readlink("/proc/self/ns/net")
		theirs, _ := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", holder.Process.Pid))
		return err == nil && theirs != ours && strings.Contains(string(out), "127.0.0.1")
	})
	return s
}

// furnish lays out the directory as a checkout has it.
func (s *docsStage) furnish(outage string) {
	root, err := filepath.Abs("..")
	if err != nil {
		s.t.Fatal(err)
	}
	// "go run ./examples/outage" is the program that was built.
	shim := "#!/bin/sh\nif [ \"$1 $2\" = 'run ./examples/outage' ]; then shift 2; exec " + outage + " \"$@\"; fi\nexec " + lookGo(s.t) + " \"$@\"\n"
	for name, text := range map[string]string{"tools/go": shim, "stores.csv": "store,zone\ns0001,z1\ns0601,z7\n"} {
		path := filepath.Join(s.dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			s.t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			s.t.Fatal(err)
		}
	}
	s.layLogs()
	for link, target := range map[string]string{
		"bin/firebreak": world.firebreak, "tools/firebreak": world.firebreak, "tools/caddy": world.firebreak,
		"Caddyfile": filepath.Join(root, "Caddyfile"), "examples": filepath.Join(root, "examples"), "docs": filepath.Join(root, "docs"),
	} {
		path := filepath.Join(s.dir, link)
		_ = os.MkdirAll(filepath.Dir(path), 0o755)
		if err := os.Symlink(target, path); err != nil {
			s.t.Fatal(err)
		}
	}
}

// layLogs lays out access logs of a quiet minute, and where make outages leaves
// its own.
func (s *docsStage) layLogs() {
	if err := os.MkdirAll(filepath.Join(s.dir, "bin/outages"), 0o755); err != nil {
		s.t.Fatal(err)
	}
	var plain, packed bytes.Buffer
	noon := time.Date(2026, 1, 14, 9, 30, 0, 0, time.UTC)
	for n := range 600 {
		fmt.Fprintf(&plain, `{"ts":%.3f,"request":{"method":"GET","host":"localhost","uri":"/search?key=s0%d01","headers":{}},"duration":0.02,"size":9,"status":200}`+"\n",
			float64(noon.Add(time.Duration(n)*100*time.Millisecond).UnixMilli())/1000, n%2*6)
	}
	w := gzip.NewWriter(&packed)
	_, _ = w.Write(plain.Bytes())
	_ = w.Close()
	for name, data := range map[string][]byte{"access.log": plain.Bytes(), "access.log.gz": packed.Bytes(), "2024-dark.log.gz": packed.Bytes()} {
		if err := os.WriteFile(filepath.Join(s.dir, name), data, 0o644); err != nil {
			s.t.Fatal(err)
		}
	}
}

func lookGo(t *testing.T) string {
	path, err := exec.LookPath("go")
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// play starts the stage and waits until it says what to try.
func (s *docsStage) play(command ...string) {
	cmd := s.command(command...)
	log := logTo(s.t, cmd, "stage.log")
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
		gone := make(chan struct{})
		go func() { _ = cmd.Wait(); close(gone) }()
		select {
		case <-gone:
		case <-time.After(5 * time.Second):
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
			<-gone
		}
	})
	eventually(s.t, 3*time.Minute, "the stage is ready", func() bool {
		text, _ := os.ReadFile(log)
		return strings.Contains(string(text), "Ctrl-C ends everything")
	})
}

func (s *docsStage) command(args ...string) *exec.Cmd {
	cmd := exec.Command(s.enter[0], append(s.enter[1:], args...)...)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(),
		"PATH="+filepath.Join(s.dir, "tools")+":"+os.Getenv("PATH"),
		"HOME="+s.dir, "XDG_DATA_HOME="+s.dir, "XDG_CONFIG_HOME="+s.dir, "USER=alice", "TERM=dumb", "GOCACHE="+goEnv("GOCACHE"), "GOMODCACHE="+goEnv("GOMODCACHE"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	return cmd
}

// goEnv keeps Go's caches where they are, whatever HOME is.
func goEnv(name string) string {
	out, _ := exec.Command("go", "env", name).Output()
	return strings.TrimSpace(string(out))
}

// try runs a command and says what is wrong with its end or its output.
func (s *docsStage) try(c docpages.Command) string {
	script, wantCode := c.Text, "0"
	if endless.MatchString(script) {
		script = "timeout 2 " + script
		wantCode = "124"
	}
	if m := exitCode.FindStringSubmatch(c.Text); m != nil {
		wantCode = m[1]
	}
	path := filepath.Join(s.t.TempDir(), "command.sh")
	if err := os.WriteFile(path, []byte("set -o pipefail\n"+script+"\n"), 0o600); err != nil {
		s.t.Fatal(err)
	}
	cmd := s.command("timeout", "30", "bash", path)
	out, err := os.Create(path + ".output")
	if err != nil {
		s.t.Fatal(err)
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	_ = cmd.Run()
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // what it left in the background
	text, _ := os.ReadFile(out.Name())
	output := string(text)
	code := fmt.Sprint(cmd.ProcessState.ExitCode())
	switch {
	case code != wantCode && (wantCode != "124" || code != "0"):
		return fmt.Sprintf("ended with %s instead of %s:\n%s", code, wantCode, output)
	case c.Status != "" && !hasStatus(output, c.Status):
		return fmt.Sprintf("should answer %s, but:\n%s", c.Status, output)
	}
	if line := c.Missing(output); line != "" {
		return fmt.Sprintf("the page shows the line\n%s\nbut it prints\n%s", line, output)
	}
	return ""
}

func hasStatus(output, status string) bool {
	for _, m := range statusLine.FindAllStringSubmatch(output, -1) {
		if m[2] == status {
			return true
		}
	}
	return false
}
