package recovery_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/maintenance"
	"github.com/firebreak-proxy/firebreak/recovery"
	"github.com/firebreak-proxy/firebreak/routing"
)

// memory is a state backend in memory.
type memory struct {
	maintenance.Backend // the rest is not asked for

	mu    sync.Mutex
	state *maintenance.State
	away  bool
	delay time.Duration
}

func (m *memory) Read(context.Context, maintenance.Head) (*maintenance.Update, error) {
	time.Sleep(m.delay)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.away {
		return nil, errors.New("the backend is away")
	}
	return &maintenance.Update{Head: m.state.Head, All: true, Set: m.state.Sorted()}, nil
}

func (m *memory) Commit(_ context.Context, at maintenance.Head, c *maintenance.Change) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.state.Head != at {
		return maintenance.ErrConflict
	}
	next := &maintenance.State{Head: c.Head, Switches: map[maintenance.Target]maintenance.Switch{}}
	for target, sw := range m.state.Switches {
		next.Switches[target] = sw
	}
	for _, target := range c.Clear {
		delete(next.Switches, target)
	}
	for _, sw := range c.Set {
		next.Switches[sw.Target] = sw
	}
	m.state = next
	return nil
}

// world is what jobs work in: a zone z1 of stores in maintenance, an API server
// that answers as it is told, and an oracle that looks for releases that were
// not earned. It counts checks whatever process they were of, but for those
// whose process was killed before it had the answer.
type world struct {
	t       *testing.T
	n       int
	dir     string
	backend *memory
	table   *routing.Table
	app     config.App
	times   int
	retries int

	mu       sync.Mutex
	sick     map[string]string // store → why it fails
	locked   map[string]bool   // store → its probes fail
	frozen   bool              // no probe passes
	noProbe  error             // why probes cannot be run
	probes   map[string]int
	hang     map[string]bool // store → its checks hang
	away     bool            // the API server cannot be reached
	takes    time.Duration   // a check
	checks   map[string]int
	order    []string // of first checks
	released map[string]time.Time
	worst    int // checks of one process at a time
	wrong    []string
	step     func()               // called at every step, for kills
	earned   map[string]int       // checks passed in a row and far enough apart
	failed   map[string]int       // checks failed in a row
	before   map[string][2]int    // earned and failed before the latest check
	repairs  map[string]int       // repairs begun
	asked    map[string]int       // of these, those that an earlier process has begun
	mending  map[string]bool      // whose repair is under way
	mend     time.Duration        // a repair takes
	hopeless map[string]bool      // cannot be repaired
	last     map[string]time.Time // when the latest check ended
	kills    bool                 // nothing but kills happens, so no check is to be repeated

	life *life
}

// life is one process.
type life struct {
	w     *world
	guard *breaker.Guard
	board *maintenance.Board
	jobs  *recovery.Jobs
	stop  context.CancelFunc

	dead   bool // guarded by w.mu, as all below
	flying int  // checks
	trying int  // probes
}

func newWorld(t *testing.T, n int, check config.StoreCheck) *world {
	t.Helper()
	w := &world{
		t: t, n: n, dir: t.TempDir(), backend: &memory{state: &maintenance.State{}}, takes: 10 * time.Millisecond,
		sick: map[string]string{}, locked: map[string]bool{}, probes: map[string]int{}, hang: map[string]bool{}, checks: map[string]int{}, released: map[string]time.Time{},
		earned: map[string]int{}, failed: map[string]int{}, before: map[string][2]int{}, last: map[string]time.Time{},
		repairs: map[string]int{}, asked: map[string]int{}, mending: map[string]bool{}, mend: time.Second, hopeless: map[string]bool{},
	}
	check.URI, check.To = "/check?key={store}", []string{"localhost:1"}
	w.app = config.App{Workers: 32, Check: &check, Zones: []config.Zone{{Name: "*", Timeout: config.Duration(2 * time.Second), OpenTime: config.Duration(10 * time.Second)}}}
	var err error
	if w.table, err = routing.NewInline([]routing.InlineZone{{Name: "z1", Stores: w.names()}, {Name: "z2", Stores: []string{"other"}}}); err != nil {
		t.Fatal(err)
	}
	w.begin()
	return w
}

func store(i int) string { return fmt.Sprintf("s%03d", i) } // s000, s001, ...

func (w *world) names() (all []string) {
	for i := range w.n {
		all = append(all, store(i))
	}
	return all
}

// begin begins a process.
func (w *world) begin() {
	w.t.Helper()
	policy, err := w.app.Policy()
	if err != nil {
		w.t.Fatal(err)
	}
	l := &life{w: w, guard: breaker.New(policy, breaker.Options{}), board: maintenance.New(maintenance.Options{Backend: w.backend})}
	_ = l.board.Load(w.t.Context()) // or later, by Run
	ctx, cancel := context.WithCancel(context.Background())
	l.stop = cancel
	go l.board.Run(ctx)
	l.jobs = recovery.New(recovery.Options{Checker: l, Repairer: l, Prober: l, Dir: w.dir})
	w.mu.Lock()
	w.life, w.times, w.retries = l, policy.Zone("z1").StoreCheck.Times, policy.Zone("z1").StoreCheck.Retries
	w.mu.Unlock()
	l.jobs.Use(&recovery.Deps{Guard: l.guard, Policy: policy, Directory: w.table, Board: l})
}

// isolate puts the zone into maintenance.
func (w *world) isolate() {
	w.t.Helper()
	_, _, err := w.life.board.Change(w.t.Context(), maintenance.Author{}, &maintenance.Edit{Set: []maintenance.Switch{{Target: zoneZ1}}})
	if err != nil {
		w.t.Fatal(err)
	}
}

var zoneZ1 = maintenance.Target{Scope: maintenance.Zone, Name: "z1"}

// end ends the process in good order.
func (w *world) end() {
	w.life.stop()
	w.life.jobs.Close()
	w.life.guard.Close()
}

// kill ends the process as SIGKILL does: what it had on disk stays as it was
// that moment, and from then on it can do nothing more. What is on disk may be
// changed before the next process begins.
func (w *world) kill(change ...func()) {
	w.t.Helper()
	synctest.Wait() // nothing is half written
	w.mu.Lock()
	w.life.dead = true
	old := w.life
	w.mu.Unlock()
	next := w.t.TempDir()
	files, _ := os.ReadDir(w.dir)
	for _, f := range files {
		if data, err := os.ReadFile(filepath.Join(w.dir, f.Name())); err == nil {
			if err := os.WriteFile(filepath.Join(next, f.Name()), data, 0o600); err != nil {
				w.t.Fatal(err)
			}
		}
	}
	w.dir = next
	go func() { // what a process leaves to the kernel
		old.stop()
		old.jobs.Close()
		old.guard.Close()
	}()
	for _, f := range change {
		f()
	}
	w.begin()
}

func (w *world) fault(format string, args ...any) {
	w.wrong = append(w.wrong, fmt.Sprintf(format, args...))
}

func (w *world) stepped() {
	w.mu.Lock()
	f := w.step
	w.mu.Unlock()
	if f != nil {
		f()
	}
}

// Check answers for the API server.
func (l *life) Check(slot *breaker.Slot, p *config.StoreCheckPolicy, _, store string) error {
	w := l.w
	w.stepped()
	w.mu.Lock()
	slot.Track()
	l.flying++
	w.worst = max(w.worst, l.flying)
	if w.checks[store]++; w.checks[store] == 1 {
		w.order = append(w.order, store)
	}
	if time.Since(w.last[store]) < p.Every {
		w.earned[store] = 0
	}
	if n := w.earned[store]; w.kills && n >= w.times {
		w.fault("store %s is checked again after %d passed checks in a row", store, n)
	}
	if n := w.failed[store]; w.kills && n > w.retries {
		w.fault("store %s is checked again after %d failed checks in a row", store, n)
	}
	hang, takes := w.hang[store], w.takes
	w.mu.Unlock()
	if hang {
		time.Sleep(p.Timeout)
		slot.Hang()
	} else {
		time.Sleep(takes)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	l.flying--
	if !l.dead {
		w.last[store], w.before[store] = time.Now(), [2]int{w.earned[store], w.failed[store]}
		switch {
		case w.away && !hang:
			w.earned[store] = 0
		case hang, w.sick[store] != "":
			w.earned[store] = 0
			w.failed[store]++
		default:
			w.earned[store]++
			w.failed[store] = 0
		}
		time.AfterFunc(time.Microsecond, w.stepped) // when the job has taken it in
	}
	switch {
	case hang:
		go func() { // its worker is killed after a while
			time.Sleep(20 * time.Second)
			slot.End(breaker.Broken)
		}()
		return errors.New("no answer in time")
	case w.away:
		slot.End(breaker.NoUpstream)
		return &recovery.UnreachableError{Err: errors.New("connection refused")}
	case w.sick[store] != "":
		slot.End(breaker.Failure)
		return errors.New(w.sick[store])
	}
	slot.End(breaker.OK)
	return nil
}

// Probe answers for the zone's database.
func (l *life) Probe(_ context.Context, _ string, _ *config.Check, store string, limit time.Duration) (breaker.Verdict, error) {
	w := l.w
	w.stepped()
	w.mu.Lock()
	w.probes[store]++
	if l.trying++; l.trying > 4 {
		w.fault("%d probes at a time", l.trying)
	}
	failing, away := w.frozen || w.locked[store], w.noProbe
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		l.trying--
	}()
	switch {
	case away != nil:
		return breaker.Unknown, away
	case failing:
		time.Sleep(limit)
		return breaker.Failed, errors.New("lock timeout")
	}
	time.Sleep(time.Millisecond)
	return breaker.Passed, nil
}

// Repair answers for the repair service, which goes on with a repair when the
// process that asked for it is killed.
func (l *life) Repair(_ *config.RepairPolicy, r recovery.Repair) error {
	w := l.w
	w.mu.Lock()
	if r.Begun {
		w.asked[r.Store]++
	} else {
		if w.repairs[r.Store]++; w.mending[r.Store] {
			w.fault("store %s is repaired twice at the same time", r.Store)
		}
		w.mending[r.Store] = true
		time.AfterFunc(w.mend, func() {
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.mending[r.Store] = false; !w.hopeless[r.Store] {
				delete(w.sick, r.Store)
			}
		})
	}
	w.mu.Unlock()
	for {
		time.Sleep(10 * time.Millisecond)
		w.mu.Lock()
		mending, hopeless := w.mending[r.Store], w.hopeless[r.Store]
		w.mu.Unlock()
		switch {
		case mending:
		case hopeless:
			return errors.New("status 422: no backup")
		default:
			return nil
		}
	}
}

// Change is the board's, watched by the oracle.
func (l *life) Change(ctx context.Context, by maintenance.Author, edit *maintenance.Edit) (*maintenance.State, *maintenance.Change, error) {
	w := l.w
	w.stepped()
	w.mu.Lock()
	if l.dead {
		w.mu.Unlock()
		return nil, nil, errors.New("killed")
	}
	for _, p := range edit.Release {
		if n := w.earned[p.Store]; n < w.times {
			w.fault("store %s is released after %d checks in a row, want %d", p.Store, n, w.times)
		}
		if at, twice := w.released[p.Store]; twice {
			w.fault("store %s is released for a second time, after %s", p.Store, time.Since(at))
		}
	}
	w.mu.Unlock()
	state, change, err := l.board.Change(ctx, by, edit)
	w.mu.Lock()
	for _, p := range edit.Release {
		if err == nil {
			w.released[p.Store] = time.Now()
		}
	}
	w.mu.Unlock()
	w.stepped()
	return state, change, err
}

func (l *life) Lookup(zone, store string) *maintenance.Switch { return l.board.Lookup(zone, store) }
func (l *life) View() maintenance.View                        { return l.board.View() }

// Watch implements maintenance.Backend.
func (m *memory) Watch(ctx context.Context, _ func()) { <-ctx.Done() }

// recover begins a job for the zone.
func (w *world) recover(q recovery.Request) recovery.View {
	w.t.Helper()
	if q.Zone == "" && q.Stores == nil {
		q.Zone = "z1"
	}
	v, err := w.life.jobs.Begin(&q)
	if err != nil {
		w.t.Fatal(err)
	}
	return v
}

func (w *world) view(id string) recovery.View {
	w.t.Helper()
	v, err := w.life.jobs.Get(id)
	if err != nil {
		w.t.Fatal(err)
	}
	return v
}

// until waits until the job is in a state.
func (w *world) until(id string, state recovery.State, limit time.Duration) recovery.View {
	w.t.Helper()
	for end := time.Now().Add(limit); ; time.Sleep(20 * time.Millisecond) {
		v := w.view(id)
		if v.State == state {
			return v
		}
		if time.Now().After(end) {
			w.t.Fatalf("after %s: %+v, want it to be %s", limit, v, state)
		}
	}
}

// inMaintenance are the stores that are.
func (w *world) inMaintenance() (names []string) {
	for _, name := range w.names() {
		if w.life.board.Lookup("z1", name) != nil {
			names = append(names, name)
		}
	}
	return names
}

// check fails the test if the oracle found something.
func (w *world) check() {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, wrong := range w.wrong[:min(len(w.wrong), 5)] {
		w.t.Error(wrong)
	}
}

// inTime runs a test in a bubble of its own time.
func inTime(t *testing.T, n int, check config.StoreCheck, f func(*world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, n, check)
		f(w)
		w.end()
		time.Sleep(time.Minute) // stuck workers
		synctest.Wait()
		w.check()
	})
}

func every(d time.Duration) *config.Duration { return (*config.Duration)(&d) }

func ptr[T any](v T) *T { return &v }

func equal(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}
