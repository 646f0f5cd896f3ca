package stores_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/firebreak-proxy/firebreak/examples/outage/stores"
)

func TestTheTableIsReadAsItWasWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stores.csv")
	if err := stores.WriteFile(path, 12); err != nil {
		t.Fatal(err)
	}
	zoneOf, err := stores.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(zoneOf) != 1200 {
		t.Errorf("want 1200 stores, got %d", len(zoneOf))
	}
	for store, want := range map[string]string{"s0001": "z1", "s0100": "z1", "s0601": "z7", "s1200": "z12"} {
		if got := zoneOf[store]; got != want {
			t.Errorf("%s: want %s, got %q", store, want, got)
		}
	}
}

func TestBrokenTables(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"one column": "store\ns1\n",
		"ragged":     "store,zone\ns1,z1\ns2\n",
	} {
		path := filepath.Join(dir, strings.ReplaceAll(name, " ", "-"))
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := stores.ReadFile(path); err == nil {
			t.Errorf("%s: want an error, got none", name)
		}
	}
	if _, err := stores.ReadFile(filepath.Join(dir, "missing")); err == nil {
		t.Error("missing file: want an error, got none")
	}
}
