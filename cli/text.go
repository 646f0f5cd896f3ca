package cli

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
)

// clean makes a text that came from outside safe to print on a terminal.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case unicode.IsControl(r), unicode.Is(unicode.Cf, r):
			return '\uFFFD'
		}
		return r
	}, text)
}

// Colours of a terminal.
const (
	red    = "\x1b[31m"
	yellow = "\x1b[33m"
	green  = "\x1b[32m"
	bold   = "\x1b[1m"
	plain  = "\x1b[0m"
)

func (s *session) paint(color, text string) string {
	if !s.color || color == "" {
		return text
	}
	return color + text + plain
}

// table writes rows in columns. Cells are cleaned; the first row is the head. Lines
// that are too long are cut on a terminal, and nowhere else.
func (s *session) table(rows [][]string) {
	if !isTerminal(s.out) {
		writeTable(s.out, rows)
		return
	}
	var whole bytes.Buffer
	writeTable(&whole, rows)
	columns := terminalColumns()
	for line := range strings.Lines(whole.String()) {
		fmt.Fprintln(s.out, cut(strings.TrimSuffix(line, "\n"), columns))
	}
}

func writeTable(out io.Writer, rows [][]string) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		for i, cell := range row {
			if row[i] = clean(cell); row[i] == "" {
				row[i] = "-"
			}
		}
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	_ = w.Flush()
}

// brief is a duration for people: two units at most.
func brief(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < 10*time.Second:
		return d.Round(100 * time.Millisecond).String()
	case d < time.Minute:
		return d.Round(time.Second).String()
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd%02dh", int(d.Hours())/24, int(d.Hours())%24)
}

// clock is a moment for people: the time, with the date if it is not today.
func (s *session) clock(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	t, now := t.Local(), s.now().Local()
	if t.Format(time.DateOnly) == now.Format(time.DateOnly) {
		return t.Format(time.TimeOnly)
	}
	return t.Format("2006-01-02 15:04:05")
}

// since is a moment and how long ago it was.
func (s *session) since(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return fmt.Sprintf("%s (%s ago)", s.clock(t), brief(s.now().Sub(t)))
}

func plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	if strings.HasSuffix(one, "ch") {
		one += "e"
	}
	return fmt.Sprintf("%d %ss", n, one)
}
