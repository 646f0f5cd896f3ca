package breaker

import (
	"fmt"
	"time"
)

// State is the observed state of a zone or a store.
type State uint8

// The states of zones and stores. A store is never Troubled.
const (
	Calm     State = iota // nothing wrong; the cheap path
	Troubled              // an episode is on, its breaker is closed
	Open                  // everything is refused until the open time is over
	HalfOpen              // one request at a time finds out whether it answers
)

// String is the state's name in logs, metrics and the admin API.
func (s State) String() string {
	return [...]string{"calm", "troubled", "open", "half_open"}[s&3]
}

// MarshalText writes the state's name.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads the state's name, for clients of the admin API.
func (s *State) UnmarshalText(text []byte) error {
	for state := Calm; state <= HalfOpen; state++ {
		if state.String() == string(text) {
			*s = state
			return nil
		}
	}
	return fmt.Errorf("%q is no state", text)
}

// Status is the whole picture of the pool.
type Status struct {
	Workers         int            `json:"workers"`      // size of the pool, 0 if not known
	Occupied        int            `json:"occupied"`     // slots: live and hung
	Live            int            `json:"live"`         // slots within their deadline
	Hung            int            `json:"hung"`         // slots whose client was answered, worker still busy
	Waiting         int            `json:"waiting"`      // requests that wait for a slot
	PoolSuspect     bool           `json:"pool_suspect"` // verdicts are held back: too many zones at once, or no request is answered
	PoolSuspectText string         `json:"pool_suspect_text,omitempty"`
	NoUpstream      uint64         `json:"no_upstream"`       // requests whose dial to the API server failed
	EventsDropped   uint64         `json:"events_dropped"`    // transitions that were not read in time
	InternalErrors  uint64         `json:"internal_errors"`   // bugs of firebreak that were survived; see the log
	Servers         []ServerStatus `json:"servers,omitempty"` // by address
	Zones           []ZoneStatus   `json:"zones"`             // most troubled first
}

// ZoneStatus is the picture of one zone.
type ZoneStatus struct {
	Zone             string            `json:"zone"`
	State            State             `json:"state"`
	Observe          bool              `json:"observe,omitempty"` // judged only, nothing is refused
	Since            time.Time         `json:"since,omitzero"`    // when the state began
	EpisodeSince     time.Time         `json:"episode_since,omitzero"`
	OpenedAt         time.Time         `json:"opened_at,omitzero"`       // last opening of this episode
	OpenUntil        time.Time         `json:"open_until,omitzero"`      // set while open
	RetryAfterMS     int64             `json:"retry_after_ms,omitempty"` // time left of the open state
	Turn             int               `json:"turn,omitempty"`           // openings in this episode
	Evidence         string            `json:"evidence,omitempty"`       // why the state began, in words
	Cause            string            `json:"cause,omitempty"`          // why the episode began, or why the zone was first cut off in it
	Window           int               `json:"window,omitempty"`         // live requests at once while the zone comes back
	Hold             *Hold             `json:"hold,omitempty"`           // by hand
	HeldStores       int               `json:"held_stores,omitempty"`    // stores held by hand
	Live             int               `json:"live"`
	Hung             int               `json:"hung"`
	Blockers         []Blocker         `json:"blockers,omitempty"`         // sessions of the zone's database that queries wait for
	DatabaseTrouble  string            `json:"database_trouble,omitempty"` // why the database cannot be asked about its stores
	Doubt            bool              `json:"doubt,omitempty"`            // no answer for longer than patience_ms: the zone gets no more workers than it takes to judge it
	PatienceMS       int64             `json:"patience_ms"`                // a few times the usual time to first byte
	Remembered       int               `json:"remembered,omitempty"`       // hung slots that a process before this one saw
	Waiting          int               `json:"waiting"`
	Streams          int               `json:"streams"`
	MaxInflight      int               `json:"max_inflight"`   // workers it may occupy now
	WorstOccupied    int               `json:"worst_occupied"` // of this episode
	StoresSeen       int               `json:"stores_seen"`    // in the window; an estimate above some hundred
	StoresBad        int               `json:"stores_bad"`     // without an answer, in quarantine, or failing
	Quarantined      []string          `json:"quarantined"`    // stores in quarantine, up to 100
	QuarantinedCount int               `json:"quarantined_count"`
	Culprits         []Culprit         `json:"culprits"`               // up to 20, worst first
	Outcomes         map[string]uint64 `json:"outcomes"`               // since start, by outcome
	Refusals         map[string]uint64 `json:"refusals"`               // since start, by reason
	WouldRefuse      map[string]uint64 `json:"would_refuse,omitempty"` // in mode observe
	Abandoned        uint64            `json:"abandoned"`              // workers taken for dead, since start
	Cancelled        uint64            `json:"cancelled,omitempty"`    // queries of hung requests that were cancelled in the zone's database, since start
}

// Culprit is a store named as the cause, with its evidence.
type Culprit struct {
	Zone          string    `json:"zone"`
	Store         string    `json:"store"`
	State         State     `json:"state"`
	WorkerSeconds float64   `json:"worker_seconds"` // wasted in hung slots, those still hung included
	Failures      int       `json:"failures"`
	Hung          int       `json:"hung"` // slots hung now
	FirstSeen     time.Time `json:"first_seen"`
	LastSeen      time.Time `json:"last_seen"`
	Evidence      string    `json:"evidence"`
}

// StoreStatus is the picture of one store.
type StoreStatus struct {
	Zone          string    `json:"zone"`
	Store         string    `json:"store"`
	State         State     `json:"state"`
	Since         time.Time `json:"since,omitzero"`
	OpenUntil     time.Time `json:"open_until,omitzero"`
	RetryAfterMS  int64     `json:"retry_after_ms,omitempty"`
	Evidence      string    `json:"evidence,omitempty"`
	Hold          *Hold     `json:"hold,omitempty"` // by hand
	Live          int       `json:"live"`
	Hung          int       `json:"hung"`
	Recent        []string  `json:"recent"` // latest outcomes, newest first, kept in episodes only
	LastOutcome   time.Time `json:"last_outcome,omitzero"`
	WorkerSeconds float64   `json:"worker_seconds"`
	Proven        bool      `json:"proven"` // a success after the oldest hung slot of its zone began
}

// Event kinds.
const (
	EventZoneTroubled     = "zone_troubled"
	EventZoneOpened       = "zone_opened"
	EventZoneHalfOpen     = "zone_half_open"
	EventZoneClosed       = "zone_closed"
	EventZoneCalm         = "zone_calm"
	EventStoreQuarantined = "store_quarantined"
	EventStoreHalfOpen    = "store_half_open"
	EventStoreReleased    = "store_released"
	EventZoneIsolated     = "zone_isolated" // by hand: all of its requests are refused
	EventZoneAdmitted     = "zone_admitted" // by hand: its breaker does not open
	EventZoneAuto         = "zone_auto"     // handed back to its breaker
	EventStoreIsolated    = "store_isolated"
	EventStoreAdmitted    = "store_admitted"
	EventStoreAuto        = "store_auto"
	EventQueryCancelled   = "query_cancelled" // in the zone's database, to free the worker of a request that hung
	EventServerOut        = "server_out"
	EventServerBack       = "server_back"
	EventWorkersWrong     = "server_workers_wrong"
	EventWorkersRight     = "server_workers_right"
	EventPoolSuspect      = "pool_suspect"
	EventPoolTrusted      = "pool_trusted"
	EventInternalError    = "internal_error" // a bug of firebreak was survived; Evidence has the stack
)

// Event is a transition, with the evidence that caused it.
type Event struct {
	Kind     string        `json:"kind"`
	At       time.Time     `json:"at"`
	Zone     string        `json:"zone,omitempty"`
	Store    string        `json:"store,omitempty"`
	Server   string        `json:"server,omitempty"`
	From     State         `json:"from"`
	To       State         `json:"to"`
	For      time.Duration `json:"for,omitempty"` // open time, for openings and quarantines
	Turn     int           `json:"turn,omitempty"`
	Evidence string        `json:"evidence"`
	Write    string        `json:"write,omitempty"` // the setting that is right, for EventWorkersWrong
	Live     int           `json:"live"`
	Hung     int           `json:"hung"`
	Observe  bool          `json:"observe,omitempty"` // would have: nothing is refused
	Since    time.Time     `json:"since,omitzero"`    // when the episode began

	// What the zone had counted, for events about zones and holds. For
	// EventZoneTroubled that is before First, when the first of the requests
	// was admitted that are the reason.
	Tally *Tally    `json:"-"`
	First time.Time `json:"first,omitzero"`

	// For events about servers: how many requests were sent there and got no
	// answer, since start; for EventServerOut as of some seconds before. First is when the oldest of those was sent that had
	// none then.
	Lost uint64 `json:"lost,omitempty"`
}
