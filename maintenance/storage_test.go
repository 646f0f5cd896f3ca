package maintenance_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"

	"github.com/firebreak-proxy/firebreak/maintenance"
	"github.com/firebreak-proxy/firebreak/maintenance/conformance"
)

func TestStorage(t *testing.T) {
	t.Parallel()
	conformance.Run(t, conformance.Options{}, func(t *testing.T) func() maintenance.Backend {
		dir := t.TempDir()
		return func() maintenance.Backend {
			return maintenance.NewStorage(&certmagic.FileStorage{Path: dir}, "firebreak")
		}
	})
}

// plugin is a storage that firebreak does not know: it has only its own lock.
type plugin struct{ *certmagic.FileStorage }

func TestStorageOfAPlugin(t *testing.T) {
	if testing.Short() {
		t.Log("the storage's own lock is polled every second; a short test has two writers")
	}
	dir := t.TempDir()
	open := func() *maintenance.Board {
		return maintenance.New(maintenance.Options{
			Backend: maintenance.NewStorage(plugin{&certmagic.FileStorage{Path: dir}}, "firebreak"), Timeout: 20 * time.Second,
		})
	}
	one, other := open(), open()
	for i, board := range []*maintenance.Board{one, other, one, other} {
		name := string(rune('a' + i))
		if _, _, err := board.Change(t.Context(), maintenance.Author{}, on(name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := one.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := one.View().State; s.Revision != 4 || len(s.Switches) != 4 {
		t.Errorf("revision %d with %d switches, want 4 with 4", s.Revision, len(s.Switches))
	}
}

func on(stores ...string) *maintenance.Edit {
	edit := new(maintenance.Edit)
	for _, name := range stores {
		edit.Set = append(edit.Set, maintenance.Switch{Target: maintenance.Target{Scope: maintenance.Store, Name: name}})
	}
	return edit
}

func off(stores ...string) *maintenance.Edit {
	edit := new(maintenance.Edit)
	for _, name := range stores {
		edit.Clear = append(edit.Clear, maintenance.Target{Scope: maintenance.Store, Name: name})
	}
	return edit
}

func mustChange(t *testing.T, b *maintenance.Board, edit *maintenance.Edit) *maintenance.State {
	t.Helper()
	s, _, err := b.Change(t.Context(), maintenance.Author{By: "ann"}, edit)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestStorageDamaged breaks one file after another: nothing crashes, what is
// broken is named, and the rest works.
func TestStorageDamaged(t *testing.T) {
	for name, test := range map[string]struct {
		damage func(dir string) error
		want   int    // switches that a newcomer still sees, of 100
		named  string // in the corrupt records
	}{
		"head":             {replace("head.json", "no JSON"), 100, "head.json"},
		"empty head":       {replace("head.json", ""), 100, "head.json"},
		"a change":         {replace("changes/00000000000000000070.json", "{"), 99, "70.json"},
		"a change missing": {remove("changes/00000000000000000070.json"), 99, "70.json"},
		"a line of base":   {replaceLine("base.ndjson", 5, "broken"), 99, "base.ndjson: line 6"},
		"base":             {replace("base.ndjson", "broken"), 100, "base.ndjson"},
		"a bad switch":     {replaceLine("base.ndjson", 5, `{"scope":"store","name":"","mode":"full"}`), 99, "needs a name"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			open := func() *maintenance.Board {
				return maintenance.New(maintenance.Options{Backend: maintenance.NewStorage(&certmagic.FileStorage{Path: dir}, "fb")})
			}
			writer := open()
			for i := range 100 {
				mustChange(t, writer, on(string(rune('a'+i%26))+strings.Repeat("x", i/26)))
			}
			if err := test.damage(filepath.Join(dir, "fb")); err != nil {
				t.Fatal(err)
			}
			newcomer := open()
			if err := newcomer.Load(t.Context()); err != nil {
				t.Fatal(err)
			}
			view := newcomer.View()
			var names []string
			for _, c := range view.Corrupt {
				names = append(names, c.Record+": "+c.Error)
			}
			if len(view.State.Switches) != test.want || !strings.Contains(strings.Join(names, "\n"), test.named) {
				t.Errorf("%d switches, corrupt %v; want %d and %q named", len(view.State.Switches), names, test.want, test.named)
			}
			after := mustChange(t, newcomer, on("new"))
			if len(after.Switches) != test.want+1 {
				t.Errorf("%d switches after one more, want %d", len(after.Switches), test.want+1)
			}
		})
	}
}

func replace(name, text string) func(string) error {
	return func(dir string) error { return os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600) }
}

func remove(name string) func(string) error {
	return func(dir string) error { return os.Remove(filepath.Join(dir, name)) }
}

func replaceLine(name string, n int, text string) func(string) error {
	return func(dir string) error {
		path := filepath.Join(dir, name)
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		lines := strings.Split(string(data), "\n")
		lines[n] = text
		return os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o600)
	}
}

// hangs is a storage that answers nothing, like files on a dead server.
type hangs struct {
	*certmagic.FileStorage
	on chan struct{} // closed when it answers again
}

func (h hangs) Load(ctx context.Context, key string) ([]byte, error) {
	<-h.on
	return h.FileStorage.Load(ctx, key)
}

func TestStorageHangs(t *testing.T) {
	storage := hangs{&certmagic.FileStorage{Path: t.TempDir()}, make(chan struct{})}
	board := maintenance.New(maintenance.Options{Backend: maintenance.NewStorage(storage, "fb"), Timeout: 20 * time.Millisecond})
	began := time.Now()
	for range 50 {
		if err := board.Sync(t.Context()); err == nil {
			t.Fatal("no error from a storage that hangs")
		}
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("50 attempts took %s", took)
	}
	if !board.View().Stale {
		t.Error("not stale")
	}
	close(storage.on)
	time.Sleep(50 * time.Millisecond)
	if err := board.Sync(t.Context()); err != nil {
		t.Errorf("after it answers again: %v", err)
	}
}
