package recovery

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"github.com/firebreak-proxy/firebreak/maintenance"
)

// Actions on a store on the work list.
const (
	WorkClaim    = "claim"
	WorkNote     = "note"
	WorkHandOver = "handover"
	WorkDone     = "done"
)

// WorkActions are all of them.
var WorkActions = []string{WorkClaim, WorkDone, WorkHandOver, WorkNote}

// Where a store on the work list stands.
const (
	WorkOpen     = "open"     // nobody has claimed it
	WorkClaimed  = "claimed"  // somebody works on it
	WorkChecking = "checking" // it was marked as done, and is checked again
)

const maxNotes = 100 // of a store; the oldest go

// work is what people do about a store that was given up.
type work struct {
	Since   time.Time      `json:"since"`
	By      string         `json:"by,omitempty"`
	Claimed time.Time      `json:"claimed,omitzero"`
	Done    bool           `json:"done,omitempty"` // and not failed since
	DoneBy  string         `json:"done_by,omitempty"`
	DoneAt  time.Time      `json:"done_at,omitzero"`
	Notes   []WorkNoteView `json:"notes,omitempty"`
}

// WorkNoteView is a note about a store on the work list.
type WorkNoteView struct {
	At   time.Time `json:"at"`
	By   string    `json:"by,omitempty"` // empty: the recovery itself
	Text string    `json:"text"`
}

func (w *work) clone() *work {
	if w == nil {
		return nil
	}
	c := *w
	c.Notes = slices.Clone(w.Notes)
	return &c
}

func (w *work) note(by, text string) {
	if text == "" {
		return
	}
	w.Notes = append(w.Notes, WorkNoteView{time.Now().UTC().Truncate(time.Millisecond), by, text})
	w.Notes = w.Notes[max(0, len(w.Notes)-maxNotes):]
}

// WorkItem is a store that a recovery has given up: somebody has to repair it.
type WorkItem struct {
	Store     string         `json:"store"`
	Zone      string         `json:"zone"`
	Recovery  string         `json:"recovery"`
	State     string         `json:"state"` // open, claimed or checking
	Reason    string         `json:"reason"`
	Attempts  int            `json:"attempts"` // failed checks
	Repair    string         `json:"repair"`   // none, begun, done or failed
	Since     time.Time      `json:"since"`
	ClaimedBy string         `json:"claimed_by,omitempty"`
	ClaimedAt time.Time      `json:"claimed_at,omitzero"`
	DoneBy    string         `json:"done_by,omitempty"`
	DoneAt    time.Time      `json:"done_at,omitzero"`
	Notes     []WorkNoteView `json:"notes"`
}

// onWorkList reports whether a person has to do something about a store, or has and it
// is being checked.
func (s *storeState) onWorkList() bool {
	return s.work != nil && (s.phase == givenUp || s.work.Done && s.phase != released)
}

func (j *job) workItem(s *storeState) WorkItem {
	w := s.work.clone()
	item := WorkItem{
		Store: s.store, Zone: s.zone, Recovery: j.spec.ID, State: WorkOpen, Reason: s.reason, Attempts: s.attempts,
		Repair: cmp.Or(string(s.repair), "none"), Since: w.Since, ClaimedBy: w.By, ClaimedAt: w.Claimed,
		DoneBy: w.DoneBy, DoneAt: w.DoneAt, Notes: append([]WorkNoteView{}, w.Notes...),
	}
	switch {
	case s.phase != givenUp:
		item.State = WorkChecking
	case w.By != "":
		item.State = WorkClaimed
	}
	return item
}

// putOnWorkList puts a store that was given up on the work list, again if it was
// there. Call it with mu held.
func (j *job) putOnWorkList(s *storeState, now time.Time) {
	switch {
	case j.spec.DryRun:
	case s.work == nil:
		s.work = &work{Since: now.UTC().Truncate(time.Millisecond)}
	default:
		s.work.Done = false
		s.work.note("", "checked again and still failing: "+s.reason)
	}
}

// Work lists the stores that people have to repair, those that wait longest
// first: what recoveries have given up, and is still in maintenance. A recovery
// that was cancelled has none.
func (a *Jobs) Work() []WorkItem {
	items := []WorkItem{}
	for _, f := range a.allWork() {
		items = append(items, f.item)
	}
	slices.SortStableFunc(items, func(x, y WorkItem) int {
		return cmp.Or(x.Since.Compare(y.Since), cmp.Compare(x.Store, y.Store))
	})
	return items
}

// foundWork is a store on the work list, and the job that gave it up.
type foundWork struct {
	job  *job
	item WorkItem
}

// allWork finds the stores on the work list. The latest recovery of a store counts.
func (a *Jobs) allWork() (all []foundWork) {
	w := a.Deps()
	listed := func(i *WorkItem) bool {
		return w == nil || w.Board.Lookup(i.Zone, i.Store) != nil || w.Board.View().Stale
	}
	var newer []*job
	for _, j := range a.all() {
		for _, item := range j.workItems() {
			if !slices.ContainsFunc(newer, func(n *job) bool { return n.takes(item.Store) }) && listed(&item) {
				all = append(all, foundWork{j, item})
			}
		}
		newer = append(newer, j)
	}
	return all
}

func (j *job) workItems() (items []WorkItem) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, s := range j.stores {
		if s.onWorkList() && j.state != Cancelled {
			items = append(items, j.workItem(s))
		}
	}
	return items
}

// takes reports whether it is the job's to bring a store back.
func (j *job) takes(store string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return !j.spec.DryRun && j.state != Cancelled && j.byName[store] != nil
}

// WorkOn does something about a store on the work list; by is who does it. To is
// who takes it over, nobody if it is empty.
func (a *Jobs) WorkOn(store, action, by, to, text string) (WorkItem, error) {
	if len(by) > maxText || len(to) > maxText || len(text) > maxText {
		return WorkItem{}, refuse(ErrInvalid, "by, to and note must not be longer than %d bytes", maxText)
	}
	if _, err := a.find(""); errors.Is(err, ErrUnavailable) {
		return WorkItem{}, err
	}
	all := a.allWork()
	at := slices.IndexFunc(all, func(f foundWork) bool { return f.item.Store == store })
	if at < 0 {
		return WorkItem{}, refuse(ErrNotFound, "store %q is not on the work list; GET /firebreak/work lists what is", store)
	}
	j := all[at].job
	item, idle, err := a.workOn(j, store, action, by, to, text)
	if err != nil {
		return WorkItem{}, err
	}
	err = j.save()
	if idle {
		j.all.work.Go(func() { j.run(a.ctx) })
	}
	if err != nil {
		return WorkItem{}, refuse(ErrUnavailable, "done, but a restart would forget it: %v", err)
	}
	return item, nil
}

// workOn does it; idle reports whether the job's goroutine has to be started.
func (a *Jobs) workOn(j *job, store, action, by, to, text string) (item WorkItem, idle bool, err error) {
	a.mu.Lock() // no recovery is begun meanwhile
	defer a.mu.Unlock()
	if action == WorkDone {
		for _, other := range a.jobs {
			if other != j && other.standing() != Done && other.takes(store) {
				return item, false, refuse(ErrConflict, "store %s is in recovery %s, which checks it", store, other.spec.ID)
			}
		}
	}
	revision := maintenance.View{}
	if w := a.Deps(); w != nil {
		revision = w.Board.View()
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	s := j.byName[store]
	if s == nil || !s.onWorkList() || j.state == Cancelled {
		return item, false, refuse(ErrNotFound, "store %q is no longer on the work list", store)
	}
	did, err := j.doWork(s, action, by, to, text)
	if err != nil {
		return item, false, err
	}
	if action == WorkDone {
		idle = j.reopen(s, revision.State.Revision)
	}
	j.dirty = true
	j.keep(s)
	j.all.emit(Event{
		Kind: EventWork, Recovery: j.spec.ID, Zone: j.spec.Zone, Store: store, Count: 1, By: by, Reason: text, Detail: did, Figures: j.figures(),
	})
	return j.workItem(s), idle, nil
}

// doWork notes what a person did, and says it in words. Call it with mu held.
func (j *job) doWork(s *storeState, action, by, to, text string) (did string, err error) {
	w, now := s.work, time.Now().UTC().Truncate(time.Millisecond)
	if s.phase != givenUp && action != WorkNote {
		return "", refuse(ErrConflict, "store %s was marked as done by %s and is being checked", s.store, w.DoneBy)
	}
	switch other := w.By != "" && w.By != by; {
	case by == "" && action != WorkNote:
		return "", refuse(ErrInvalid, "by is missing: it says who")
	case action == WorkNote && text == "":
		return "", refuse(ErrInvalid, "note is missing: it is the text")
	case other && (action == WorkClaim || action == WorkDone):
		return "", refuse(ErrConflict, "store %s is claimed by %s; hand it over first", s.store, w.By)
	}
	switch action {
	case WorkClaim:
		did = "claimed by " + by
		if w.By != by {
			w.By, w.Claimed = by, now
		}
	case WorkHandOver:
		did = "handed over to " + to
		if to == "" {
			did = "given back"
		}
		w.note(by, did)
		if w.By, w.Claimed = to, now; to == "" {
			w.Claimed = time.Time{}
		}
	case WorkDone:
		did = "marked as done; it is checked again"
		w.Done, w.DoneBy, w.DoneAt = true, by, now
		w.By, w.Claimed = cmp.Or(w.By, by), cmp.Or(w.Claimed, now)
	case WorkNote:
		did = "noted"
	default:
		return "", refuse(ErrInvalid, "there is no action %q", action)
	}
	w.note(by, text)
	return did, nil
}

// reopen lets a store that was marked as done be checked again, in a job that
// may be over. It reports whether the job's goroutine has to be started. Call it
// with mu held.
func (j *job) reopen(s *storeState, revision uint64) (idle bool) {
	s.phase, s.passes, s.failures, s.probed, s.nextAt, s.revision = waiting, 0, 0, false, time.Now(), revision
	s.reason, s.releasing = "", ""
	j.queue.retry(s)
	if j.state == Done {
		j.state, j.ended, j.summary, j.excepted = Running, time.Time{}, nil, nil
		j.resumedAt, j.holdUntil, j.note = time.Now(), time.Time{}, ""
		j.watchUntil, j.batchOut = time.Time{}, 0
	}
	j.wakeUp()
	idle = !j.going
	j.going = true
	return idle
}

// addReleased counts a store that is back.
func (c *counts) addReleased(s *storeState) {
	c.Released++
	if c.First.IsZero() || s.at.Before(c.First) {
		c.First = s.at
	}
	switch byHand := s.work != nil && s.work.Done; {
	case byHand:
		c.Manual++
		c.ByHand = maxTime(c.ByHand, s.at)
		return
	case s.repair == repairDone:
		c.Repaired++
	}
	c.Automatic = maxTime(c.Automatic, s.at)
}

// without are the counts of the other stores.
func (c *counts) without(left *counts) counts {
	return counts{
		Total: c.Total - left.Total, Checked: c.Checked - left.Checked, Released: c.Released - left.Released, Passed: c.Passed - left.Passed,
		Failing: c.Failing - left.Failing, GivenUp: c.GivenUp - left.GivenUp, Once: c.Once - left.Once, Repairing: c.Repairing - left.Repairing,
		Repaired: c.Repaired - left.Repaired, Manual: c.Manual - left.Manual, Work: c.Work - left.Work,
		ProbeFailed: c.ProbeFailed - left.ProbeFailed,
		First:       c.First, Automatic: c.Automatic, ByHand: c.ByHand,
	}
}
