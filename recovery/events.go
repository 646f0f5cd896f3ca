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

// tell emits an event of the job.
func (j *job) tell(kind, store, detail string, count int) {
	j.all.emit(Event{
		Kind: kind, Recovery: j.spec.ID, Zone: j.spec.Zone, Store: store, Count: count,
		By: j.spec.By, Reason: j.spec.Reason, Detail: detail,
	})
}
