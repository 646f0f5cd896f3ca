package maintenance_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/certmagic"

	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/maintenance"
	"github.com/firebreak-proxy/firebreak/maintenance/conformance"
)

// memory is a backend that keeps everything in memory, can be away, and has a
// clock of its own.
type memory struct {
	mu       sync.Mutex
	state    *maintenance.State
	log      []maintenance.Change
	away     error
	writes   int
	clock    func() time.Time
	records  map[string][]byte
	expires  map[string]time.Time
	closedBy int
}

func newMemory() *memory {
	return &memory{state: &maintenance.State{}, clock: time.Now, records: map[string][]byte{}, expires: map[string]time.Time{}}
}

func (m *memory) do(ctx context.Context, f func() error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := errors.Join(ctx.Err(), m.away); err != nil {
		return err
	}
	return f()
}

func (m *memory) Read(ctx context.Context, known maintenance.Head) (u *maintenance.Update, err error) {
	return u, m.do(ctx, func() error {
		u = &maintenance.Update{Head: m.state.Head, Absorbed: m.state.Absorbed, Now: m.clock()}
		if known != u.Head {
			u.All, u.Set = true, m.state.Sorted()
		}
		if known.Epoch == u.Head.Epoch && known.Revision+1 == u.Head.Revision && len(m.log) > 1 && m.log[len(m.log)-2].Head == known {
			c := m.log[len(m.log)-1]
			u.All, u.Set, u.Clear = false, c.Set, c.Clear
		}
		return nil
	})
}

func (m *memory) Commit(ctx context.Context, at maintenance.Head, c *maintenance.Change) error {
	return m.do(ctx, func() error {
		if m.state.Head != at {
			return maintenance.ErrConflict
		}
		m.writes++
		m.log = append(m.log, *c)
		next := &maintenance.State{Head: c.Head, Absorbed: m.state.Absorbed, Switches: map[maintenance.Target]maintenance.Switch{}}
		for target, sw := range m.state.Switches {
			next.Switches[target] = sw
		}
		for _, target := range c.Clear {
			delete(next.Switches, target)
		}
		for _, sw := range c.Set {
			next.Switches[sw.Target] = sw
		}
		if c.Absorbed != "" {
			next.Absorbed = append(slices.Clone(next.Absorbed), c.Absorbed)
		}
		m.state = next
		return nil
	})
}

func (m *memory) Restore(ctx context.Context, s *maintenance.State) error {
	return m.do(ctx, func() error {
		if !m.state.Empty() && (m.state.Epoch != s.Epoch || m.state.Revision >= s.Revision) {
			return maintenance.ErrConflict
		}
		m.writes++
		m.state = s
		return nil
	})
}

func (m *memory) History(ctx context.Context, limit int) (list []maintenance.Change, err error) {
	return list, m.do(ctx, func() error {
		list = slices.Clone(m.log[max(0, len(m.log)-min(limit, 1200)):])
		slices.Reverse(list)
		return nil
	})
}

func (m *memory) Watch(ctx context.Context, _ func()) { <-ctx.Done() }

func (m *memory) Publish(ctx context.Context, id string, record []byte, ttl time.Duration) (now time.Time, err error) {
	return now, m.do(ctx, func() error {
		m.writes++
		now = m.clock()
		m.records[id], m.expires[id] = record, now.Add(ttl)
		return nil
	})
}

func (m *memory) Withdraw(ctx context.Context, id string) error {
	return m.do(ctx, func() error { delete(m.records, id); return nil })
}

func (m *memory) Instances(ctx context.Context) (alive map[string][]byte, err error) {
	return alive, m.do(ctx, func() error {
		alive = make(map[string][]byte)
		for id, record := range m.records {
			if m.clock().Before(m.expires[id]) {
				alive[id] = record
			}
		}
		return nil
	})
}

func (m *memory) Close() error { m.closedBy++; return nil }

func (m *memory) set(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
}

// TestMemory shows that the backend of these tests is one.
func TestMemory(t *testing.T) {
	conformance.Run(t, conformance.Options{}, func(*testing.T) func() maintenance.Backend {
		m := newMemory()
		return func() maintenance.Backend { return m }
	})
}

// run runs a board within a bubble until the test ends.
func run(t *testing.T, o maintenance.Options) *maintenance.Board {
	t.Helper()
	b := maintenance.New(o)
	if err := b.Load(t.Context()); err != nil {
		t.Log("loading:", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { b.Run(ctx); close(done) }()
	t.Cleanup(func() { cancel(); <-done })
	return b
}

func target(scope maintenance.Scope, name string) maintenance.Target {
	return maintenance.Target{Scope: scope, Name: name}
}

func TestLookup(t *testing.T) {
	b := maintenance.New(maintenance.Options{Backend: newMemory()})
	mustChange(t, b, &maintenance.Edit{Set: []maintenance.Switch{
		{Target: target(maintenance.Zone, "full"), Except: []string{"out", "half"}},
		{Target: target(maintenance.Zone, "reads"), Mode: maintenance.ReadOnly},
		{Target: target(maintenance.Store, "dark")},
		{Target: target(maintenance.Store, "half"), Mode: maintenance.ReadOnly},
	}})
	check := func(zone, store, want string) {
		t.Helper()
		got := "nothing"
		if sw := b.Lookup(zone, store); sw != nil {
			got = sw.Target.String() + " " + string(sw.Mode)
		}
		if got != want {
			t.Errorf("%s in %s: %s holds, want %s", store, zone, got, want)
		}
	}
	check("free", "s", "nothing")
	check("full", "s", "zone full full")
	check("full", "out", "nothing")
	check("full", "half", "store half read_only")
	check("reads", "s", "zone reads read_only")
	check("reads", "dark", "store dark full")
	check("free", "dark", "store dark full")
	check("full", "dark", "store dark full")
	mustChange(t, b, &maintenance.Edit{Set: []maintenance.Switch{{Target: target(maintenance.All, ""), Except: []string{"vip"}}}})
	check("reads", "s", "all full")
	check("reads", "vip", "zone reads read_only")
	check("free", "vip", "nothing")
	check("free", "", "all full")
}

func TestFromAndUntil(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := run(t, maintenance.Options{Backend: newMemory()})
		now := b.Now()
		mustChange(t, b, &maintenance.Edit{Set: []maintenance.Switch{
			{Target: target(maintenance.Store, "a"), From: now.Add(time.Hour), Until: now.Add(2 * time.Hour)},
			{Target: target(maintenance.Store, "b"), Until: now.Add(time.Minute)},
		}})
		state := func() string {
			s := ""
			for _, name := range []string{"a", "b"} {
				if b.Lookup("z", name) != nil {
					s += name
				}
			}
			return s
		}
		for _, step := range []struct {
			at   time.Duration
			want string
		}{
			{0, "b"},
			{time.Minute - time.Millisecond, "b"},
			{time.Minute + time.Millisecond, ""},
			{time.Hour - time.Millisecond, ""},
			{time.Hour + time.Millisecond, "a"},
			{2*time.Hour - time.Millisecond, "a"},
			{2*time.Hour + time.Millisecond, ""},
		} {
			time.Sleep(time.Until(now.Add(step.at)))
			synctest.Wait()
			if got := state(); got != step.want {
				t.Errorf("after %s in maintenance: %q, want %q", step.at, got, step.want)
			}
		}
		var kinds []string
		for len(b.Events()) > 0 {
			e := <-b.Events()
			kinds = append(kinds, e.Kind+" "+e.Detail)
		}
		want := []string{"switch_set store a", "switch_set store b", "switch_expired store b", "switch_began store a", "switch_expired store a"}
		slices.Sort(kinds[:2])
		if !slices.Equal(kinds, want) {
			t.Errorf("events %v, want %v", kinds, want)
		}
		if got := len(b.View().State.Switches); got != 2 {
			t.Errorf("%d switches shown soon after they expired, want 2", got)
		}
		time.Sleep(2 * time.Hour)
		if s := mustChange(t, b, on("c")); len(s.Switches) != 1 {
			t.Errorf("%d switches an hour after the others expired, want 1", len(s.Switches))
		}
	})
}

// TestClockSkew: two sidecars whose clocks are ten minutes apart end a switch
// at the same moment, that of the backend.
func TestClockSkew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		var boards []*maintenance.Board
		for _, skew := range []time.Duration{-5 * time.Minute, 5 * time.Minute} {
			b := maintenance.New(maintenance.Options{Backend: m})
			b.SetWall(func() time.Time { return time.Now().Add(skew) })
			if err := b.Load(t.Context()); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() { b.Run(ctx); close(done) }()
			t.Cleanup(func() { cancel(); <-done })
			boards = append(boards, b)
		}
		began := time.Now()
		mustChange(t, boards[0], &maintenance.Edit{Set: []maintenance.Switch{{
			Target: target(maintenance.All, ""), From: boards[0].Now().Add(time.Minute), Until: boards[0].Now().Add(10 * time.Minute),
		}}})
		on, off := make([]time.Duration, 2), make([]time.Duration, 2)
		for at := time.Duration(0); at < 11*time.Minute; at += 50 * time.Millisecond {
			time.Sleep(time.Until(began.Add(at)))
			for i, b := range boards {
				switch held := b.Lookup("z", "s") != nil; {
				case held && on[i] == 0:
					on[i] = at
				case !held && on[i] != 0 && off[i] == 0:
					off[i] = at
				}
			}
		}
		for i := range boards {
			if (on[i]-time.Minute).Abs() > time.Second || (off[i]-10*time.Minute).Abs() > time.Second {
				t.Errorf("sidecar %d: on after %s, off after %s; want 1m and 10m", i, on[i], off[i])
			}
		}
		t.Logf("on after %v, off after %v", on, off)
	})
}

func TestBackendAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		b := run(t, maintenance.Options{Backend: m})
		mustChange(t, b, on("a"))
		m.set(func() { m.away = errors.New("gone fishing") })
		time.Sleep(3 * time.Second)
		if v := b.View(); !v.Stale || v.Problem == nil || b.Lookup("z", "a") == nil {
			t.Errorf("stale %v, problem %v, switch %v", v.Stale, v.Problem, b.Lookup("z", "a"))
		}
		if _, _, err := b.Change(t.Context(), maintenance.Author{}, on("b")); err == nil {
			t.Error("a change was acknowledged that is not kept")
		}
		if b.Lookup("z", "b") != nil {
			t.Error("a change that was not acknowledged is in force")
		}
		m.set(func() { m.away = nil })
		time.Sleep(2 * time.Second)
		if b.View().Stale {
			t.Error("still stale")
		}
		var kinds []string
		for len(b.Events()) > 0 {
			kinds = append(kinds, (<-b.Events()).Kind)
		}
		if want := []string{"switch_set", "state_stale", "state_synced"}; !slices.Equal(kinds, want) {
			t.Errorf("events %v, want %v", kinds, want)
		}
	})
}

// TestRestartWhileAway: the switches are back from the disk, and what a damaged
// disk still holds.
func TestRestartWhileAway(t *testing.T) {
	path := filepath.Join(t.TempDir(), "deep", "switches.ndjson")
	m := newMemory()
	func() {
		ctx, cancel := context.WithCancel(t.Context())
		b := maintenance.New(maintenance.Options{Backend: m, Snapshot: path})
		done := make(chan struct{})
		go func() { b.Run(ctx); close(done) }()
		mustChange(t, b, on("a", "b"))
		cancel()
		<-done
	}()
	m.away = errors.New("gone")
	after := maintenance.New(maintenance.Options{Backend: m, Snapshot: path})
	if err := after.Load(t.Context()); err == nil {
		t.Error("it does not say that the backend is away")
	}
	if after.Lookup("z", "a") == nil || !after.View().Stale {
		t.Error("the switches are not back, or not said to be stale")
	}
	if len(after.Events()) != 1 {
		t.Errorf("%d events; old switches are no news", len(after.Events()))
	}
	if err := os.WriteFile(path, []byte("broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	broken := maintenance.New(maintenance.Options{Backend: newMemory(), Snapshot: path})
	if err := broken.Load(t.Context()); err == nil {
		t.Error("nothing is said about a broken snapshot")
	}
}

func TestNewcomerWritesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		run(t, maintenance.Options{Backend: m})
		time.Sleep(time.Minute)
		if m.writes != 0 {
			t.Errorf("%d writes", m.writes)
		}
	})
}

// TestBackendForgets: the sidecar that knows most gives the backend its state
// back; one that knows less does not get in its way.
func TestBackendForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		ahead := run(t, maintenance.Options{Backend: m, ID: "ahead"})
		mustChange(t, ahead, on("a"))
		behind := run(t, maintenance.Options{Backend: m, ID: "behind", Sync: time.Hour})
		mustChange(t, ahead, on("b"))
		head := ahead.View().State.Head
		m.set(func() { m.state, m.log = &maintenance.State{}, nil })
		if err := behind.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		run(t, maintenance.Options{Backend: m, ID: "newcomer"})
		time.Sleep(5 * time.Second)
		m.set(func() { // beside the boards that poll it
			if m.state.Head != head || len(m.state.Switches) != 2 {
				t.Errorf("the backend has %v with %d switches, want %v with 2", m.state.Head, len(m.state.Switches), head)
			}
		})
	})
}

// TestForgottenAndBegunAnew: three sidecars remember what the backend has lost
// when somebody else begins anew: it is added once.
func TestForgottenAndBegunAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		var boards []*maintenance.Board
		for range 3 {
			boards = append(boards, run(t, maintenance.Options{Backend: m}))
		}
		mustChange(t, boards[0], on("a", "b"))
		time.Sleep(2 * time.Second)
		m.set(func() { m.state, m.log = &maintenance.State{}, nil })
		newcomer := maintenance.New(maintenance.Options{Backend: m})
		mustChange(t, newcomer, on("c"))
		time.Sleep(5 * time.Second)
		m.set(func() {
			if len(m.log) != 2 || len(m.state.Switches) != 3 {
				t.Errorf("%d changes, %d switches; want 2 and 3", len(m.log), len(m.state.Switches))
			}
			for i, b := range boards {
				if b.View().State.Head != m.state.Head {
					t.Errorf("sidecar %d applies %v, the backend has %v", i, b.View().State.Head, m.state.Head)
				}
			}
		})
		mustChange(t, newcomer, off("a"))
		time.Sleep(5 * time.Second)
		m.set(func() {
			if boards[1].Lookup("z", "a") != nil || len(m.log) != 3 {
				t.Errorf("a cleared switch comes back; %d changes", len(m.log))
			}
		})
	})
}

func TestChangeIsIdempotent(t *testing.T) {
	m := newMemory()
	b := maintenance.New(maintenance.Options{Backend: m})
	edit := func() *maintenance.Edit {
		return &maintenance.Edit{Set: []maintenance.Switch{{Target: target(maintenance.Zone, "z"), Reason: "r", RetryAfter: config.Duration(time.Minute), Except: []string{"b", "a", "b"}}}}
	}
	first := mustChange(t, b, edit())
	again, change, err := b.Change(t.Context(), maintenance.Author{By: "other"}, edit())
	if err != nil || change != nil || again.Revision != first.Revision {
		t.Errorf("the same again: revision %d, %v", again.Revision, err)
	}
	if _, change, _ := b.Change(t.Context(), maintenance.Author{}, off("nobody")); change != nil {
		t.Error("clearing nothing made a change")
	}
	later := edit()
	later.Set[0].Reason = "other"
	if s := mustChange(t, b, later); !s.Switches[target(maintenance.Zone, "z")].Since.Equal(first.Switches[target(maintenance.Zone, "z")].Since) {
		t.Error("since moved although the zone was in maintenance all the time")
	}
}

func TestRelease(t *testing.T) {
	b := maintenance.New(maintenance.Options{Backend: newMemory()})
	mustChange(t, b, &maintenance.Edit{Set: []maintenance.Switch{{Target: target(maintenance.Zone, "z")}, {Target: target(maintenance.All, "")}, {Target: target(maintenance.Store, "a")}}})
	mustChange(t, b, &maintenance.Edit{Release: []maintenance.Placed{{Store: "a", Zone: "z"}, {Store: "b", Zone: "z"}, {Store: "c", Zone: "other"}}})
	for store, want := range map[string]bool{"a": false, "b": false, "d": true} {
		if got := b.Lookup("z", store) != nil; got != want {
			t.Errorf("%s in maintenance: %v, want %v", store, got, want)
		}
	}
	if b.Lookup("other", "c") != nil || b.Lookup("other", "x") == nil {
		t.Error("other zones")
	}
	if got := b.View().State.Switches[target(maintenance.Zone, "z")].Except; !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("exceptions of z: %v", got)
	}
}

func TestFleet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		describe := func() maintenance.Instance { return maintenance.Instance{Host: "h", Workers: 32} }
		one := run(t, maintenance.Options{Backend: m, ID: "one", Describe: describe})
		slow := run(t, maintenance.Options{Backend: m, ID: "slow", Describe: describe, Sync: time.Hour})
		dead := maintenance.New(maintenance.Options{Backend: m, ID: "dead", Describe: describe})
		ctx, cancel := context.WithCancel(t.Context())
		go dead.Run(ctx)
		time.Sleep(time.Second)
		m.set(func() { m.records["broken"], m.expires["broken"] = []byte("{"), m.clock().Add(time.Hour) })
		mustChange(t, one, on("a"))
		time.Sleep(2 * time.Second) // a poll, and what each does to tell of it
		fleet, err := one.Fleet(t.Context())
		if err != nil || fleet.Summary() != "2 of 3 apply revision 1" || len(fleet.Corrupt) != 1 {
			t.Errorf("fleet: %s, corrupt %v, %v", fleet.Summary(), fleet.Corrupt, err)
		}
		cancel()
		time.Sleep(time.Second)
		if fleet, _ = one.Fleet(t.Context()); fleet.Total != 2 {
			t.Errorf("%d sidecars after one left, want 2", fleet.Total)
		}
		m.set(func() { m.away = errors.New("gone") })
		if fleet, err = slow.Fleet(t.Context()); err == nil || fleet.Total != 1 {
			t.Errorf("with the backend away: %d sidecars, %v; want at least itself", fleet.Total, err)
		}
	})
}

func TestBatchIsBounded(t *testing.T) {
	b := maintenance.New(maintenance.Options{Backend: maintenance.NewStorage(&certmagic.FileStorage{Path: t.TempDir()}, "fb")})
	stores := make([]string, maintenance.MaxTargets+1)
	for i := range stores {
		stores[i] = "s" + string(rune('a'+i%26)) + time.Duration(i).String()
	}
	var invalid *maintenance.InvalidError
	if _, _, err := b.Change(t.Context(), maintenance.Author{}, on(stores...)); !errors.As(err, &invalid) {
		t.Errorf("one switch too many: %v", err)
	}
}
