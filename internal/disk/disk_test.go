package disk_test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/firebreak-proxy/firebreak/internal/disk"
)

func TestReplace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	for _, want := range []string{"first, and longer", "second"} {
		if err := disk.Replace(path, []byte(want)); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("the file has %q, %v; want %q", got, err, want)
		}
	}
	if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != 1 {
		t.Errorf("something was left behind: %v", entries)
	}
	if err := disk.Replace(filepath.Join(path, "below"), nil); err == nil {
		t.Error("a file was taken for a folder")
	}
}

func TestLock(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no locks here")
	}
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := disk.Lock(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := disk.Lock(path); !errors.Is(err, disk.ErrLocked) {
		t.Errorf("a second lock: %v, want %v", err, disk.ErrLocked)
	}
	unlock()
	unlock, err = disk.Lock(path)
	if err != nil {
		t.Fatalf("after it was unlocked: %v", err)
	}
	unlock()
}
