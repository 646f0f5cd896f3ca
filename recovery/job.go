package recovery

import (
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/firebreak-proxy/firebreak/maintenance"
)

// State is where a job stands.
type State string

// The states.
const (
	Running   State = "running"
	Paused    State = "paused"
	Done      State = "done"
	Cancelled State = "cancelled"
)

// phase is where a store stands in its job.
type phase uint8

const (
	waiting  phase = iota // for its next check
	checking              // a check is on its way
	passed                // all checks; it will be released, unless the job only reports
	released
	givenUp   // it failed too often
	repairing // its repair is under way, or about to begin
	probing   // it is being tried in its database
)

// storeState is a store in a job.
type storeState struct {
	placed
	phase    phase
	passes   int  // in a row
	checked  bool // at least once
	failures int  // in a row
	attempts int  // failed checks and probes in all
	probed   bool // its probe found nothing against it, since it failed last
	reason   string

	probeFails int // failed probes in all

	nextAt time.Time
	at     time.Time // when it was released, or passed last
	order  int       // place in the directory
	active bool      // counts for the batch

	repair    repairState
	repairWhy string    // why its repair failed
	resumed   time.Time // when the process began that found its repair under way; zero: this one began it
	work      *work     // what people do about it; nil: it was never on the work list
	revision  uint64    // of the switches when it was marked done by hand

	// What the switches were before they were to release it, see
	// [maintenance.Head]; empty: they never were.
	releasing string
}

// failing reports whether its latest check failed.
func (s *storeState) failing() bool {
	return s.failures > 0 && s.phase != released && s.phase != passed
}

// job is one recovery. One goroutine, run, moves it; mu guards what it shares
// with readers and actions.
type job struct {
	all    *Jobs
	spec   spec
	wake   chan struct{} // something changed; holds at most one word
	took   chan func()   // what checks and releases report, run by the job's goroutine
	saving sync.Mutex    // held while the file is written

	journal   *os.File // used by the job's goroutine only; nil: nothing is written
	undropped bool     // likewise: journals are there that must not count

	mu         sync.Mutex // guards below
	state      State
	going      bool // its goroutine runs
	pausedWhy  string
	ended      time.Time
	stores     []*storeState
	byName     map[string]*storeState
	queue      queue
	inFlight   int                    // checks on their way
	underWay   int                    // stores that are being checked or passed before
	toRepair   []*storeState          // whose repair begins, or is asked after, next
	inRepair   int                    // repairs under way
	probing    int                    // probes under way
	probes     map[string]*zoneProbes // by zone
	repaired   int                    // stores whose repair was done, that no event told of yet
	pending    []*storeState          // passed, to be released
	flushAt    time.Time              // when pending is released
	releasing  bool
	holdUntil  time.Time // no check begins before
	holdFor    time.Duration
	note       string // what it waits for
	resumedAt  time.Time
	releasedAt time.Time // when the last stores were released
	firstAt    time.Time // when the first were
	zoneList   []string  // the zones of its stores; nil: not known yet
	watchAt    time.Time // next look at the released stores
	sortAt     time.Time // next time the fresh stores are put in order
	batchOut   int       // stores released in this batch
	watchUntil time.Time // the batch is watched until then
	told       int       // released stores that no event told of yet
	toldAt     time.Time // when an event told last
	repairTold time.Time // likewise of repairs
	finishing  bool      // the last step is under way
	recent     pace
	converted  bool                       // the zone's switch was turned into those of its stores
	excepted   map[maintenance.Target]int // how many stores the switches except at least
	looked     uint64                     // revision of the switches when the released stores were last determined
	dirty      bool
	unwritten  []entry // for the journal
	named      int     // the journal that the job's file names, and the last one
	last       int     // that was made
	summary    *counts // of a job that is over
	forgotten  counts  // of the stores that were dropped from it
}

// counts is how far a job came.
type counts struct {
	Total    int `json:"total"`
	Checked  int `json:"checked"`
	Released int `json:"released"`
	Passed   int `json:"passed"`
	Failing  int `json:"failing"`
	GivenUp  int `json:"given_up"`
	Once     int `json:"once"`

	Repairing int `json:"repairing,omitempty"`
	Repaired  int `json:"repaired,omitempty"` // released after a repair
	Manual    int `json:"manual,omitempty"`   // released after they were marked done by hand
	Work      int `json:"work,omitempty"`     // on the work list

	ProbeFailed int `json:"probe_failed,omitempty"` // failed a probe in their database, at least once

	First     time.Time `json:"first,omitzero"`      // when the first store was released
	Automatic time.Time `json:"auto_at,omitzero"`    // when the last one was released that needed no work by hand
	ByHand    time.Time `json:"by_hand_at,omitzero"` // when the last one was released that had been worked on
}

// count counts the stores. Call it with mu held.
func (j *job) count() counts {
	if j.summary != nil {
		return *j.summary
	}
	c := j.forgotten
	c.Total += len(j.stores)
	for _, s := range j.stores {
		if s.onWorkList() {
			c.Work++
		}
		switch s.phase {
		case released:
			c.addReleased(s)
		case repairing:
			c.Repairing++
		case passed:
			c.Passed++
		case givenUp:
			c.GivenUp++
		case waiting, checking, probing:
			if s.passes > 0 {
				c.Once++
			}
		}
		if s.failing() {
			c.Failing++
		}
		if s.checked {
			c.Checked++
		}
		if s.probeFails > 0 {
			c.ProbeFailed++
		}
	}
	return c
}

func newJob(a *Jobs, s spec, all []placed) *job {
	j := &job{
		all: a, spec: s, state: Running, wake: make(chan struct{}, 1), took: make(chan func()),
		probes: make(map[string]*zoneProbes), byName: make(map[string]*storeState, len(all)), stores: make([]*storeState, 0, len(all)),
	}
	for _, p := range all {
		j.take(&storeState{placed: p})
	}
	return j
}

// take adds a store that waits for its first check.
func (j *job) take(s *storeState) {
	s.order = len(j.stores)
	j.stores = append(j.stores, s)
	j.byName[s.store] = s
	switch {
	case s.phase != waiting:
	case s.passes > 0:
		j.activate(s)
		j.queue.again(s)
	case s.failures > 0:
		j.queue.retry(s)
	default:
		j.queue.fresh = append(j.queue.fresh, s)
	}
}

func (j *job) wakeUp() {
	select {
	case j.wake <- struct{}{}:
	default:
	}
}

func (j *job) finished() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.over()
}

func (j *job) over() bool { return j.state == Done || j.state == Cancelled }

func (j *job) standing() State {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.state
}

// shares is a store that both jobs are about, or "".
func (j *job) shares(other *job) string {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, s := range other.stores {
		if mine := j.byName[s.store]; mine != nil && mine.phase != released {
			return s.store
		}
	}
	if j.spec.Zone != "" && j.spec.Zone == other.spec.Zone {
		return other.stores[0].store
	}
	return ""
}

func (j *job) beganWords() string {
	text := fmt.Sprintf("%s, %d checks in a row each, %s apart, %d at a time", plural(len(j.stores), "store"), j.spec.Times, j.spec.Every, j.spec.Parallel)
	if j.spec.Batch > 0 {
		text += fmt.Sprintf(", released in batches of %d, each watched for %s", j.spec.Batch, j.spec.Watch)
	}
	if j.spec.DryRun {
		text += "; no store is released, it only reports"
	}
	return text
}

func (j *job) pauseBy(by, reason string) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.over() {
		return refuse(ErrConflict, "recovery %s is %s", j.spec.ID, j.state)
	}
	if j.state == Running {
		j.pause(inWords("paused", by, reason), "")
	}
	return nil
}

// pause stops the job. What has passed and is not released yet is checked
// again later: it may be a long time. Call it with mu held.
func (j *job) pause(why, store string) {
	j.state, j.pausedWhy, j.dirty = Paused, why, true
	j.unpass()
	j.keepState()
	j.tell(EventPaused, store, why, j.count().Released)
	j.wakeUp()
}

// unpass makes all counts of passed checks begin anew.
func (j *job) unpass() {
	again := append(j.queue.drain(), j.pending...)
	j.pending = nil
	for _, s := range j.stores {
		if s.phase == checking {
			s.passes = 0 // what comes back is the first one
		}
	}
	for _, s := range again {
		s.phase, s.passes, s.probed, s.nextAt = waiting, 0, false, time.Time{}
		j.deactivate(s)
		j.queue.retry(s)
	}
}

func (j *job) resumeBy(by, reason string) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch j.state {
	case Running:
		return nil
	case Done, Cancelled:
		return refuse(ErrConflict, "recovery %s is %s; begin a new one", j.spec.ID, j.state)
	case Paused:
	}
	j.state, j.pausedWhy, j.dirty = Running, "", true
	j.resumedAt, j.holdUntil, j.note = time.Now(), time.Time{}, ""
	j.watchUntil, j.batchOut = time.Time{}, 0
	j.excepted = nil
	j.keepState()
	j.takeBack(j.all.Deps())
	j.tell(EventResumed, "", inWords("resumed", by, reason), j.count().Released)
	j.wakeUp()
	return nil
}

func (j *job) cancelBy(by, reason string) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch j.state {
	case Cancelled:
		return nil
	case Done:
		return refuse(ErrConflict, "recovery %s is done", j.spec.ID)
	case Running, Paused:
	}
	j.end(Cancelled)
	j.tell(EventCancelled, "", inWords("cancelled", by, reason)+"; "+j.sumWords(), j.count().Released)
	j.wakeUp()
	return nil
}

// end is the end of the job. Call it with mu held.
func (j *job) end(state State) {
	j.state, j.ended, j.dirty = state, time.Now().UTC().Truncate(time.Millisecond), true
	j.pausedWhy, j.note = "", ""
	j.unpass()
	j.unrepair()
	sum := j.count()
	j.queue, j.summary = queue{}, &sum
	if len(j.stores) > keptStores {
		j.forgetWell()
	}
}

// forgetWell drops the stores of a large job that are no longer asked for.
func (j *job) forgetWell() {
	kept := j.stores[:0:0]
	for _, s := range j.stores {
		if s.phase == repairing || s.phase != released && s.phase != passed && len(kept) < keptStores {
			kept = append(kept, s)
		}
	}
	j.stores = kept
	all := *j.summary
	j.summary, j.forgotten = nil, counts{}
	left := j.count()
	j.summary, j.forgotten = &all, all.without(&left)
	j.byName = make(map[string]*storeState, len(kept))
	for _, s := range kept {
		j.byName[s.store] = s
	}
}

func inWords(what, by, reason string) string {
	if by != "" {
		what += " by " + by
	}
	if reason != "" {
		what += ": " + reason
	}
	return what
}

// sumWords says how far the job came.
func (j *job) sumWords() string {
	c := j.count()
	well := fmt.Sprintf("%s released", plural(c.Released, "store"))
	if j.spec.DryRun {
		well = fmt.Sprintf("%s passed", plural(c.Passed, "store"))
	}
	text := fmt.Sprintf("%s, %d failing, of %d", well, c.Failing, c.Total)
	if c.Repaired > 0 {
		text += fmt.Sprintf("; %d of the released were repaired", c.Repaired)
	}
	if c.ProbeFailed > 0 {
		text += fmt.Sprintf("; %d failed a store_probe, at no worker's cost", c.ProbeFailed)
	}
	if c.Manual > 0 {
		text += fmt.Sprintf("; %d of the released were worked on by hand", c.Manual)
	}
	if c.Work > 0 {
		text += fmt.Sprintf("; %d on the work list", c.Work)
	}
	return text
}
