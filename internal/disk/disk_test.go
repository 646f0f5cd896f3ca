package disk_test

import (
	"os"
	"path/filepath"
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
