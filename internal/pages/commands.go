package pages

import (
	"os/exec"
	"regexp"
	"slices"
	"strings"
)

// Command is a command of a page.
type Command struct {
	Page string
	Line int
	Text string // as it is typed, without "$ "

	// What it prints, as the page shows it; empty if the page does not.
	Output []string

	// The status a comment behind the command promises ("# 503 at once"), or "".
	Status string
}

var statusPattern = regexp.MustCompile(`#.*\b([2345]\d\d)\b`)

// Commands are the commands of a block of the kind sh or console. The output
// that "console example" shows is of another day, and is not compared.
func (b *Block) Commands() (all []Command) {
	if b.Kind != "sh" && b.Kind != "console" {
		return nil
	}
	lines := strings.Split(strings.TrimRight(b.Text, "\n"), "\n")
	example := slices.Contains(b.Words, "example")
	transcript := b.Kind == "console" && strings.Contains("\n"+b.Text, "\n$ ")
	for i := 0; i < len(lines); i++ {
		line, isCommand := strings.CutPrefix(lines[i], "$ ")
		if transcript && !isCommand {
			if len(all) > 0 && !example {
				last := &all[len(all)-1]
				last.Output = append(last.Output, lines[i])
			}
			continue
		}
		if text := strings.TrimSpace(line); text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		c := Command{Page: b.Page, Line: b.Line + i, Text: line}
		for !complete(c.Text) && i+1 < len(lines) {
			i++
			c.Text += "\n" + strings.TrimPrefix(lines[i], "> ")
		}
		if m := statusPattern.FindStringSubmatch(c.Text); m != nil {
			c.Status = m[1]
		}
		all = append(all, c)
	}
	return all
}

// complete reports whether a shell would not wait for more lines.
func complete(text string) bool {
	if strings.HasSuffix(text, "\\") {
		return false
	}
	return exec.Command("bash", "-n", "-c", text).Run() == nil
}

var (
	number = regexp.MustCompile(`\d+`)
	blank  = regexp.MustCompile(`\s+`)
)

// loose makes two outputs alike that differ in figures, times and columns only.
func loose(text string) string {
	return strings.TrimSpace(blank.ReplaceAllString(number.ReplaceAllString(text, "0"), " "))
}

// Missing is the first line of the output a page shows that the real one does
// not have, or "". Figures and spaces may differ; "…" stands for anything.
func (c *Command) Missing(output string) string {
	real := strings.Split(output, "\n")
	for i := range real {
		real[i] = loose(real[i])
	}
	for _, line := range c.Output {
		pieces := strings.Split(strings.ReplaceAll(line, "...", "…"), "…")
		found := false
		for _, r := range real {
			found = found || inOrder(r, pieces)
		}
		if !found {
			return line
		}
	}
	return ""
}

// inOrder reports whether all pieces are in a line, one after the other.
func inOrder(line string, pieces []string) bool {
	for _, piece := range pieces {
		_, after, found := strings.Cut(line, loose(piece))
		if !found {
			return false
		}
		line = after
	}
	return true
}
