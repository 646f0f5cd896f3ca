package caddymodule_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/firebreak-proxy/firebreak/internal/pages"
)

func allPages(t *testing.T) []*pages.Page {
	t.Helper()
	all, err := pages.All("..")
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 10 {
		t.Fatalf("found %d pages only", len(all))
	}
	return all
}

// TestDocsBlocks wants every code block of the documentation to be of a kind
// that some test executes, or that is there to be looked at.
func TestDocsBlocks(t *testing.T) {
	for _, p := range allPages(t) {
		for _, b := range p.Blocks {
			if err := b.Check(); err != nil {
				t.Error(err)
			}
			if b.Kind == "json" && !json.Valid([]byte(b.Text)) {
				t.Errorf("%s:%d: not valid JSON; if it is only a part, fence it as ```text", b.Page, b.Line)
			}
			if b.Kind == "json" && slices.Contains(b.Words, "caddy") {
				if err := caddy.StrictUnmarshalJSON([]byte(b.Text), new(caddy.Config)); err != nil {
					t.Errorf("%s:%d: no configuration of Caddy: %v", b.Page, b.Line, err)
				}
			}
		}
	}
}

// TestDocsCaddyfiles adapts and validates every Caddyfile of the documentation.
func TestDocsCaddyfiles(t *testing.T) {
	count := 0
	for _, p := range allPages(t) {
		for _, b := range p.Blocks {
			if b.Kind != "caddyfile" {
				continue
			}
			files, err := b.Caddyfile()
			if err != nil {
				t.Error(err)
			}
			for _, file := range files {
				count++
				t.Run(fmt.Sprintf("%s:%d", b.Page, b.Line), func(t *testing.T) {
					text, err := adapt(file)
					if err != nil {
						t.Fatalf("%v\n%s\nIf this is a part of a Caddyfile, say of what: ```caddyfile app, ```caddyfile zone, ```caddyfile site and so on", err, file)
					}
					setsOfDocs(t)
					validates(t, text)
				})
			}
		}
	}
	if count < 10 {
		t.Errorf("found %d Caddyfiles only", count)
	}
}

// TestExampleCaddyfiles adapts and validates the files of the examples.
func TestExampleCaddyfiles(t *testing.T) {
	var files []string
	for _, pattern := range []string{"../Caddyfile", "../examples/*/Caddyfile*"} {
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) == 0 {
			t.Fatal(pattern, err)
		}
		files = append(files, found...)
	}
	for _, file := range files {
		t.Run(strings.TrimPrefix(file, "../"), func(t *testing.T) {
			source, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			text, err := adapt(string(source))
			if err != nil {
				t.Fatal(err)
			}
			setsOfDocs(t)
			validates(t, text)
		})
	}
}

// setsOfDocs gives Caddyfiles what the machine they are for has.
func setsOfDocs(t *testing.T) {
	t.Helper()
	for _, name := range []string{"BYPASS_SECRET", "CHAT_TOKEN", "LOOKUP_TOKEN", "CHECK_TOKEN", "REDIS_PASSWORD"} {
		t.Setenv(name, "0123456789abcdef")
	}
}

// TestDocsLinks follows every link within the repository.
func TestDocsLinks(t *testing.T) {
	all := allPages(t)
	headings := make(map[string][]string)
	for _, p := range all {
		headings[p.Path] = p.Headings
	}
	for _, p := range all {
		for _, link := range p.Links {
			if strings.Contains(link.Target, "://") || strings.HasPrefix(link.Target, "mailto:") {
				continue
			}
			file, heading, _ := strings.Cut(link.Target, "#")
			target := p.Path
			if file != "" {
				target = filepath.ToSlash(filepath.Join(filepath.Dir(p.Path), file))
			}
			_, err := os.Stat(filepath.Join("..", target))
			switch known, isPage := headings[target]; {
			case err != nil:
				t.Errorf("%s:%d: a link to %s, which is not there", p.Path, link.Line, target)
			case heading != "" && isPage && !slices.Contains(known, heading):
				t.Errorf("%s:%d: %s has no heading %q (it has %s)", p.Path, link.Line, target, heading, strings.Join(known, ", "))
			}
		}
	}
}

// TestDocsIndex wants every page to be in the index.
func TestDocsIndex(t *testing.T) {
	files, err := filepath.Glob("../docs/*")
	if err != nil {
		t.Fatal(err)
	}
	index, err := os.ReadFile("../docs/README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		name := filepath.Base(file)
		info, err := os.Stat(file)
		if err != nil || info.IsDir() || name == "README.md" {
			continue
		}
		if !strings.Contains(string(index), "]("+name+")") {
			t.Errorf("docs/README.md: no line for the page %s: add \"- [title](%s): what it says\"", name, name)
		}
	}
}

// TestRunbookNames wants what the runbook quotes (log lines, events, metrics) to
// exist, and each log line that says what to do next to be there.
func TestRunbookNames(t *testing.T) {
	text, err := os.ReadFile("../docs/runbook.md")
	if err != nil {
		t.Fatal(err)
	}
	book := string(text)
	src := readSource(t)
	for _, message := range src.messages {
		if message.next && !strings.Contains(unwrapped(book), "`"+message.text+"`") {
			t.Errorf("docs/runbook.md: the log line %q, which says what to do next, is missing there: add it in backticks to the entry it belongs to", message.text)
		}
	}
	quoted := regexp.MustCompile(`(?m)^\| (log|event|metric) \| (.+) \|$`)
	found := 0
	for _, row := range quoted.FindAllStringSubmatch(book, -1) {
		for _, code := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(row[2], -1) {
			found++
			if !src.has(row[1], code[1]) {
				t.Errorf("docs/runbook.md quotes the %s %q, which does not exist", row[1], code[1])
			}
		}
	}
	if found < 15 {
		t.Errorf("docs/runbook.md quotes %d names only, in rows like \"| log | `message` |\"", found)
	}
}

// unwrapped joins the lines of paragraphs.
func unwrapped(text string) string { return strings.ReplaceAll(text, "\n", " ") }

// TestSystemdUnit wants the example's unit to be one that systemd takes, where
// there is a systemd, and its commands to be known to the binary.
func TestSystemdUnit(t *testing.T) {
	raw, err := os.ReadFile("../examples/systemd/firebreak.service")
	if err != nil {
		t.Fatal(err)
	}
	section, found := "", make(map[string]string)
	for n, line := range strings.Split(string(raw), "\n") {
		switch key, value, assigned := strings.Cut(line, "="); {
		case line == "" || strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "[") && strings.HasSuffix(line, "]"):
			section = line
		case !assigned || section == "" || strings.TrimSpace(key) != key:
			t.Errorf("line %d is no setting: %q", n+1, line)
		default:
			found[section+key] = value
		}
	}
	for key, want := range map[string]string{
		"[Service]Type": "notify", "[Service]ExecStart": "/usr/local/bin/firebreak run --config /etc/firebreak/Caddyfile",
		"[Service]ExecReload": "/usr/local/bin/firebreak reload --config /etc/firebreak/Caddyfile --force", "[Install]WantedBy": "multi-user.target",
	} {
		if found[key] != want {
			t.Errorf("%s is %q, want %q", key, found[key], want)
		}
	}
	verify, err := exec.LookPath("systemd-analyze")
	if err != nil {
		return // the settings were read above
	}
	// It wants the program to be there.
	unit := filepath.Join(t.TempDir(), "firebreak.service")
	text := strings.ReplaceAll(string(raw), "/usr/local/bin/firebreak", "/bin/true")
	if err := os.WriteFile(unit, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	// What it has to say of this machine is of no interest.
	if out, _ := exec.Command(verify, "verify", unit).CombinedOutput(); strings.Contains(string(out), "firebreak.service") {
		t.Errorf("systemd-analyze verify: %s", out)
	}
}
