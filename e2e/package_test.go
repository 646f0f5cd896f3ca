//go:build e2e

package e2e_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// unitFile is where the package has its unit.
const unitFile = "/usr/lib/systemd/system/firebreak.service"

// TestPackage makes the .deb of the binary, installs it, runs the unit's program as
// the unit says, and sends a request through it. Then an upgrade, and the removal.
// What only systemd itself does, such as ProtectSystem, build/try-package.sh tries.
func TestPackage(t *testing.T) {
	began := time.Now()
	deb := makeDeb(t)
	figure(t, "the package was made in %.1f s", time.Since(began).Seconds())
	r := newRoot(t)
	r.put(t, "/tmp/firebreak.deb", readFile(t, deb))
	r.run(t, `
		! getent passwd firebreak
		test ! -e /etc/firebreak
		test ! -e /usr/bin/firebreak`)

	began = time.Now()
	r.run(t, `dpkg -i /tmp/firebreak.deb`)
	if user, want := r.run(t, `getent passwd firebreak`), ":/var/lib/firebreak:/usr/sbin/nologin\n"; !strings.HasSuffix(user, want) {
		t.Errorf("the user is %q, want it to end with %q", user, want)
	}
	if out := r.run(t, `systemd-analyze verify `+unitFile); out != "" {
		t.Errorf("systemd-analyze verify says:\n%s", out)
	}
	if kept := r.run(t, `dpkg-query --show --showformat '${Conffiles}' firebreak`); !strings.Contains(kept, "/etc/firebreak/Caddyfile ") || !strings.Contains(kept, "/etc/firebreak/stores.csv ") {
		t.Errorf("the configuration files that an upgrade keeps are: %s", kept)
	}
	r.run(t, `cd / && firebreak validate --config /etc/firebreak/Caddyfile`)

	r.put(t, "/srv/api.py", "def app(environ, start):\n    start('200 OK', [])\n    return [b'from the API']\n")
	r.start(t, "gunicorn", `exec gunicorn --chdir /srv --bind 127.0.0.1:9000 --workers 2 api:app`)
	s := r.startService(t)
	figure(t, "from dpkg -i until the service is up: %.1f s", time.Since(began).Seconds())
	r.run(t, `for i in $(seq 100); do curl -so /dev/null http://127.0.0.1:9000/ && exit; sleep 0.1; done; exit 1`)
	if out := r.run(t, `curl -sS -i 'http://127.0.0.1:8080/?key=example-store'`); !strings.HasPrefix(out, "HTTP/1.1 200") || !strings.HasSuffix(out, "from the API") {
		t.Errorf("the first request was answered\n%s", out)
	}
	if out := r.run(t, `curl -sS http://localhost:2019/firebreak/zones/example-zone`); !regexp.MustCompile(`"ok": 1\b`).MatchString(out) {
		t.Errorf("the first request was not guarded: zone example-zone is\n%s", out)
	}
	if out := r.run(t, `firebreak explain '/?key=example-store'`); !strings.Contains(out, "example-store in zone example-zone") {
		t.Errorf("firebreak explain prints\n%s", out)
	}
	if user := strings.TrimSpace(r.run(t, `ps -C firebreak -o user=`)); user != "firebreak" {
		t.Errorf("the service runs as %q", user)
	}
	r.run(t, `test "$(stat -c %U /var/lib/firebreak/caddy/firebreak)" = firebreak`)
	r.run(t, s.as("ExecReload"))

	r.run(t, `echo '# changed' >>/etc/firebreak/Caddyfile`)
	r.run(t, `dpkg -i /tmp/firebreak.deb && tail -n 1 /etc/firebreak/Caddyfile | grep -q changed`)
	s.stop(t)
	r.run(t, `
		dpkg -r firebreak
		test ! -e /usr/bin/firebreak
		grep -q changed /etc/firebreak/Caddyfile
		dpkg -P firebreak
		test ! -e /etc/firebreak/Caddyfile`)
}

// makeDeb makes the package of the binary under test.
func makeDeb(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if out, err := exec.Command("../build/package.sh", "deb", world.firebreak, "v0.0.1", runtime.GOARCH, dir).CombinedOutput(); err != nil {
		t.Fatalf("build/package.sh: %v\n%s", err, out)
	}
	made, err := filepath.Glob(filepath.Join(dir, "firebreak_0.0.1_*.deb"))
	if err != nil || len(made) != 1 {
		t.Fatalf("build/package.sh made %q, %v", made, err)
	}
	return made[0]
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// root is a root file system, network and processes of its own: this machine's, as
// they are before the test changes them. See testdata/root.sh.
type root struct {
	pid int    // of process 1, as it is outside
	dir string // the root, as it is outside
}

// newRoot makes a root, in namespaces, as those of the documentation are.
func newRoot(t *testing.T) *root {
	t.Helper()
	if out, err := exec.Command("unshare", "--net", "--mount", "--pid", "--fork", "true").CombinedOutput(); err != nil {
		t.Fatalf("this machine lets no namespaces be made, which needs root: %v, %s", err, out)
	}
	dir, err := os.MkdirTemp(world.dir, "root-")
	if err != nil {
		t.Fatal(err)
	}
	// What runs in there dies with its process 1.
	machine := exec.Command("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "testdata/root.sh", dir)
	log := logTo(t, machine, "root.log")
	machine.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := machine.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { killGroup(machine) })
	r := &root{pid: machine.Process.Pid, dir: filepath.Join(dir, "root")}
	for end := time.Now().Add(20 * time.Second); r.command(`test -e /run/furnished`).Run() != nil; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("no root of its own could be made:\n%s", tail(log, 20))
		}
	}
	return r
}

// command is a shell script that runs in there as root.
func (r *root) command(script string) *exec.Cmd {
	cmd := exec.Command("nsenter", fmt.Sprint("--target=", r.pid), "--net", "--mount", fmt.Sprintf("--pid=/proc/%d/ns/pid_for_children", r.pid),
		"chroot", r.dir, "bash", "-euo", "pipefail", "-c", script)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "DEBIAN_FRONTEND=noninteractive"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	return cmd
}

// run runs a script and returns what it prints.
func (r *root) run(t *testing.T, script string) string {
	t.Helper()
	out, err := r.command(script).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return string(out)
}

// start starts a script that goes on until the test ends. It returns where its
// output is.
func (r *root) start(t *testing.T, name, script string) (log string) {
	t.Helper()
	cmd := r.command(script)
	log = logTo(t, cmd, name+".log")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { killGroup(cmd) })
	return log
}

// outside is where a file of the root is for this process.
func (r *root) outside(path string) string {
	return fmt.Sprintf("/proc/%d/root%s%s", r.pid, r.dir, path)
}

func (r *root) put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(r.outside(path), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// service is the unit's program, run as systemd does.
type service struct {
	root *root
	unit string
}

// startService starts the program and returns when it tells that it is up.
func (r *root) startService(t *testing.T) *service {
	t.Helper()
	s := &service{r, readFile(t, r.outside(unitFile))}
	if s.setting("Type") != "notify" {
		t.Fatalf("the unit is of type %s", s.setting("Type"))
	}
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: r.outside("/run/notify")})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	if err := os.Chmod(r.outside("/run/notify"), 0o777); err != nil {
		t.Fatal(err)
	}
	r.run(t, fmt.Sprintf(`install -d -o %s -g %s /var/lib/%s`, s.setting("User"), s.setting("Group"), s.setting("StateDirectory")))
	log := r.start(t, "service", "echo $$ >/run/firebreak.pid\nexport NOTIFY_SOCKET=/run/notify\n"+s.as("ExecStart"))
	if err := socket.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	for told, buf := "", make([]byte, 4096); !strings.Contains(told, "READY=1"); {
		n, err := socket.Read(buf)
		if err != nil {
			t.Fatalf("the service does not tell that it is up: %v\n%s", err, tail(log, 20))
		}
		told = string(buf[:n])
	}
	return s
}

// setting is a setting of the unit that is there once.
func (s *service) setting(name string) string {
	m := regexp.MustCompile(`(?m)^` + name + `=(.*)$`).FindStringSubmatch(s.unit)
	if m == nil {
		return ""
	}
	return m[1]
}

// as runs a command line of the unit as its user, where, with which environment and
// with which privileges it says.
func (s *service) as(line string) string {
	capability := "+" + strings.ToLower(strings.TrimPrefix(s.setting("AmbientCapabilities"), "CAP_"))
	return fmt.Sprintf("cd %s\nexec setpriv --reuid %s --regid %s --clear-groups --no-new-privs --inh-caps=-all,%s --ambient-caps=-all,%s --bounding-set=-all,%s "+
		"env -i PATH=/usr/bin:/bin ${NOTIFY_SOCKET:+NOTIFY_SOCKET=$NOTIFY_SOCKET} %s %s",
		s.setting("WorkingDirectory"), s.setting("User"), s.setting("Group"), capability, capability, capability, s.setting("Environment"), s.setting(line))
}

// stop ends the program as systemd does, and waits.
func (s *service) stop(t *testing.T) {
	t.Helper()
	s.root.run(t, `
		pid=$(cat /run/firebreak.pid)
		kill "$pid"
		for i in $(seq 200); do kill -0 "$pid" 2>/dev/null || exit 0; sleep 0.1; done
		exit 1`)
}
