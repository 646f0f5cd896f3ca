// Package conformance tests that a backend of package maintenance keeps its
// promises. Call [Run] from a test of the backend.
package conformance

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/firebreak-proxy/firebreak/maintenance"
)

// Options say what a backend can do.
type Options struct {
	// Watch is how soon a backend tells of changes; 0: it cannot tell.
	Watch time.Duration
}

// Run tests a backend. fresh empties the place behind it, or takes another,
// and returns a function that opens one more backend in that place, as one
// more sidecar would.
func Run(t *testing.T, o Options, fresh func(t *testing.T) (open func() maintenance.Backend)) {
	for name, test := range map[string]func(*testing.T, func() maintenance.Backend){
		"Empty":       testEmpty,
		"Commit":      testCommit,
		"Names":       testNames,
		"Deltas":      testDeltas,
		"Strangers":   testStrangers,
		"Batch":       testBatch,
		"Restore":     testRestore,
		"History":     testHistory,
		"Instances":   testInstances,
		"Cancel":      testCancel,
		"Writers":     testWriters,
		"LostAndBack": testLostAndBack,
	} {
		t.Run(name, func(t *testing.T) { test(t, fresh(t)) })
	}
	if o.Watch > 0 {
		t.Run("Watch", func(t *testing.T) { testWatch(t, fresh(t), o.Watch) })
	}
}

// Target makes a target of a store.
func store(name string) maintenance.Target {
	return maintenance.Target{Scope: maintenance.Store, Name: name}
}

func full(t maintenance.Target, revision uint64) maintenance.Switch {
	return maintenance.Switch{
		Target: t, Mode: maintenance.Full, Reason: fmt.Sprintf("at %d", revision), Revision: revision,
		Since: time.Date(2026, 7, 2, 12, 58, 0, 0, time.UTC),
	}
}

// writer makes changes one after another.
type writer struct {
	t    *testing.T
	b    maintenance.Backend
	head maintenance.Head
}

func (w *writer) next() maintenance.Head {
	h := maintenance.Head{Epoch: w.head.Epoch, Revision: w.head.Revision + 1, Change: fmt.Sprintf("change%d", w.head.Revision+1)}
	if w.head.Empty() {
		h.Epoch = "epoch" + strings.ToLower(strings.NewReplacer("/", "", "_", "").Replace(w.t.Name()))
	}
	return h
}

func (w *writer) commit(set []maintenance.Switch, clear ...maintenance.Target) {
	w.t.Helper()
	c := &maintenance.Change{Head: w.next(), At: time.Now(), Set: set, Clear: clear}
	if err := w.b.Commit(w.t.Context(), w.head, c); err != nil {
		w.t.Fatalf("revision %d: %v", c.Revision, err)
	}
	w.head = c.Head
}

func read(t *testing.T, b maintenance.Backend, known maintenance.Head) *maintenance.Update {
	t.Helper()
	u, err := b.Read(t.Context(), known)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// wantSwitches checks what a backend holds.
func wantSwitches(t *testing.T, u *maintenance.Update, want map[maintenance.Target]maintenance.Switch) {
	t.Helper()
	got := make(map[maintenance.Target]maintenance.Switch, len(u.Set))
	for _, sw := range u.Set {
		got[sw.Target] = sw
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); !u.All || diff != "" || len(u.Corrupt) > 0 {
		t.Errorf("all %v, corrupt %v, -want +got:\n%s", u.All, u.Corrupt, diff)
	}
}

func testEmpty(t *testing.T, open func() maintenance.Backend) {
	b := open()
	if u := read(t, b, maintenance.Head{}); !u.Head.Empty() || len(u.Set) > 0 {
		t.Errorf("an empty backend has %+v", u)
	}
	if u := read(t, b, maintenance.Head{Epoch: "other", Revision: 3, Change: "x"}); !u.Head.Empty() {
		t.Errorf("an empty backend has head %v", u.Head)
	}
	if h, err := b.History(t.Context(), 10); err != nil || len(h) > 0 {
		t.Errorf("history %v, %v", h, err)
	}
	if i, err := b.Instances(t.Context()); err != nil || len(i) > 0 {
		t.Errorf("instances %v, %v", i, err)
	}
}

func testCommit(t *testing.T, open func() maintenance.Backend) {
	one, other := &writer{t: t, b: open()}, open()
	one.commit([]maintenance.Switch{full(store("a"), 1)})
	if u := read(t, other, maintenance.Head{}); u.Head != one.head {
		t.Errorf("head is %v, want %v", u.Head, one.head)
	}
	stale := one.head
	one.commit([]maintenance.Switch{full(store("b"), 2)}, store("a"))
	wantSwitches(t, read(t, other, maintenance.Head{}), map[maintenance.Target]maintenance.Switch{store("b"): full(store("b"), 2)})
	for name, at := range map[string]maintenance.Head{
		"an earlier revision": stale,
		"none":                {},
		"another change":      {Epoch: one.head.Epoch, Revision: one.head.Revision, Change: "other"},
		"another epoch":       {Epoch: "other", Revision: one.head.Revision, Change: one.head.Change},
	} {
		c := &maintenance.Change{Head: maintenance.Head{Epoch: at.Epoch, Revision: at.Revision + 1, Change: "late"}, Set: []maintenance.Switch{full(store("c"), 9)}}
		if at.Empty() {
			c.Epoch = "new"
		}
		if err := other.Commit(t.Context(), at, c); !errors.Is(err, maintenance.ErrConflict) {
			t.Errorf("on top of %s: %v, want ErrConflict", name, err)
		}
	}
	if u := read(t, other, one.head); u.Head != one.head || len(u.Set) > 0 {
		t.Errorf("a refused change left %+v", u)
	}
}

func testNames(t *testing.T, open func() maintenance.Backend) {
	w := &writer{t: t, b: open()}
	want := make(map[maintenance.Target]maintenance.Switch)
	names := []string{
		"a", "A", "a/b", "a//b", "..", "../a", ".", "a b", " ", "\n", "ä", "a\u0308", "日本", "*", "%2F", `"`, `\`, "zone/z1", "all",
		strings.Repeat("x", 128), strings.Repeat("x", 127) + "y", "{a}", "head.json", "-1", "0",
	}
	for i, name := range names {
		for _, target := range []maintenance.Target{store(name), {Scope: maintenance.Zone, Name: name}} {
			sw := full(target, uint64(2*i))
			sw.Message, sw.By = name, name
			if target.Scope == maintenance.Zone {
				sw.Except = []string{name}
			}
			want[target] = sw
			w.commit([]maintenance.Switch{sw})
		}
	}
	for _, address := range []string{"10.0.0.7:9000", "[::1]:9000", "unix//run/api/1.sock", "unix/@abstract", "api-1.example.com:80", strings.Repeat("x", 290) + ":80"} {
		sw := full(maintenance.Target{Scope: maintenance.Server, Name: address}, w.head.Revision+1)
		sw.Mode = maintenance.Drain
		want[sw.Target] = sw
		w.commit([]maintenance.Switch{sw})
	}
	wantSwitches(t, read(t, w.b, maintenance.Head{}), want)
}

// testDeltas reads from every earlier head and gets to the same state.
func testDeltas(t *testing.T, open func() maintenance.Backend) {
	w, reader := &writer{t: t, b: open()}, open()
	type known struct {
		head  maintenance.Head
		state map[maintenance.Target]maintenance.Switch
	}
	state := make(map[maintenance.Target]maintenance.Switch)
	var heads []known
	for i := range 150 {
		a, b := store(fmt.Sprint("s", i%7)), store(fmt.Sprint("s", (i*3+1)%7))
		if i%5 == 4 && a != b {
			sw := full(a, w.head.Revision+1)
			w.commit([]maintenance.Switch{sw}, b)
			state[a] = sw
			delete(state, b)
		} else {
			sw := full(a, w.head.Revision+1)
			w.commit([]maintenance.Switch{sw})
			state[a] = sw
		}
		copied := make(map[maintenance.Target]maintenance.Switch, len(state))
		for target, sw := range state {
			copied[target] = sw
		}
		heads = append(heads, known{w.head, copied})
	}
	some := 0
	for _, k := range heads {
		u := read(t, reader, k.head)
		if !u.All {
			some++
			for _, target := range u.Clear {
				delete(k.state, target)
			}
		} else {
			clear(k.state)
		}
		for _, sw := range u.Set {
			k.state[sw.Target] = sw
		}
		if diff := cmp.Diff(state, k.state); u.Head != w.head || diff != "" {
			t.Fatalf("from revision %d to %d: -want +got:\n%s", k.head.Revision, u.Head.Revision, diff)
		}
	}
	if some == 0 {
		t.Error("a reader is never told only what has changed")
	}
}

// testStrangers reads from heads that are none of this state's.
func testStrangers(t *testing.T, open func() maintenance.Backend) {
	w := &writer{t: t, b: open()}
	for i := range 5 {
		w.commit([]maintenance.Switch{full(store(fmt.Sprint("s", i)), w.head.Revision+1)})
	}
	for name, head := range map[string]maintenance.Head{
		"another change of the same revision":  {Epoch: w.head.Epoch, Revision: w.head.Revision, Change: "other"},
		"another change of an earlier one":     {Epoch: w.head.Epoch, Revision: 3, Change: "other"},
		"another epoch":                        {Epoch: "other", Revision: 3, Change: "change3"},
		"another epoch and the same otherwise": {Epoch: "other", Revision: w.head.Revision, Change: w.head.Change},
		"a later revision":                     {Epoch: w.head.Epoch, Revision: 99, Change: "change99"},
	} {
		if u := read(t, w.b, head); !u.All || len(u.Set) != 5 || u.Head != w.head {
			t.Errorf("%s: all %v, %d switches, head %v", name, u.All, len(u.Set), u.Head)
		}
	}
}

func testBatch(t *testing.T, open func() maintenance.Backend) {
	w, reader := &writer{t: t, b: open()}, open()
	w.commit([]maintenance.Switch{full(store("first"), 1)})
	before := w.head
	batch := make([]maintenance.Switch, maintenance.MaxTargets)
	clears := make([]maintenance.Target, len(batch))
	for i := range batch {
		clears[i] = store(fmt.Sprintf("s%05d", i))
		batch[i] = full(clears[i], 2)
	}
	began := time.Now()
	w.commit(batch)
	t.Logf("%d switches set in %s", len(batch), time.Since(began))
	for _, known := range []maintenance.Head{{}, before} {
		u := read(t, reader, known)
		if want := len(batch) + map[bool]int{true: 1}[u.All]; len(u.Set) != want {
			t.Errorf("%d switches of a batch read, want %d", len(u.Set), want)
		}
	}
	w.commit(nil, clears...)
	if u := read(t, reader, maintenance.Head{}); len(u.Set) != 1 {
		t.Errorf("%d switches left of a batch that was cleared", len(u.Set)-1)
	}
	history, err := reader.History(t.Context(), 2)
	if err != nil || len(history) != 2 || max(len(history[0].Clear), history[0].ClearTotal) != len(batch) {
		t.Errorf("history of a batch: %d changes, %v", len(history), err)
	}
}

func testRestore(t *testing.T, open func() maintenance.Backend) {
	b := open()
	state := func(epoch string, revision uint64, stores ...string) *maintenance.State {
		s := &maintenance.State{
			Head:     maintenance.Head{Epoch: epoch, Revision: revision, Change: fmt.Sprint(epoch, revision)},
			Absorbed: []string{"e0"}, Switches: make(map[maintenance.Target]maintenance.Switch),
		}
		for _, name := range stores {
			s.Switches[store(name)] = full(store(name), revision)
		}
		return s
	}
	five := state("e1", 5, "a", "b")
	for _, step := range []struct {
		what  string
		state *maintenance.State
		want  error
		holds *maintenance.State
	}{
		{"into none", five, nil, five},
		{"the same again", five, maintenance.ErrConflict, five},
		{"an earlier one", state("e1", 4, "a"), maintenance.ErrConflict, five},
		{"another epoch", state("e2", 9, "c"), maintenance.ErrConflict, five},
		{"a later one", state("e1", 7, "b", "c"), nil, state("e1", 7, "b", "c")},
	} {
		if err := b.Restore(t.Context(), step.state); !errors.Is(err, step.want) {
			t.Fatalf("%s: %v, want %v", step.what, err, step.want)
		}
		u := read(t, b, maintenance.Head{})
		wantSwitches(t, u, step.holds.Switches)
		if u.Head != step.holds.Head || !slices.Equal(u.Absorbed, step.holds.Absorbed) {
			t.Errorf("%s: head %v, absorbed %v", step.what, u.Head, u.Absorbed)
		}
	}
	w := &writer{t: t, b: b, head: maintenance.Head{Epoch: "e1", Revision: 7, Change: "e17"}}
	w.commit([]maintenance.Switch{full(store("d"), 8)})
	if u := read(t, open(), maintenance.Head{Epoch: "e1", Revision: 5, Change: "e15"}); u.Head.Revision != 8 || u.All && len(u.Set) != 3 {
		t.Errorf("after a restore and a change: %+v", u)
	}
}

func testHistory(t *testing.T, open func() maintenance.Backend) {
	w := &writer{t: t, b: open()}
	const changes = 1300
	for range changes {
		w.commit([]maintenance.Switch{full(store("a"), w.head.Revision+1)})
	}
	history, err := open().History(t.Context(), 5000)
	if err != nil {
		t.Fatal(err)
	}
	if len(history) < 1000 || len(history) > 1290 {
		t.Errorf("%d changes kept, want at least 1,000 and not all %d", len(history), changes)
	}
	for i, c := range history {
		if want := uint64(changes - i); c.Revision != want || len(c.Set) != 1 {
			t.Fatalf("change %d is revision %d with %d switches, want %d with 1", i, c.Revision, len(c.Set), want)
		}
	}
	if short, err := w.b.History(t.Context(), 3); err != nil || len(short) != 3 || short[0].Revision != changes {
		t.Errorf("the latest three: %v, %v", short, err)
	}
	wantSwitches(t, read(t, w.b, maintenance.Head{}), map[maintenance.Target]maintenance.Switch{store("a"): full(store("a"), changes)})
}

func testInstances(t *testing.T, open func() maintenance.Backend) {
	one, other := open(), open()
	publish := func(b maintenance.Backend, id string, ttl time.Duration) {
		t.Helper()
		before := time.Now()
		now, err := b.Publish(t.Context(), id, []byte(fmt.Sprintf(`{"id":%q}`, id)), ttl)
		if err != nil {
			t.Fatal(err)
		}
		if !now.IsZero() && (now.Before(before.Add(-time.Second)) || now.After(time.Now().Add(time.Second))) {
			t.Errorf("the clock says %s, here it is %s", now, before)
		}
	}
	publish(one, "web1:7", time.Minute)
	publish(other, "we/b 2:7", time.Minute)
	publish(other, "dead", time.Second)
	publish(other, "gone", time.Minute)
	if err := other.Withdraw(t.Context(), "gone"); err != nil {
		t.Fatal(err)
	}
	time.Sleep(1500 * time.Millisecond)
	publish(one, "web1:7", time.Minute)
	records, err := one.Instances(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"web1:7": `{"id":"web1:7"}`, "we/b 2:7": `{"id":"we/b 2:7"}`}
	got := make(map[string]string)
	for id, record := range records {
		got[id] = string(record)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func testCancel(t *testing.T, open func() maintenance.Backend) {
	b := open()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c := &maintenance.Change{Head: maintenance.Head{Epoch: "e", Revision: 1, Change: "c"}}
	for name, do := range map[string]func() error{
		"Read":    func() error { _, err := b.Read(ctx, maintenance.Head{}); return err },
		"Commit":  func() error { return b.Commit(ctx, maintenance.Head{}, c) },
		"History": func() error { _, err := b.History(ctx, 1); return err },
		"Publish": func() error { _, err := b.Publish(ctx, "i", []byte("{}"), time.Second); return err },
	} {
		began := time.Now()
		if err := do(); err == nil {
			t.Errorf("%s with a context that has ended returns no error", name)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("%s with a context that has ended took %s", name, took)
		}
	}
}

func testWatch(t *testing.T, open func() maintenance.Backend, soon time.Duration) {
	w, watcher := &writer{t: t, b: open()}, open()
	ctx, cancel := context.WithCancel(t.Context())
	news, done := make(chan time.Time, 100), make(chan struct{})
	go func() {
		defer close(done)
		watcher.Watch(ctx, func() { news <- time.Now() })
	}()
	time.Sleep(500 * time.Millisecond) // until it listens
	for range 5 {
		for len(news) > 0 {
			<-news
		}
		began := time.Now()
		w.commit([]maintenance.Switch{full(store("a"), w.head.Revision+1)})
		select {
		case at := <-news:
			if took := at.Sub(began); took > soon {
				t.Errorf("told after %s, want %s", took, soon)
			}
		case <-time.After(5 * time.Second):
			t.Fatal("not told of a change")
		}
	}
	cancel()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		t.Error("Watch does not end with its context")
	}
}
