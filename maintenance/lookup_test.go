package maintenance_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/firebreak-proxy/firebreak/maintenance"
)

// switched is a board with n switched stores and a switched zone.
func switched(tb testing.TB, n int) *maintenance.Board {
	tb.Helper()
	b := maintenance.New(maintenance.Options{Backend: newMemory()})
	for first := 0; first < n; first += maintenance.MaxTargets {
		edit := new(maintenance.Edit)
		for i := first; i < min(n, first+maintenance.MaxTargets); i++ {
			edit.Set = append(edit.Set, maintenance.Switch{Target: maintenance.Target{Scope: maintenance.Store, Name: fmt.Sprintf("store-%06d", i)}, Reason: "moving to z9", By: "ann"})
		}
		if _, _, err := b.Change(tb.Context(), maintenance.Author{}, edit); err != nil {
			tb.Fatal(err)
		}
	}
	return b
}

func TestLookupAllocatesNothing(t *testing.T) {
	b := switched(t, 1000)
	if n := testing.AllocsPerRun(1000, func() { b.Lookup("z1", "store-000500"); b.Lookup("z1", "nobody") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkLookup(b *testing.B) {
	none := maintenance.New(maintenance.Options{Backend: newMemory()})
	b.Run("nothing switched", func(b *testing.B) {
		for b.Loop() {
			none.Lookup("z1", "store-000500")
		}
	})
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	many := switched(b, 100_000)
	runtime.GC()
	runtime.ReadMemStats(&after)
	names := make([]string, 1<<16)
	for i := range names {
		names[i] = fmt.Sprintf("store-%06d", i*7%200_000)
	}
	b.Run("100,000 stores switched", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			many.Lookup("z1", names[i&(1<<16-1)])
		}
		// The backend of the benchmark holds the same switches once more, but
		// for the names and texts, which it shares.
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/100_000, "B/switch")
	})
}

// TestSortedAfter wants pages to go on where the last one ended, whether its
// last switch is still there or not.
func TestSortedAfter(t *testing.T) {
	s := &maintenance.State{Switches: map[maintenance.Target]maintenance.Switch{}}
	for _, key := range []string{"store/b", "all", "store/a", "zone/z1", "store/d"} {
		target, err := maintenance.ParseKey(key)
		if err != nil {
			t.Fatal(err)
		}
		s.Switches[target] = maintenance.Switch{Target: target}
	}
	for after, want := range map[string]string{
		"all": "zone/z1 store/a store/b store/d", "zone/z0": "zone/z1 store/a store/b store/d", "zone/z1": "store/a store/b store/d",
		"store/a": "store/b store/d", "store/c": "store/d", "store/d": "", "store/x": "",
	} {
		target, err := maintenance.ParseKey(after)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, sw := range s.SortedAfter(target) {
			got = append(got, sw.Key())
		}
		if strings.Join(got, " ") != want {
			t.Errorf("after %s: %q, want %q", after, got, want)
		}
	}
}
