package routing_test

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/firebreak-proxy/firebreak/routing"
)

func TestBuilder(t *testing.T) {
	b := routing.NewBuilder()
	must(t, b.Add(1, "s1", "z1", []string{"k1"}))
	for _, c := range []struct {
		store, zone string
		keys        []string
		want        string
	}{
		{"s1", "z2", nil, `store "s1" is in zone "z2" here but in zone "z1" in row 1`},
		{"s2", "z1", []string{"k1"}, `key "k1" of store "s2" already belongs to store "s1" in row 1`},
		{"", "z1", nil, "store is empty"},
		{"s3", "", nil, "zone is empty"},
	} {
		if err := b.Add(2, c.store, c.zone, c.keys); err == nil || err.Error() != c.want {
			t.Errorf("%v, want %s", err, c.want)
		}
	}
}

// names are all names of a table and what they lead to.
func names(t *routing.Table) map[string]routing.Route {
	all := make(map[string]routing.Route)
	t.EachName(func(name string, route routing.Route) bool {
		all[name] = route
		return true
	})
	return all
}

// anyTable is a table of names that are hard on CSV.
func anyTable(t *rapid.T) *routing.Table {
	name := rapid.StringMatching(`[a-c,"#é;\\]( ?[a-c,"'.]){0,3}`)
	b := routing.NewBuilder()
	for range rapid.IntRange(0, 30).Draw(t, "rows") {
		zone := rapid.SampledFrom([]string{"z1", "z2", "A.b_c-d"}).Draw(t, "zone")
		// Rows that contradict others are left out.
		_ = b.Add(0, name.Draw(t, "store"), zone, rapid.SliceOfN(name, 0, 3).Draw(t, "keys"))
	}
	_ = b.Add(0, "one at least", "z1", nil)
	return b.Table()
}

// TestSaveTable: what was saved is loaded, by any version of it.
func TestSaveTable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "stores.csv")
	rapid.Check(t, func(rt *rapid.T) {
		table := anyTable(rt)
		if err := routing.SaveTable(path, table); err != nil {
			rt.Fatal(err)
		}
		loaded, at, err := routing.LoadTable(path)
		if err != nil {
			rt.Fatal(err)
		}
		if diff := cmp.Diff(names(table), names(loaded)); diff != "" {
			rt.Fatalf("-saved +loaded:\n%s", diff)
		}
		if table.Digest() != loaded.Digest() {
			rt.Fatal("the digests differ")
		}
		if since := time.Since(at); since < -time.Minute || since > time.Minute {
			rt.Fatalf("saved %s ago", since)
		}
	})
	info, err := os.Stat(path)
	must(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, want 0600", info.Mode())
	}
	if left, _ := filepath.Glob(path + ".*"); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestLoadTableMissing(t *testing.T) {
	table, _, err := routing.LoadTable(filepath.Join(t.TempDir(), "none.csv"))
	if table != nil || err != nil {
		t.Errorf("%v, %v, want nothing", table, err)
	}
}

// TestSaveTableFails: a table that cannot be written leaves the old one alone.
func TestSaveTableFails(t *testing.T) {
	b := routing.NewBuilder()
	must(t, b.Add(1, "s1", "z1", nil))
	blocked := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(blocked, nil, 0o600))
	if err := routing.SaveTable(filepath.Join(blocked, "stores.csv"), b.Table()); err == nil || !strings.Contains(err.Error(), "saving the table of stores") {
		t.Errorf("%v", err)
	}
}

// TestDigest: the order of the source does not count, everything else does.
func TestDigest(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		table := anyTable(rt)
		all := names(table)
		again := routing.NewBuilder()
		for _, name := range rapid.Permutation(slices.Sorted(maps.Keys(all))).Draw(rt, "order") {
			if err := again.Add(0, all[name].Store, all[name].Zone, []string{name}); err != nil {
				rt.Fatal(err)
			}
		}
		if table.Digest() != again.Table().Digest() {
			rt.Fatal("the order counts")
		}
		other := routing.NewBuilder()
		moved := rapid.SampledFrom(slices.Sorted(maps.Keys(all))).Draw(rt, "moved")
		for name, route := range all {
			if all[name].Store == all[moved].Store {
				route.Zone = "elsewhere"
			}
			if err := other.Add(0, route.Store, route.Zone, []string{name}); err != nil {
				rt.Fatal(err)
			}
		}
		if table.Digest() == other.Table().Digest() {
			rt.Fatal("a move does not count")
		}
	})
}
