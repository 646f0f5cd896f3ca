//go:build e2e

package e2e_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/internal/pages"
)

const (
	// keysPerMinute is how fast somebody types who is not used to it.
	keysPerMinute = 150

	typingLimit = 5 * time.Minute
)

// TestNewcomer is somebody who has a clean clone and docs/getting-started.md:
// every command of its first part is typed and waited for, from make run to the
// outage that is seen and healed.
func TestNewcomer(t *testing.T) {
	clone := cleanClone(t)
	commands := firstPart(t, clone)
	s := newDocsStage(t, clone)
	var typed, waits int
	var waited time.Duration
	for _, c := range commands {
		line, _, _ := strings.Cut(c.Text, "   #")
		typed += len(strings.TrimSpace(line)) + 1
		began := time.Now()
		switch {
		case strings.HasPrefix(c.Text, "git clone"), strings.HasPrefix(c.Text, "cd "):
			continue // done; typed all the same
		case c.Text == "make run":
			s.play("make", "run")
		default:
			wrong := s.try(c)
			for wrong != "" && readsOnly(c.Text) && time.Since(began) < 12*time.Second {
				time.Sleep(200 * time.Millisecond)
				wrong = s.try(c)
			}
			if wrong != "" {
				t.Fatalf("%s:%d: %s\n%s", c.Page, c.Line, c.Text, wrong)
			}
		}
		waits++
		waited += time.Since(began)
	}
	typing := time.Duration(float64(typed) / keysPerMinute * float64(time.Minute))
	figure(t, "%d commands, %d keys: %.1f minutes of typing at %d keys a minute, %.0f s of waiting (with Go's modules downloaded)",
		len(commands), typed, typing.Minutes(), keysPerMinute, waited.Seconds())
	if typing > typingLimit {
		t.Errorf("a newcomer types for %s, more than %s", typing, typingLimit)
	}
	if waits < 10 {
		t.Errorf("only %d commands were run", waits)
	}
}

// cleanClone copies what git knows of the working tree.
func cleanClone(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "firebreak")
	if err := os.Mkdir(dir, 0o755); err != nil {
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
	return dir
}

// firstPart is the commands up to the heading that leaves the example.
func firstPart(t *testing.T, clone string) (commands []pages.Command) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(clone, "docs", "getting-started.md"))
	if err != nil {
		t.Fatal(err)
	}
	part, _, found := strings.Cut(string(text), "\n## Your own API server")
	if !found {
		t.Fatal("docs/getting-started.md has no heading \"Your own API server\"")
	}
	for _, b := range pages.Parse("docs/getting-started.md", part).Blocks {
		commands = append(commands, b.Commands()...)
	}
	return commands
}
