//go:build e2e

package e2e_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	docpages "github.com/firebreak-proxy/firebreak/internal/pages"
)

const (
	// keysPerMinute is the typing speed of a slow typist.
	keysPerMinute = 150

	typingLimit = 5 * time.Minute
)

// TestNewcomer follows docs/getting-started.md in a clean clone:
// every command of its first part is typed and waited for, from make run to the
// outage that is seen and healed.
func TestNewcomer(t *testing.T) {
	t.Parallel()
	origin := cleanClone(t)
	commands := part(t, origin, "docs/getting-started.md", "## An outage, seen", "## Your own API server")
	s := newDocsStage(t, "root", docsHome(t, origin)) // root, whose Go has its modules
	typed := 0
	began := time.Now()
	for _, c := range commands {
		typed += keys(c)
		s.follow(c)
	}
	waited := time.Since(began)
	typing(t, "getting started", len(commands), typed)
	figure(t, "%.0f s of waiting, with Go's modules downloaded", waited.Seconds())
	shortcut := part(t, origin, "README.md", "## Try it", "## Use it")
	typed = 0
	for _, c := range shortcut {
		typed += keys(c)
	}
	typing(t, "the README alone", len(shortcut), typed) // TestDocs runs these
	if len(commands) < 10 {
		t.Errorf("only %d commands were run", len(commands))
	}
}

// cleanClone copies what git knows of the working tree to a repository of its own.
func cleanClone(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp(world.dir, "clone-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	files := exec.Command("git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	files.Dir = ".."
	list, err := files.Output()
	if err != nil {
		t.Fatal(err)
	}
	copied := 0
	for name := range strings.SplitSeq(strings.TrimRight(string(list), "\x00"), "\x00") {
		info, err := os.Lstat(filepath.Join("..", name))
		if err != nil || !info.Mode().IsRegular() {
			continue // deleted, but not yet committed
		}
		text, err := os.ReadFile(filepath.Join("..", name))
		if err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, text, info.Mode().Perm()); err != nil {
			t.Fatal(err)
		}
		copied++
	}
	if copied < 100 {
		t.Fatalf("the clone has %d files only", copied)
	}
	run(t, "git", "-C", dir, "init", "--quiet", "--initial-branch=main")
	run(t, "git", "-C", dir, "add", "--all", "--force")
	run(t, "git", "-C", dir, "-c", "user.name=Ann", "-c", "user.email=ann@example.com", "commit", "--quiet", "--message=all")
	return dir
}

// keys is how many keys a command takes, the last of them enter.
func keys(c docpages.Command) int {
	line, _, _ := strings.Cut(c.Text, "   #")
	return len(strings.TrimSpace(line)) + 1
}

// typing reports how long somebody types.
func typing(t *testing.T, what string, commands, keys int) {
	t.Helper()
	length := time.Duration(float64(keys) / keysPerMinute * float64(time.Minute))
	figure(t, "%s: %d commands, %d keys, %.1f minutes of typing at %d keys a minute", what, commands, keys, length.Minutes(), keysPerMinute)
	if length > typingLimit {
		t.Errorf("%s: a newcomer types for %s, more than %s", what, length, typingLimit)
	}
}

// part is the commands between two headings of a page.
func part(t *testing.T, clone, page, from, to string) (commands []docpages.Command) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(clone, page))
	if err != nil {
		t.Fatal(err)
	}
	_, after, found := strings.Cut(string(text), "\n"+from)
	inside, _, ends := strings.Cut(after, "\n"+to)
	if !found || !ends {
		t.Fatalf("%s has no headings %q and %q", page, from, to)
	}
	for _, b := range docpages.Parse(page, inside).Blocks {
		commands = append(commands, b.Commands()...)
	}
	return commands
}
