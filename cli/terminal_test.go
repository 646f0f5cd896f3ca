//go:build linux

package cli_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// terminal is a program that a person types at.
type terminal struct {
	t    *testing.T
	keys *os.File // the person's side of a pseudo terminal
	seen strings.Builder
	code chan int
}

// atTerminal runs a command at a terminal.
func (s *sidecar) atTerminal(args ...string) *terminal {
	s.t.Helper()
	keys, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { keys.Close() })
	if err := unix.IoctlSetPointerInt(int(keys.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		s.t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(keys.Fd()), unix.TIOCGPTN)
	if err != nil {
		s.t.Fatal(err)
	}
	screen, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		s.t.Fatal(err)
	}
	defer screen.Close()
	cmd := program(s.t, s.dir, append(args, "--address", s.address)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = screen, screen, screen
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	term := &terminal{t: s.t, keys: keys, code: make(chan int, 1)}
	go func() {
		_ = cmd.Wait()
		term.code <- cmd.ProcessState.ExitCode()
	}()
	return term
}

// answers waits for a question and types an answer.
func (term *terminal) answers(question, answer string) {
	term.t.Helper()
	buffer := make([]byte, 4096)
	for began := time.Now(); !strings.Contains(term.seen.String(), question); {
		n, err := term.keys.Read(buffer)
		term.seen.Write(buffer[:n])
		if err != nil || time.Since(began) > 20*time.Second {
			term.t.Fatalf("no question %q: %v\n%s", question, err, term.seen.String())
		}
	}
	if _, err := term.keys.WriteString(answer + "\n"); err != nil {
		term.t.Fatal(err)
	}
}

func TestByHandAtTerminal(t *testing.T) {
	s := startSidecar(t)
	state := func() string { return strings.Fields(s.must("zone", "z5"))[3] }
	for _, tt := range []struct {
		name, command string
		dialog        [][2]string
		code          int
		state         string
	}{
		{"no reason", "isolate zone z5", [][2]string{{"Reason, for the log", ""}}, 1, "calm"},
		{"second thoughts", "isolate zone z5", [][2]string{{"Reason, for the log", "disk"}, {"ISOLATE zone z5 until somebody hands it back", "n"}}, 1, "calm"},
		{"just enter", "isolate zone z5 --reason disk", [][2]string{{"all of its requests are refused. Go on? [y/N]", ""}}, 1, "calm"},
		{"meant", "isolate zone z5 --for 10m", [][2]string{{"Reason, for the log", "disk"}, {"ISOLATE zone z5 for 10m00s", "y"}}, 0, "isolated"},
		{"handed back", "auto zone z5", [][2]string{{"Hand zone z5 back", "yes"}}, 0, "calm"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			term := s.atTerminal(strings.Fields(tt.command)...)
			for _, turn := range tt.dialog {
				term.answers(turn[0], turn[1])
			}
			if code := <-term.code; code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			if got := state(); got != tt.state {
				t.Errorf("the zone is %s, want %s", got, tt.state)
			}
		})
	}
}
