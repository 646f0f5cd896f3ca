package cli_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files")

// What differs from run to run.
var (
	clockTime = regexp.MustCompile(`(\d{4}-\d\d-\d\d[ T])?\d\d:\d\d:\d\dZ?`)
	instance  = regexp.MustCompile(`test-1:\d+`)
	took      = regexp.MustCompile(`\d+(\.\d+)?m?s ago|after \d+ms`)
	host      = regexp.MustCompile(`(?m)^test-1( +)\S+`)
	version   = regexp.MustCompile(`v0\.0\.0-\S+|\(devel\)`)
	spaces    = regexp.MustCompile(` {2,}`)
)

func normal(text string) string {
	text = clockTime.ReplaceAllString(text, "12:58:00")
	text = took.ReplaceAllString(text, "0s ago")
	text = instance.ReplaceAllString(text, "test-1")
	text = host.ReplaceAllString(text, "test-1${1}HOST")
	text = version.ReplaceAllString(text, "VERSION")
	return spaces.ReplaceAllString(text, "  ")
}

// TestSession is an evening with a zone on fire, compared with what people saw
// when it was written: run with -update and read the difference.
func TestSession(t *testing.T) {
	s := startSidecar(t)
	var transcript strings.Builder
	for _, line := range []string{
		"status",
		"maintenance on zone z7 --reason disk-full --message Back-at-15:00. --ticket OPS-7",
		"status",
		"status --exit-code",
		"zone z7",
		"store a7",
		"explain /?key=a7",
		"explain /?key=a1",
		"maintenance off store a7",
		"store a7",
		"maintenance list",
		"maintenance on store a1 b1 --read-only --dry-run",
		"maintenance on store a1 b1 --read-only --reason moving --by bob",
		"maintenance list --scope store",
		"maintenance off zone z7 --reason repaired",
		"maintenance off zone z7",
		"maintenance off store a1 b1",
		"maintenance history",
		"isolate zone z3 --reason restarting --yes",
		"zone z3",
		"auto zone z3 --yes",
		"admit store a4 --for 1h --reason moving --yes",
		"store a4",
		"auto store a4 --yes",
		"culprits",
		"status --fleet",
		"status --exit-code",
	} {
		r := s.run(strings.Fields(line)...)
		fmt.Fprintf(&transcript, "$ firebreak %s\n%s%s", line, r.out, r.err)
		if r.code != 0 {
			fmt.Fprintf(&transcript, "exit code %d\n", r.code)
		}
		transcript.WriteString("\n")
	}
	golden := filepath.Join("testdata", "session.txt")
	got := normal(transcript.String())
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("what people see changed (-want +got); -update writes it:\n%s", diff)
	}
}

func TestErrors(t *testing.T) {
	s := startSidecar(t)
	tests := []struct {
		name string
		args string
		code int
		says string
	}{
		{"zone that is not there", "zone z77", 3, `no zone "z77"; did you mean z7?`},
		{"store that is not there", "store nobody", 3, `no store and no key "nobody"`},
		{"switch for a zone that is not there", "maintenance on zone x7", 3, `no zone "x7"`},
		{"nothing to switch", "maintenance on zone", 1, "maintenance on zone z7"},
		{"neither zone nor store", "maintenance on z7", 1, `"z7" is neither zone, store nor all`},
		{"no such flag", "status --flet", 1, "unknown flag: --flet"},
		{"time that is none", "maintenance on zone z7 --until tomorrow", 1, `--until "tomorrow": write a time like`},
		{"end twice", "maintenance on zone z7 --until 15:00 --for 1h", 1, "either --for or --until"},
		{"negative time", "maintenance on zone z7 --for -1h", 1, "--for must not be negative"},
		{"end before begin", "maintenance on zone z7 --from 2030-01-01T00:00:00Z --until 2029-01-01T00:00:00Z", 3, "until"},
		{"file that is not there", "maintenance on store --stores-file nowhere.txt", 1, "nowhere.txt"},
		{"isolates nothing", "isolate z7 now", 1, `"z7" is neither zone nor store`},
		{"isolates without a reason", "isolate zone z7 --yes", 1, "isolate needs a reason, nothing was changed"},
		{"admits without a reason", "admit store a7 --yes", 1, "admit needs a reason, nothing was changed"},
		{"isolates unasked", "isolate zone z7 --reason disk", 1, "ISOLATE zone z7 until somebody hands it back (firebreak auto zone z7), on this sidecar: all of its requests are refused. Nothing was changed; say --yes"},
		{"admits unasked", "admit store a7 --for 10m --reason disk", 1, "ADMIT store a7 for 10m00s"},
		{"hands back unasked", "auto zone z7", 1, "say --yes"},
		{"words of earlier versions", "open zone z7 --yes --reason disk", 1, `unknown command "open"`},
		{"no time at all", "status --timeout 0s", 1, "must be positive"},
		{"wrong body's header", "explain /x --header nocolon", 3, "header"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := s.run(strings.Fields(tt.args)...)
			if r.code != tt.code || !strings.Contains(r.err, tt.says) {
				t.Errorf("%s: exit code %d and %q, want %d and something with %q", tt.args, r.code, r.err, tt.code, tt.says)
			}
			if r.out != "" {
				t.Errorf("%s wrote to standard output: %s", tt.args, r.out)
			}
		})
	}
	if out := s.must("maintenance", "list"); !strings.HasPrefix(out, "0 switches") {
		t.Errorf("after nothing but errors there are switches: %s", out)
	}
}

// TestVersion wants the program's own version and Caddy's, as the build says or as
// it was told to say.
func TestVersion(t *testing.T) {
	dir := t.TempDir()
	named := filepath.Join(dir, "named")
	set := "-X github.com/firebreak-proxy/firebreak/internal/version.version=v1.2.3"
	if out, err := exec.Command("go", "build", "-ldflags", set, "-o", named, "../cmd/firebreak").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, tt := range []struct{ program, arg, want string }{
		{built, "version", `^firebreak \S+, Caddy v2\.\d+\.\d+`},
		{built, "--version", `^firebreak \S+, Caddy v2\.\d+\.\d+`},
		{named, "version", `^firebreak v1\.2\.3, Caddy v2\.\d+\.\d+`},
	} {
		cmd := program(t, dir, tt.arg)
		cmd.Path = tt.program
		out, err := cmd.CombinedOutput()
		if err != nil || !regexp.MustCompile(tt.want).Match(out) {
			t.Errorf("%s %s prints %q (%v), want %s", filepath.Base(tt.program), tt.arg, out, err, tt.want)
		}
	}
}

// TestOverview wants the program's help to be about this program.
func TestOverview(t *testing.T) {
	for _, args := range []string{"", "help", "--help", "-h"} {
		r := runProgram(t, t.TempDir(), "", strings.Fields(args)...)
		if r.code != 0 || !strings.HasPrefix(r.out, "Firebreak is a reverse-proxy sidecar") {
			t.Errorf("%q: exit code %d: %.200s%s", args, r.code, r.out, r.err)
		}
		for _, want := range []string{"\n  isolate  ", "\n  status  ", "\n  run  ", "\n  validate  ", "firebreak help <command>"} {
			if !strings.Contains(r.out, want) {
				t.Errorf("%q does not have %q", args, want)
			}
		}
		if strings.Contains(r.out, "upgrade") || strings.Contains(r.out, "caddy run") {
			t.Errorf("%q recommends what is of no use here: %s", args, r.out)
		}
	}
	if r := runProgram(t, t.TempDir(), "", "stauts"); r.code != 1 || !strings.Contains(r.err, `"stauts" for "firebreak"`) || strings.Contains(r.err, "caddy") {
		t.Errorf("a typing mistake: exit code %d: %s", r.code, r.err)
	}
}

func TestNoSuchCommand(t *testing.T) {
	r := runProgram(t, t.TempDir(), "", "maintenance", "un")
	if r.code != 1 || !strings.Contains(r.err, `unknown command "un"`) {
		t.Errorf("exit code %d, %q", r.code, r.err)
	}
}

func TestUnreachable(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	r := runProgram(t, t.TempDir(), "", "status", "--address", closed.Addr().String())
	if r.code != 2 || !strings.Contains(r.err, "is the server running?") {
		t.Errorf("exit code %d, %q", r.code, r.err)
	}
}

// TestTimeLimit asks a server that takes the connection and never answers.
func TestTimeLimit(t *testing.T) {
	mute, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	began := time.Now()
	r := runProgram(t, t.TempDir(), "", "maintenance", "on", "zone", "z7", "--timeout", "300ms", "--address", mute.Addr().String())
	if r.code != 2 || !strings.Contains(r.err, "no answer from") || !strings.Contains(r.err, "within 300ms") {
		t.Errorf("exit code %d, %q", r.code, r.err)
	}
	if length := time.Since(began); length > 5*time.Second {
		t.Errorf("it took %s", length)
	}
}

func TestConfirmation(t *testing.T) {
	s := startSidecar(t)
	for _, args := range []string{"maintenance on zone z1 z2", "maintenance on all", "maintenance off all"} {
		r := s.run(strings.Fields(args)...)
		if r.code != 1 || !strings.Contains(r.err, "--yes") {
			t.Errorf("%s without a terminal: exit code %d, %q", args, r.code, r.err)
		}
	}
	s.must("maintenance", "on", "zone", "z1", "z2", "--yes")
	if out := s.must("maintenance", "list"); !strings.HasPrefix(out, "2 switches, 2 in force") {
		t.Errorf("after --yes: %s", out)
	}
}

// TestManyStores switches more stores than one call takes.
func TestManyStores(t *testing.T) {
	s := startSidecar(t)
	var list strings.Builder
	list.WriteString("# damaged\n\n")
	for n := range manyStores {
		fmt.Fprintf(&list, "s%05d\n", n)
	}
	r := s.runWith(list.String(), "maintenance", "on", "store", "--stores-file", "-")
	if r.code != 1 || !strings.Contains(r.err, "25000 stores") {
		t.Fatalf("without --yes: exit code %d, %q", r.code, r.err)
	}
	r = s.runWith(list.String(), "maintenance", "on", "store", "--stores-file", "-", "--yes", "--reason", "damaged")
	if r.code != 0 || !strings.Contains(r.out, "25000 switches set") || !strings.Contains(r.err, "20000 of 25000") {
		t.Fatalf("exit code %d, %q, %q", r.code, r.out, r.err)
	}
	out := s.must("maintenance", "list")
	if lines := strings.Count(out, "\nstore s"); lines != manyStores {
		t.Errorf("the list has %d stores, want %d", lines, manyStores)
	}
}

// TestHostileText wants no text from outside to reach the terminal raw.
func TestHostileText(t *testing.T) {
	s := startSidecar(t)
	s.must("maintenance", "on", "zone", "z7", "--by", "m\u202eallory", "--reason", "\x1b]0;owned\x07\x1b[2J\u009b31mred")
	for _, command := range []string{"maintenance list", "maintenance history", "zone z7", "store a7", "explain /?key=a7", "status"} {
		out := s.must(strings.Fields(command)...)
		if i := strings.IndexAny(out, "\x1b\x07\u009b\u202e"); i >= 0 {
			t.Errorf("%s lets %q through", command, out[i:min(len(out), i+10)])
		}
	}
}

func TestJSON(t *testing.T) {
	s := startSidecar(t)
	for _, command := range []string{
		"status", "status --fleet", "zones", "zone z7", "store a7", "explain /?key=a7", "culprits", "top",
		"maintenance on zone z7", "maintenance list", "maintenance history", "maintenance off zone z7", "isolate zone z7 --reason test --yes", "auto zone z7 --yes",
	} {
		out := s.must(append(strings.Fields(command), "--json")...)
		if !json.Valid([]byte(out)) {
			t.Errorf("%s --json is not JSON: %s", command, out)
		}
	}
}

func TestCompletion(t *testing.T) {
	s := startSidecar(t)
	tests := []struct{ typed, want string }{
		{"zone", "z7"},
		{"maintenance on", "zone"},
		{"maintenance on zone", "z12"},
		{"maintenance off zone z1", "z7"},
		{"isolate zone", "z3"},
		{"recover zone", "z7"},
	}
	for _, tt := range tests {
		args := append([]string{"__complete"}, strings.Fields(tt.typed)...)
		r := runProgram(t, s.dir, "", append(args, "--address", s.address, "")...)
		if !strings.Contains("\n"+r.out, "\n"+tt.want+"\n") {
			t.Errorf("%s <tab> offers %q, not %s", tt.typed, r.out, tt.want)
		}
	}
}

// TestHelp wants every command to explain itself with examples that parse.
func TestHelp(t *testing.T) {
	dir := t.TempDir()
	for _, command := range []string{
		"status", "zones", "zone", "store", "explain", "culprits", "incidents", "incident", "incidents show", "top", "isolate", "admit", "auto",
		"maintenance", "maintenance on", "maintenance off", "maintenance list", "maintenance history",
	} {
		r := runProgram(t, dir, "", append(strings.Fields(command), "--help")...)
		if r.code != 0 || !strings.Contains(r.out, "Examples:\n  firebreak "+command) || !strings.Contains(r.out, "Usage:\n  firebreak "+command) {
			t.Errorf("%s --help: exit code %d: %s", command, r.code, r.out)
		}
	}
}
