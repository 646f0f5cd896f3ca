package recovery

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/maintenance"
	"github.com/firebreak-proxy/firebreak/routing"
)

// Deps are what the jobs use of the configuration in force. Two of them are compared
// by pointer, and neither is changed.
type Deps struct {
	Guard     *breaker.Guard
	Policy    *config.Policy
	Directory routing.Directory
	Board     Board

	// Knocks says how many requests of a store its maintenance has refused
	// lately; nil: not known.
	Knocks func(store string) uint64
}

// Board holds the operators' switches.
type Board interface {
	Change(ctx context.Context, by maintenance.Author, edit *maintenance.Edit) (*maintenance.State, *maintenance.Change, error)
	Lookup(zone, store string) *maintenance.Switch
	View() maintenance.View
}

// Checker sends one check of a store, see [Client.Check].
type Checker interface {
	Check(slot *breaker.Slot, p *config.StoreCheckPolicy, zone, store string) error
}

// Repairer has a store repaired, see [Client.Repair].
type Repairer interface {
	Repair(p *config.RepairPolicy, r Repair) error
}

// Options are the settings of Jobs.
type Options struct {
	Checker  Checker
	Repairer Repairer // nil: no store is repaired
	Prober   Prober   // nil: no store is tried in its database

	// The folder in which jobs are kept. Empty: they end with the process.
	Dir string
}

// Jobs is all recoveries of a process. It survives reloads of the
// configuration: each brings its Deps. Create it with New and end it with
// Close.
type Jobs struct {
	opts    Options
	events  chan Event
	dropped atomic.Uint64
	total   atomic.Uint64 // stores released since start
	ctx     context.Context
	stop    context.CancelFunc
	work    sync.WaitGroup
	started sync.Once

	deps    atomic.Pointer[Deps] // nil: no configuration was loaded
	repairs repairCounts

	mu     sync.Mutex // guards below; taken before that of a job
	ready  bool       // the jobs of earlier processes are loaded
	why    string     // why not
	jobs   map[string]*job
	unlock func()
}

// New makes an empty set of jobs. Nothing is read or written until Use.
func New(opts Options) *Jobs {
	a := &Jobs{opts: opts, events: make(chan Event, 256), jobs: make(map[string]*job)}
	a.ctx, a.stop = context.WithCancel(context.Background())
	return a
}

// Use puts the dependencies of a configuration in force and returns the one before
// it, nil if there was none. The first one also brings back the jobs of an
// earlier process.
func (a *Jobs) Use(w *Deps) (previous *Deps) {
	previous = a.deps.Swap(w)
	a.started.Do(func() {
		if !a.load() {
			a.work.Go(a.keepLoading)
		}
		a.work.Go(a.endOpenStates)
	})
	a.wakeAll()
	return previous
}

// Replace puts other dependencies in force if the one in force is still old. It
// reports whether it did.
func (a *Jobs) Replace(old, next *Deps) bool {
	return old != nil && a.deps.CompareAndSwap(old, next)
}

// Deps are the dependencies in force, nil if there are none.
func (a *Jobs) Deps() *Deps { return a.deps.Load() }

// Close ends the process' part in all jobs; the next process goes on with them.
func (a *Jobs) Close() {
	a.stop()
	if c, ok := a.opts.Checker.(interface{ Close() }); ok {
		c.Close() // or its stuck checks would be waited for
	}
	a.work.Wait()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.unlock != nil {
		a.unlock()
	}
}

func (a *Jobs) wakeAll() {
	for _, j := range a.all() {
		j.wakeUp()
	}
}

// all are the jobs, newest first.
func (a *Jobs) all() []*job {
	a.mu.Lock()
	defer a.mu.Unlock()
	list := make([]*job, 0, len(a.jobs))
	for _, j := range a.jobs {
		list = append(list, j)
	}
	slices.SortFunc(list, func(x, y *job) int {
		return cmp.Or(y.spec.Began.Compare(x.spec.Began), strings.Compare(y.spec.ID, x.spec.ID))
	})
	return list
}

// Begin starts a job.
func (a *Jobs) Begin(q *Request) (View, error) {
	w := a.Deps()
	if w == nil {
		return View{}, refuse(ErrUnavailable, "no configuration is in force")
	}
	all, err := w.targets(q)
	if err != nil {
		return View{}, err
	}
	check, err := w.checkOf(all)
	if err != nil {
		return View{}, err
	}
	s, err := newSpec(q, check)
	if err != nil {
		return View{}, err
	}
	s.Revision = w.Board.View().State.Revision
	j := newJob(a, s, all)
	if err := a.add(j); err != nil {
		return View{}, err
	}
	if err := j.save(); err != nil {
		a.remove(j)
		return View{}, refuse(ErrUnavailable, "nothing was begun: the job cannot be kept: %v", err)
	}
	j.tell(EventStarted, "", j.beganWords(), len(all))
	j.start()
	return j.view(), nil
}

// checkOf is the check of the stores: of their zone, if they live in one. All
// of them must have one.
func (w *Deps) checkOf(all []placed) (*config.StoreCheckPolicy, error) {
	if len(all) == 0 {
		return nil, refuse(ErrConflict, "nothing to recover: there are no stores")
	}
	found, one := (*config.StoreCheckPolicy)(nil), true
	for i, p := range all {
		if i > 0 && p.zone == all[i-1].zone {
			continue
		}
		policy := w.Policy.Zone(p.zone)
		if policy.StoreCheck == nil {
			return nil, refuse(ErrConflict, "there is no check for the stores of zone %s: add to the global option firebreak, for example: check GET /internal/check?key={store} { to localhost:9000 }", p.zone)
		}
		if found == nil {
			found = policy.StoreCheck
		}
		one = one && p.zone == all[0].zone
	}
	if general := w.Policy.Default.StoreCheck; !one && general != nil {
		return general, nil
	}
	return found, nil
}

// add takes a new job in, if there is room and no other job has its stores.
func (a *Jobs) add(j *job) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.ready {
		return refuse(ErrUnavailable, "recoveries cannot be begun yet: %s", a.why)
	}
	unfinished := 0
	for _, other := range a.jobs {
		if store := other.repairs(j); store != "" && !j.spec.DryRun {
			return refuse(ErrConflict, "store %s is being repaired by recovery %s; wait until that is done", store, other.spec.ID)
		}
		if other.finished() {
			continue
		}
		unfinished++
		if store := other.shares(j); store != "" && !j.spec.DryRun && !other.spec.DryRun {
			return refuse(ErrConflict, "store %s is in recovery %s already, which is %s; cancel that first", store, other.spec.ID, other.standing())
		}
	}
	if unfinished >= maxUnfinished {
		return refuse(ErrConflict, "%d recoveries are not finished; cancel one first", unfinished)
	}
	a.jobs[j.spec.ID] = j
	return nil
}

func (a *Jobs) remove(j *job) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.jobs, j.spec.ID)
}

// List shows all jobs, newest first.
func (a *Jobs) List() []View {
	views := []View{}
	for _, j := range a.all() {
		views = append(views, j.view())
	}
	return views
}

// find is the job of an id.
func (a *Jobs) find(id string) (*job, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if j := a.jobs[id]; j != nil {
		return j, nil
	}
	if !a.ready {
		return nil, refuse(ErrUnavailable, "recoveries cannot be read yet: %s", a.why)
	}
	return nil, refuse(ErrNotFound, "no recovery %q; GET /firebreak/recoveries lists them", id)
}

// Get shows a job.
func (a *Jobs) Get(id string) (View, error) {
	j, err := a.find(id)
	if err != nil {
		return View{}, err
	}
	return j.view(), nil
}

// Pause stops a job until it is resumed. Done twice it does the same as once.
func (a *Jobs) Pause(id, by, reason string) (View, error) {
	return a.act(id, func(j *job) error { return j.pauseBy(by, reason) })
}

// Resume lets a paused job go on. All counts of passed checks begin anew.
func (a *Jobs) Resume(id, by, reason string) (View, error) {
	return a.act(id, func(j *job) error { return j.resumeBy(by, reason) })
}

// Cancel ends a job. What it has released stays released.
func (a *Jobs) Cancel(id, by, reason string) (View, error) {
	return a.act(id, func(j *job) error { return j.cancelBy(by, reason) })
}

func (a *Jobs) act(id string, f func(*job) error) (View, error) {
	j, err := a.find(id)
	if err != nil {
		return View{}, err
	}
	if err := f(j); err != nil {
		return View{}, err
	}
	if err := j.save(); err != nil {
		return View{}, refuse(ErrUnavailable, "done, but a restart would forget it: %v", err)
	}
	return j.view(), nil
}

// sleep waits, or reports false when ctx ends.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
