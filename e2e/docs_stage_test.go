//go:build e2e

package e2e_test

import (
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

// docsStage is a machine of its own for a person who types commands; see
// testdata/machine.sh. All that runs there ends with the test.
type docsStage struct {
	t       *testing.T
	user    string
	home    string
	cwd     string // where the next command is typed
	enter   []string
	servers map[string]*terminal // by the address where they listen
}

// newDocsStage makes the machine for a user, alice or root, whose home is a
// directory below world.dir.
func newDocsStage(t *testing.T, user, home string) *docsStage {
	t.Helper()
	changed, err := os.MkdirTemp(world.dir, "changed-")
	if err != nil {
		t.Fatal(err)
	}
	// What runs in there dies with its process 1.
	machine := exec.Command("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
		"sh", "testdata/machine.sh", changed, home)
	log := logTo(t, machine, "machine.log")
	if err := as(machine, "root"); err != nil {
		t.Fatal(err)
	}
	if err := machine.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { killGroup(machine) })
	pid := machine.Process.Pid
	s := &docsStage{
		t: t, user: user, home: home, cwd: home, servers: make(map[string]*terminal),
		enter: []string{"nsenter", fmt.Sprint("--target=", pid), "--net", "--mount", fmt.Sprintf("--pid=/proc/%d/ns/pid_for_children", pid)},
	}
	for end := time.Now().Add(20 * time.Second); s.as("root", "test", "-e", "/run/furnished").Run() != nil; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("no machine of its own could be made, which needs root:\n%s", tail(log, 20))
		}
	}
	return s
}

// as is a command that a user types.
func (s *docsStage) as(user string, args ...string) *exec.Cmd {
	cmd := exec.Command(s.enter[0], append(s.enter[1:],
		append([]string{"setpriv", "--reuid", user, "--regid", user, "--init-groups", "env", "-C", s.cwd}, args...)...)...)
	// Go's caches stay where they are, whatever HOME is.
	cmd.Env = append(os.Environ(), "GOCACHE="+goCaches()[0], "GOMODCACHE="+goCaches()[1],
		"PATH="+filepath.Join(s.home, "tools")+":"+s.path(), "HOME="+s.home, "USER=alice", "LOGNAME=alice",
		"XDG_DATA_HOME="+s.home, "XDG_CONFIG_HOME="+s.home, "TERM=dumb")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	return cmd
}

// path is where Debian lets a user look for programs.
func (s *docsStage) path() string {
	if s.user == "root" {
		return os.Getenv("PATH")
	}
	return "/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games"
}

var goCaches = sync.OnceValue(func() [2]string {
	out, _ := exec.Command("go", "env", "GOCACHE", "GOMODCACHE").Output()
	build, modules, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return [2]string{build, modules}
})

// script is a command as bash gets it from the page.
func (s *docsStage) script(text string) *exec.Cmd {
	return s.as(s.user, "bash", "-c", "set -o pipefail\ntrap '{ pwd >&3; } 2>/dev/null' EXIT\n"+text)
}

// output is a file for what a command prints. The user may open it again, as
// /dev/stderr.
func (s *docsStage) output(cmd *exec.Cmd, name string) string {
	log := logTo(s.t, cmd, name)
	if err := os.Chmod(log, 0o666); err != nil {
		s.t.Fatal(err)
	}
	return log
}

// servers are commands that go on until Ctrl-C, each in a terminal of its own:
// where they listen and what they say when they are up.
var servers = []struct {
	command       *regexp.Regexp
	address, says string
}{
	{regexp.MustCompile(`^make run\b|^go run \./examples/outage run\b`), "127.0.0.1:8080", "Ctrl-C ends everything"},
	{regexp.MustCompile(`^firebreak run\b`), "127.0.0.1:8080", "serving initial configuration"},
	{regexp.MustCompile(`^gunicorn `), "127.0.0.1:9000", "Booting worker"},
	{regexp.MustCompile(`(?m)^/usr/sbin/php-fpm`), "127.0.0.1:9000", "ready to handle connections"},
	{regexp.MustCompile(`^prometheus `), "127.0.0.1:9090", "Server is ready to receive web requests"},
	{regexp.MustCompile(`^prometheus-alertmanager `), "127.0.0.1:9093", "Listening on"},
	{regexp.MustCompile(`^ssh -L `), "127.0.0.1:2019", ""},
}

// terminal is where a server runs.
type terminal struct {
	cmd   *exec.Cmd
	ended chan struct{}
}

func (term *terminal) kill() {
	select {
	case <-term.ended:
	default:
		_ = syscall.Kill(-term.cmd.Process.Pid, syscall.SIGKILL)
		<-term.ended
	}
}

// serve starts a server if that is what the command is. It takes the place of
// the one that listened there before.
func (s *docsStage) serve(command string) bool {
	for _, server := range servers {
		if !server.command.MatchString(command) {
			continue
		}
		s.interrupt(server.address)
		cmd := s.script(command)
		log := s.output(cmd, strings.Fields(command)[0]+".log")
		if _, err := cmd.StdinPipe(); err != nil { // a keyboard without input
			s.t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			s.t.Fatal(err)
		}
		term := &terminal{cmd, make(chan struct{})}
		go func() { _ = cmd.Wait(); close(term.ended) }()
		s.servers[server.address] = term
		s.t.Cleanup(term.kill)
		listening := "exec 4<>/dev/tcp/" + strings.Replace(server.address, ":", "/", 1)
		eventually(s.t, 3*time.Minute, command+" is up", func() bool {
			text, _ := os.ReadFile(log)
			select {
			case <-term.ended:
				s.t.Fatalf("%s ended:\n%s", command, text)
			default:
			}
			return strings.Contains(string(text), server.says) && s.as(s.user, "bash", "-c", listening).Run() == nil
		})
		return true
	}
	return false
}

// interrupt is Ctrl-C in the terminal of the server at an address.
func (s *docsStage) interrupt(address string) {
	term := s.servers[address]
	if term == nil {
		return
	}
	group := -term.cmd.Process.Pid
	_ = syscall.Kill(group, syscall.SIGINT)
	<-term.ended // the process that entered the machine; those within may take longer
	eventually(s.t, 20*time.Second, "what listens at "+address+" ends by Ctrl-C", func() bool {
		return syscall.Kill(group, 0) != nil
	})
	delete(s.servers, address)
}

// database starts what Debian starts when PostgreSQL is installed.
func (s *docsStage) database() {
	const start = `set -e
for dir in /etc/postgresql /var/lib/postgresql /var/log/postgresql; do
	mount -t tmpfs -o mode=755 tmpfs $dir
	chown postgres: $dir
done
version=$(ls /usr/lib/postgresql | sort -n | tail -1)
pg_createcluster --locale C.UTF-8 "$version" main
pg_ctlcluster "$version" main start`
	cmd := s.as("root", "env", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "bash", "-c", start)
	log := s.output(cmd, "postgresql.log") // not a pipe, which the server would keep open
	if err := cmd.Run(); err != nil {
		s.t.Fatalf("starting PostgreSQL: %v\n%s", err, tail(log, 20))
	}
}

var (
	exitCode   = regexp.MustCompile(`#.*exit code (\d+)`)
	endless    = regexp.MustCompile(`^(curl (-\w* )*-\w*N|curl.*--no-buffer|firebreak top|bin/firebreak top)`)
	background = regexp.MustCompile(`&\s*(#.*)?$`)
	statusLine = regexp.MustCompile(`(?m)^(HTTP/\S+ )?([1-5]\d\d)\b`)
)

// try runs a command and says what is wrong with its end or its output.
func (s *docsStage) try(c docpages.Command) string {
	script, wantCode := s.today(c.Text), "0"
	if endless.MatchString(script) {
		script = "timeout 2 " + script
		wantCode = "124"
	}
	if m := exitCode.FindStringSubmatch(c.Text); m != nil {
		wantCode = m[1]
	}
	cmd := s.script(script)
	if c.Status == "" && len(c.Output) == 0 {
		// No error is expected: let curl say so.
		cmd.Env = append(cmd.Env, "CURL_HOME="+filepath.Join(s.home, "tools"))
	}
	output, cwd, code := s.run(cmd, background.MatchString(c.Text))
	switch {
	case code != wantCode && (wantCode != "124" || code != "0"):
		return fmt.Sprintf("ended with %s instead of %s:\n%s", code, wantCode, output)
	case c.Status != "" && !hasStatus(output, c.Status):
		return fmt.Sprintf("should answer %s, but:\n%s", c.Status, output)
	}
	if line := c.Missing(output); line != "" {
		return fmt.Sprintf("the page shows the line\n%s\nbut it prints\n%s", line, output)
	}
	s.cwd = cwd
	return ""
}

// run runs a command for half a minute at most. What it prints and the directory
// where it ends go to files, which no process waits for.
func (s *docsStage) run(cmd *exec.Cmd, background bool) (output, cwd, code string) {
	dir := s.t.TempDir()
	out, err := os.Create(filepath.Join(dir, "output"))
	if err != nil {
		s.t.Fatal(err)
	}
	defer out.Close()
	at, err := os.Create(filepath.Join(dir, "cwd"))
	if err != nil {
		s.t.Fatal(err)
	}
	defer at.Close()
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = out, out, []*os.File{at}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	kill := func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	late := time.AfterFunc(30*time.Second, kill)
	_ = cmd.Wait()
	late.Stop()
	if !background {
		kill() // what it left behind
	}
	text, _ := os.ReadFile(out.Name())
	where, _ := os.ReadFile(at.Name())
	return string(text), strings.TrimSpace(string(where)), fmt.Sprint(cmd.ProcessState.ExitCode())
}

var (
	dated = regexp.MustCompile(`/firebreak/(incidents|recoveries)/(20\d{6}-\d{6}-\w+)`)
	newID = regexp.MustCompile(`"id": *"([^"]+)"`)
)

// today puts the newest id where the page has one of another day.
func (s *docsStage) today(command string) string {
	m := dated.FindStringSubmatch(command)
	if m == nil {
		return command
	}
	list, err := s.as(s.user, "curl", "-sS", "localhost:2019/firebreak/"+m[1]).CombinedOutput()
	id := newID.FindSubmatch(list)
	if err != nil || id == nil {
		s.t.Fatalf("%s: there are no %s: %v\n%s", command, m[1], err, list)
	}
	return strings.ReplaceAll(command, m[2], string(id[1]))
}

func hasStatus(output, status string) bool {
	for _, m := range statusLine.FindAllStringSubmatch(output, -1) {
		if m[2] == status {
			return true
		}
	}
	return false
}
