package recovery

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"time"
)

// View is a job as the admin API shows it.
type View struct {
	ID        string    `json:"id"`
	Zone      string    `json:"zone,omitempty"` // empty: a list of stores
	State     State     `json:"state"`
	PausedWhy string    `json:"paused_why,omitempty"`
	Waiting   string    `json:"waiting,omitempty"` // what it waits for, if it does
	By        string    `json:"by,omitempty"`
	Reason    string    `json:"reason,omitempty"`
	DryRun    bool      `json:"dry_run"` // no store is released, it only reports
	Began     time.Time `json:"began"`
	Ended     time.Time `json:"ended,omitzero"`

	Total      int `json:"total"`       // stores
	Checked    int `json:"checked"`     // at least once
	Released   int `json:"released"`    //
	Passed     int `json:"passed"`      // all checks, not released: it only reports, or is about to release them
	PassedOnce int `json:"passed_once"` // some checks in a row, but not all yet
	Failing    int `json:"failing"`     // their latest check failed
	GivenUp    int `json:"given_up"`    // of these, not tried again
	Remaining  int `json:"remaining"`   // neither released nor passed nor given up
	Repairing  int `json:"repairing"`   // their repair is under way, or about to begin
	Repaired   int `json:"repaired"`    // of those released, after the configured repair
	Manual     int `json:"manual"`      // of those released, after a person marked them as done
	Work       int `json:"work"`        // on the work list

	ProbeFailed  int    `json:"probe_failed"`            // failed a store_probe at least once, at no worker's cost
	ProbeTrouble string `json:"probe_trouble,omitempty"` // why stores are checked without a store_probe

	RatePerSecond float64 `json:"rate_per_second"` // stores that came through lately
	ETASeconds    float64 `json:"eta_seconds"`     // 0: not known, or nothing remains

	Times    int    `json:"times"`
	Every    string `json:"every"`
	Parallel int    `json:"parallel"`
	Retries  int    `json:"retries"`
	Batch    int    `json:"batch"`
	Watch    string `json:"watch"`

	Failures []Failing `json:"failures"` // the first 20
}

// Failing is a store that does not pass.
type Failing struct {
	Store    string    `json:"store"`
	Zone     string    `json:"zone"`
	Reason   string    `json:"reason"`
	Attempts int       `json:"attempts"`         // failed checks and probes
	NextAt   time.Time `json:"next_at,omitzero"` // when it is tried again; not there: it is not
}

// listedFailures is how many failing stores a view lists.
const listedFailures = 20

func (j *job) view() View {
	j.mu.Lock()
	defer j.mu.Unlock()
	now := time.Now()
	c := j.count()
	s := &j.spec
	v := View{
		ID: s.ID, Zone: s.Zone, State: j.state, PausedWhy: j.pausedWhy, By: s.By, Reason: s.Reason, DryRun: s.DryRun,
		Began: s.Began, Ended: j.ended, Total: c.Total, Checked: c.Checked, Released: c.Released, Passed: c.Passed,
		PassedOnce: c.Once, Failing: c.Failing, GivenUp: c.GivenUp, Remaining: c.Total - c.Released - c.Passed - c.GivenUp,
		Repairing: c.Repairing, Repaired: c.Repaired, Manual: c.Manual, Work: c.Work, ProbeFailed: c.ProbeFailed,
		Times: s.Times, Every: s.Every.String(), Parallel: s.Parallel, Retries: s.Retries, Batch: s.Batch, Watch: s.Watch.String(),
		Failures: []Failing{},
	}
	if j.state == Running {
		v.Waiting, v.ProbeTrouble = j.note, j.probeTrouble()
		if left := j.watchUntil.Sub(now); left > 0 {
			v.Waiting = "the last batch is watched for another " + left.Round(100*time.Millisecond).String()
		}
		v.RatePerSecond = math.Round(j.recent.perSecond(now)*100) / 100
		if v.RatePerSecond > 0 {
			v.ETASeconds = math.Ceil(float64(v.Remaining) / v.RatePerSecond)
		}
	}
	for _, st := range j.stores {
		if st.failing() && len(v.Failures) < listedFailures {
			v.Failures = append(v.Failures, st.failure())
		}
	}
	return v
}

func (s *storeState) failure() Failing {
	f := Failing{Store: s.store, Zone: s.zone, Reason: s.reason, Attempts: s.attempts}
	if s.phase == waiting && !s.nextAt.IsZero() {
		f.NextAt = s.nextAt.UTC().Truncate(time.Millisecond)
	}
	return f
}

// StoreView is one store of a job.
type StoreView struct {
	Failing
	State      string    `json:"state"`       // one of StoreStates
	Passes     int       `json:"passes"`      // checks in a row, so far
	ReleasedAt time.Time `json:"at,omitzero"` // when it was released, or passed
}

// StoreStates are the states of a store in a job.
var StoreStates = []string{"checking", "failing", "given_up", "passed", "passed_once", "released", "repairing", "waiting"}

func (s *storeState) view() StoreView {
	v := StoreView{Failing: s.failure(), Passes: s.passes}
	switch s.phase {
	case released, passed:
		v.State = map[phase]string{released: "released", passed: "passed"}[s.phase]
		v.ReleasedAt = s.at.UTC().Truncate(time.Millisecond)
	case givenUp:
		v.State = "given_up"
	case checking, probing:
		v.State = "checking"
	case repairing:
		v.State = "repairing"
	case waiting:
		switch {
		case s.passes > 0:
			v.State = "passed_once"
		case s.failures > 0:
			v.State = "failing"
		default:
			v.State = "waiting"
		}
	}
	return v
}

// Stores shows up to limit stores of a job in a state (empty: any; "failing"
// includes those that were given up), by name, after a name. next is what to
// pass as after for the next page, empty if there is none.
func (a *Jobs) Stores(id, state, after string, limit int) (page []StoreView, next string, err error) {
	j, err := a.find(id)
	if err != nil {
		return nil, "", err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	page = []StoreView{}
	sorted := slices.SortedFunc(slices.Values(j.stores), func(x, y *storeState) int { return cmp.Compare(x.store, y.store) })
	at, found := slices.BinarySearchFunc(sorted, after, func(s *storeState, name string) int { return strings.Compare(s.store, name) })
	if found {
		at++
	}
	for _, s := range sorted[at:] {
		v := s.view()
		if state != "" && v.State != state && (state != "failing" || v.State != "given_up") {
			continue
		}
		if len(page) == limit {
			return page, page[limit-1].Store, nil
		}
		page = append(page, v)
	}
	return page, "", nil
}

// Summary is the jobs in numbers.
type Summary struct {
	Running, Paused int
	Released        uint64 // stores, since this process began
	Repaired        uint64 // likewise
	RepairsFailed   uint64 // likewise
	Zones           []ZoneSummary
}

// ZoneSummary is the unfinished jobs of a zone; Zone is empty for lists.
type ZoneSummary struct {
	Zone                                    string
	Released, Failing, Remaining, Repairing int
}

// Summary counts the unfinished jobs.
func (a *Jobs) Summary() Summary {
	sum := Summary{Released: a.total.Load(), Repaired: a.repairs.done.Load(), RepairsFailed: a.repairs.failed.Load()}
	byZone := make(map[string]ZoneSummary)
	for _, j := range a.all() {
		if j.finished() {
			continue
		}
		v := j.view()
		if v.State == Paused {
			sum.Paused++
		} else {
			sum.Running++
		}
		z := byZone[v.Zone]
		byZone[v.Zone] = ZoneSummary{v.Zone, z.Released + v.Released, z.Failing + v.Failing, z.Remaining + v.Remaining, z.Repairing + v.Repairing}
	}
	for _, z := range byZone {
		sum.Zones = append(sum.Zones, z)
	}
	slices.SortFunc(sum.Zones, func(x, y ZoneSummary) int { return cmp.Compare(x.Zone, y.Zone) })
	return sum
}
