//go:build unix

package disk_test

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/firebreak-proxy/firebreak/internal/disk"
)

func TestLock(t *testing.T) {
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
