package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"time"
)

// columns is the width of the terminal.
const columns = 96

// step is a command of the recording, and what came of it.
type step struct {
	command, comment string
	after            time.Duration // to wait afterwards

	took  time.Duration
	lines [][]span
}

// span is text in one colour: a class of the style sheet, or "".
type span struct {
	class, text string
}

// run types the command into a terminal.
func (s *step) run(ctx context.Context) error {
	line := fmt.Sprintf("stty cols %d rows 40; %s", columns, s.command)
	if strings.HasPrefix(s.command, "curl ") {
		line += " --silent --show-error"
	}
	// script is the terminal: programs write in colour, and in its width.
	cmd := exec.CommandContext(ctx, "script", "--quiet", "--return", "--command", line, "/dev/null")
	cmd.Env = append(os.Environ(), "TERM=xterm-256color")
	began := time.Now()
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", s.command, err, out)
	}
	s.took = time.Since(began)
	for line := range strings.Lines(strings.ReplaceAll(string(out), "\r", "")) {
		for part := range slices.Chunk([]rune(strings.TrimRight(line, "\n")+" "), lineLimit(line)) {
			s.lines = append(s.lines, spans(strings.TrimRight(string(part), " ")))
		}
	}
	for len(s.lines) > 0 && len(s.lines[len(s.lines)-1]) == 0 {
		s.lines = s.lines[:len(s.lines)-1]
	}
	time.Sleep(s.after)
	return nil
}

// lineLimit is where a line is continued on the next one. Lines with colours are
// from programs that know the width.
func lineLimit(line string) int {
	if strings.Contains(line, "\x1b") {
		return len(line) + 1
	}
	return columns
}

var (
	escape = regexp.MustCompile("\x1b\\[([0-9;]*)([A-Za-z])")
	status = regexp.MustCompile(`^HTTP/[0-9.]+ ([0-9])`)
	named  = regexp.MustCompile(`^(Firebreak-Refusal|Retry-After):`)
)

// colours are the escape sequences that firebreak uses.
var colours = map[string]string{"31": "red", "32": "green", "33": "yellow", "1": "bold"}

// spans splits a line into its colours. Some lines of HTTP get one, since they are
// what the recording is about.
func spans(line string) (found []span) {
	class, at := "", 0
	add := func(text string) {
		if text != "" {
			found = append(found, span{class, text})
		}
	}
	for _, m := range escape.FindAllStringSubmatchIndex(line, -1) {
		add(line[at:m[0]])
		if at = m[1]; line[m[4]:m[5]] == "m" {
			class = colours[line[m[2]:m[3]]]
		}
	}
	add(line[at:])
	if m := status.FindStringSubmatch(line); m != nil {
		return []span{{map[string]string{"2": "green", "5": "red"}[m[1]], line}}
	}
	if named.MatchString(line) {
		return []span{{"bold", line}}
	}
	return found
}
