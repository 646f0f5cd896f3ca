// Package pages reads the documentation for the tests that execute it: its code
// blocks, headings and links.
//
// What a block is shows in the word behind its fence:
//
//	```sh          commands, run in order against a running example
//	```console     the same with what they print: "$ firebreak status", then lines of its output;
//	               "console example" if the output is of another day
//	```caddyfile   a whole Caddyfile, adapted and validated; with a second word
//	               a part of one, see [Block.Caddyfile]
//	```json caddy  a configuration of Caddy, read strictly
//	```promql, sql, python, ini
//	               given to the program that it is for
//	```text, json, csv and so on   something to look at: output, a file, a drawing
//
// A command that readers do not see stands in a comment: what has to be so before
// the next block makes sense.
//
//	<!-- first: curl -X POST '127.0.0.1:9002/freeze?zone=z7' -->
//
// So does the name of a block that is a file, which the commands behind it find
// where they are run:
//
//	<!-- file: stores.csv -->
//
// A block of another kind, or an indented block that holds a command, is an
// error that says what to write instead.
package pages

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Page is a Markdown file.
type Page struct {
	Path     string // relative to the root of the repository
	Blocks   []Block
	Links    []Link
	Headings []string // as anchors: "life-of-a-request"
	Tables   []Table
	Text     string
}

// Block is a code block.
type Block struct {
	Page  string
	Line  int      // of its first line of code
	Kind  string   // the first word behind the fence; "": none
	Words []string // the words after it
	Text  string
	File  string // its name, if a comment gives one

	Indented bool // by four spaces, without a fence
}

// Link is a link to another page, or to a heading.
type Link struct {
	Line   int
	Target string
}

// Table is a table that a comment stands before: <!-- options: zoneOptions -->.
type Table struct {
	Line int // of the comment
	Name string
	Rows [][]string // without the head
}

// All reads the README, everything below docs and the READMEs of the examples.
func All(root string) ([]*Page, error) {
	var all []*Page
	for _, pattern := range []string{"README.md", "CONTRIBUTING.md", "docs/*.md", "examples/*/README.md"} {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				return nil, err
			}
			name, err := filepath.Rel(root, file)
			if err != nil {
				return nil, err
			}
			all = append(all, Parse(filepath.ToSlash(name), string(text)))
		}
	}
	return all, nil
}

var (
	linkPattern    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	commentPattern = regexp.MustCompile(`^<!-- options: (\w+) -->$`)
	firstPattern   = regexp.MustCompile(`^<!-- first: (.+) -->$`)
	filePattern    = regexp.MustCompile(`^<!-- file: (\S+) -->$`)
	notAnchor      = regexp.MustCompile(`[^\p{L}\p{N}_ -]`)
	listItem       = regexp.MustCompile(`^\s*([-*+]|\d+[.)])\s`)
)

// Parse reads a page.
func Parse(path, text string) *Page {
	p := &Page{Path: path, Text: text}
	lines := strings.Split(text, "\n")
	inList, file := false, ""
	for i := 0; i < len(lines); {
		line := lines[i]
		trimmed := strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(trimmed, "```"):
			i = p.fenced(lines, i)
			p.Blocks[len(p.Blocks)-1].File, file = file, ""
			continue
		case strings.HasPrefix(line, "    ") && trimmed != "" && !inList && (i == 0 || strings.TrimSpace(lines[i-1]) == ""):
			i = p.indented(lines, i)
			continue
		case commentPattern.MatchString(trimmed):
			p.table(lines, i, commentPattern.FindStringSubmatch(trimmed)[1])
		case firstPattern.MatchString(trimmed):
			p.Blocks = append(p.Blocks, Block{Page: path, Line: i + 1, Kind: "sh", Text: firstPattern.FindStringSubmatch(trimmed)[1] + "\n"})
		case filePattern.MatchString(trimmed):
			file = filePattern.FindStringSubmatch(trimmed)[1]
		case strings.HasPrefix(line, "#"):
			p.Headings = append(p.Headings, anchor(line))
		}
		if trimmed != "" && !strings.HasPrefix(line, " ") {
			inList = listItem.MatchString(line)
		}
		for _, match := range linkPattern.FindAllStringSubmatch(line, -1) {
			p.Links = append(p.Links, Link{i + 1, match[1]})
		}
		i++
	}
	return p
}

// fenced reads the block whose fence is line i, and returns the line after it.
func (p *Page) fenced(lines []string, i int) int {
	margin := strings.Repeat(" ", len(lines[i])-len(strings.TrimLeft(lines[i], " ")))
	open := strings.TrimSpace(lines[i])
	fence := open[:len(open)-len(strings.TrimLeft(open, "`"))]
	words := strings.Fields(strings.TrimLeft(open, "`"))
	b := Block{Page: p.Path, Line: i + 2}
	if len(words) > 0 {
		b.Kind, b.Words = words[0], words[1:]
	}
	for i++; i < len(lines) && strings.TrimSpace(lines[i]) != fence; i++ {
		b.Text += strings.TrimPrefix(lines[i], margin) + "\n"
	}
	p.Blocks = append(p.Blocks, b)
	return i + 1
}

func (p *Page) indented(lines []string, i int) int {
	b := Block{Page: p.Path, Line: i + 1, Indented: true}
	for ; i < len(lines) && (strings.HasPrefix(lines[i], "    ") || strings.TrimSpace(lines[i]) == ""); i++ {
		b.Text += strings.TrimPrefix(lines[i], "    ") + "\n"
	}
	b.Text = strings.TrimRight(b.Text, "\n") + "\n"
	p.Blocks = append(p.Blocks, b)
	return i
}

func (p *Page) table(lines []string, i int, name string) {
	t := Table{Line: i + 1, Name: name}
	for i++; i < len(lines) && !strings.HasPrefix(lines[i], "|") && !strings.HasPrefix(lines[i], "#"); i++ {
	}
	for i += 2; i < len(lines) && strings.HasPrefix(lines[i], "|"); i++ {
		row := strings.ReplaceAll(lines[i], `\|`, "\x00")
		cells := strings.Split(strings.Trim(row, "|"), "|")
		for n := range cells {
			cells[n] = strings.TrimSpace(strings.ReplaceAll(cells[n], "\x00", "|"))
		}
		t.Rows = append(t.Rows, cells)
	}
	p.Tables = append(p.Tables, t)
}

// anchor is a heading as GitHub links to it.
func anchor(heading string) string {
	text := strings.ToLower(strings.TrimSpace(strings.TrimLeft(heading, "#")))
	return strings.ReplaceAll(notAnchor.ReplaceAllString(text, ""), " ", "-")
}

// shown are the kinds of blocks that are there to be looked at.
var shown = []string{
	"text", "json", "csv", "ini", "yaml", "http", "mermaid", "promql", "go", "php", "python", "ruby", "js", "javascript",
	"nginx", "html", "css", "markdown", "diff", "sql", "toml", "haproxy", "ndjson", "jsonl", "systemd", "dockerfile",
}

var command = regexp.MustCompile(`^\s*(\$ )?((bin/)?firebreak|caddy|xcaddy|curl|make|go run|go test) `)

// Check says what is wrong with a block's kind.
func (b *Block) Check() error {
	where := fmt.Sprintf("%s:%d", b.Page, b.Line)
	if b.Indented || b.Kind == "" {
		if first, _, _ := strings.Cut(b.Text, "\n"); strings.HasSuffix(first, "{") || strings.Contains(b.Text, "firebreak {") {
			return fmt.Errorf("%s: a Caddyfile that no test reads: fence it as ```caddyfile, with a second word if it is only a part (%s)", where, strings.Join(parts(), ", "))
		}
		for n, line := range strings.Split(b.Text, "\n") {
			if command.MatchString(line) {
				return fmt.Errorf("%s:%d: %q is a command that no test runs: fence the block as ```sh (run in order), or ```console (\"$ command\", then its output)", b.Page, b.Line+n, strings.TrimSpace(line))
			}
		}
		return nil
	}
	switch {
	case b.Kind == "sh" || b.Kind == "console" || slices.Contains(shown, b.Kind):
		return nil
	case b.Kind == "caddyfile":
		_, err := b.Caddyfile()
		return err
	}
	return fmt.Errorf("%s: no test knows what to do with a block of the kind %q: write ```sh for commands to run, ```console for commands with their output, ```caddyfile for configuration, or, for something that is only looked at, one of: %s",
		where, b.Kind, strings.Join(shown, ", "))
}
