package recovery

import "time"

// Kinds of events.
const (
	EventStarted    = "recovery_started"
	EventPaused     = "recovery_paused" // by a person, or by itself; Detail says why
	EventResumed    = "recovery_resumed"
	EventCancelled  = "recovery_cancelled"
	EventDone       = "recovery_done"
	EventBatch      = "recovery_batch"      // Count stores were released
	EventUnreadable = "recovery_unreadable" // the file of a job cannot be read
	EventRepaired   = "recovery_repaired"   // Count stores were repaired, and are checked again
	EventWork       = "recovery_work"       // a person has done something about a store on the work list
	EventAnew       = "recovery_anew"       // after a restart; Count stores that had passed begin anew, Detail says why
)

// Event is a step of a job.
type Event struct {
	Kind     string
	At       time.Time
	Recovery string // the job's id
	Zone     string // of a zone's job
	Store    string // the store it is about, if it is about one
	Count    int    // stores it is about
	By       string
	Reason   string
	Detail   string
	Figures  *Figures // of the job; nil: not known
}

// Events returns the channel of events. Events that are not taken are dropped
// and counted.
func (a *Jobs) Events() <-chan Event { return a.events }

// EventsDropped is the number of events that were not taken in time.
func (a *Jobs) EventsDropped() uint64 { return a.dropped.Load() }

func (a *Jobs) emit(e Event) {
	e.At = time.Now()
	select {
	case a.events <- e:
	default:
		a.dropped.Add(1)
	}
}

// tell emits an event of the job. Call it with mu held.
func (j *job) tell(kind, store, detail string, count int) {
	j.all.emit(Event{
		Kind: kind, Recovery: j.spec.ID, Zone: j.spec.Zone, Store: store, Count: count,
		By: j.spec.By, Reason: j.spec.Reason, Detail: detail, Figures: j.figures(),
	})
}

// Figures are how a recovery brought its stores back.
type Figures struct {
	Total     int `json:"total"`
	Automatic int `json:"automatic"` // released, and no person worked on them
	Repaired  int `json:"repaired"`  // of these, after the configured repair
	Manual    int `json:"manual"`    // released after a person marked them as done
	Remaining int `json:"remaining"` // not released

	ProbeFailed int `json:"probe_failed,omitempty"` // failed a store_probe at least once, at no worker's cost

	Began         time.Time `json:"began"`
	FirstAt       time.Time `json:"first_at,omitzero"`     // the first release
	LastAutomatic time.Time `json:"automatic_at,omitzero"` // the last one of an automatic store
	LastManual    time.Time `json:"manual_at,omitzero"`    // and of a manual one
}

// figures are nil for a job that only reports. Call it with mu held.
func (j *job) figures() *Figures {
	if j.spec.DryRun {
		return nil
	}
	c := j.count()
	return &Figures{
		Total: c.Total, Automatic: c.Released - c.Manual, Repaired: c.Repaired, Manual: c.Manual, Remaining: c.Total - c.Released,
		ProbeFailed: c.ProbeFailed,
		Began:       j.spec.Began, FirstAt: c.First, LastAutomatic: c.Automatic, LastManual: c.ByHand,
	}
}
