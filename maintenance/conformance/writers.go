package conformance

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/firebreak-proxy/firebreak/maintenance"
)

// testWriters lets 20 boards change the same switches at once. Whatever they
// do: every change that was acknowledged is in the history exactly once, no
// revision is missing, and the history adds up to the state.
func testWriters(t *testing.T, open func() maintenance.Backend) {
	const writers = 20
	boards := make([]*maintenance.Board, writers)
	for i := range boards {
		boards[i] = maintenance.New(maintenance.Options{Backend: open(), ID: fmt.Sprint("writer", i), Timeout: 10 * time.Second})
		if err := boards[i].Load(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	began, count := time.Now(), 0
	rapid.Check(t, func(r *rapid.T) {
		if time.Since(began) > 20*time.Second {
			return // enough rounds
		}
		before := read(t, open(), maintenance.Head{})
		edits := rapid.SliceOfN(rapid.Custom(genEdit), writers, writers).Draw(r, "edits")
		acknowledged := make([]*maintenance.Change, writers)
		var work sync.WaitGroup
		for i, edit := range edits {
			work.Go(func() {
				_, change, err := boards[i].Change(t.Context(), maintenance.Author{By: fmt.Sprint(i)}, edit)
				if err != nil {
					t.Errorf("writer %d: %v", i, err)
				}
				acknowledged[i] = change
			})
		}
		work.Wait()
		count++
		checkHistory(r, open(), before, acknowledged)
	})
	t.Logf("%d rounds of %d writers in %s", count, writers, time.Since(began))
}

func genEdit(r *rapid.T) *maintenance.Edit {
	name := rapid.SampledFrom([]string{"a", "b", "c"})
	edit := new(maintenance.Edit)
	switch rapid.IntRange(0, 3).Draw(r, "what") {
	case 0:
		edit.Clear = []maintenance.Target{store(name.Draw(r, "cleared"))}
	case 1:
		zone := maintenance.Target{Scope: maintenance.Zone, Name: "z"}
		edit.Set = []maintenance.Switch{{Target: zone, Reason: name.Draw(r, "reason")}}
	case 2:
		edit.Release = []maintenance.Placed{{Store: name.Draw(r, "released"), Zone: "z"}}
	default:
		edit.Set = []maintenance.Switch{{Target: store(name.Draw(r, "set")), Reason: name.Draw(r, "reason")}}
	}
	return edit
}

// checkHistory adds the history up, from the state before to the state now.
func checkHistory(r *rapid.T, b maintenance.Backend, before *maintenance.Update, acknowledged []*maintenance.Change) {
	ctx := r.Context()
	after, err := b.Read(ctx, maintenance.Head{})
	if err != nil {
		r.Fatal(err)
	}
	made := int(after.Head.Revision - before.Head.Revision)
	history, err := b.History(ctx, made)
	if err != nil || len(history) != made {
		r.Fatalf("%d changes in the history, want %d: %v", len(history), made, err)
	}
	want := make(map[string]bool)
	for _, c := range acknowledged {
		if c != nil {
			want[c.Head.Change] = true
		}
	}
	state := make(map[maintenance.Target]maintenance.Switch)
	for _, sw := range before.Set {
		state[sw.Target] = sw
	}
	for i := len(history) - 1; i >= 0; i-- {
		c := history[i]
		if expected := after.Head.Revision - uint64(i); c.Revision != expected {
			r.Fatalf("revision %d in the history, want %d", c.Revision, expected)
		}
		if !want[c.Head.Change] {
			r.Fatalf("change %s at revision %d was made twice, or never acknowledged", c.Head.Change, c.Revision)
		}
		delete(want, c.Head.Change)
		for _, target := range c.Clear {
			delete(state, target)
		}
		for _, sw := range c.Set {
			state[sw.Target] = sw
		}
	}
	if len(want) > 0 {
		r.Fatalf("%d acknowledged changes are lost", len(want))
	}
	now := make(map[maintenance.Target]maintenance.Switch)
	for _, sw := range after.Set {
		now[sw.Target] = sw
	}
	if diff := cmp.Diff(state, now); diff != "" {
		r.Fatalf("the history does not add up to the state: -want +got:\n%s", diff)
	}
}

// testLostAndBack lets a backend forget: boards give it back what it had.
func testLostAndBack(t *testing.T, open func() maintenance.Backend) {
	w := &writer{t: t, b: open()}
	w.commit([]maintenance.Switch{full(store("a"), 1)})
	knows := func(u *maintenance.Update, err error) *maintenance.State {
		if err != nil {
			t.Fatal(err)
		}
		s := &maintenance.State{Head: u.Head, Switches: make(map[maintenance.Target]maintenance.Switch)}
		for _, sw := range u.Set {
			s.Switches[sw.Target] = sw
		}
		return s
	}
	behind := knows(w.b.Read(t.Context(), maintenance.Head{}))
	w.commit([]maintenance.Switch{full(store("b"), 2)})
	ahead := knows(w.b.Read(t.Context(), maintenance.Head{}))
	ahead.Head.Revision, ahead.Head.Change = 3, "lost" // the backend has lost revision 3
	ahead.Switches[store("c")] = full(store("c"), 3)
	for _, known := range []*maintenance.State{behind, ahead} {
		board := maintenance.New(maintenance.Options{Backend: open(), Known: known})
		if err := board.Load(t.Context()); err != nil && !errors.Is(err, maintenance.ErrConflict) {
			t.Fatal(err)
		}
	}
	if u := read(t, open(), maintenance.Head{}); u.Head != ahead.Head || len(u.Set) != 3 {
		t.Errorf("head %v with %d switches, want %v with 3", u.Head, len(u.Set), ahead.Head)
	}
}
