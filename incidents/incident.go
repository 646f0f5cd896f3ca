package incidents

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
)

// Bounds of one incident.
const (
	maxTimeline = 500   // entries: the first half, and the latest
	maxStores   = 10000 // stores whose darkness is kept one by one
	maxText     = 500   // bytes of an entry's text
	maxCulprits = 20
)

// Incident is one episode of a zone, or of a server.
type Incident struct {
	ID        string    `json:"id"`
	Zone      string    `json:"zone"`             // "" if it is of a server
	Server    string    `json:"server,omitempty"` // its address
	Ongoing   bool      `json:"ongoing"`
	Observe   bool      `json:"observe,omitempty"` // nothing was refused: mode observe
	Began     time.Time `json:"began"`             // the first request that went wrong was admitted
	Opened    time.Time `json:"opened,omitzero"`   // the zone's first opening
	Recovered time.Time `json:"recovered,omitzero"`
	Ended     time.Time `json:"ended,omitzero"` // all was calm
	AsOf      time.Time `json:"as_of"`          // the figures are of then

	// Why it began, and why the zone opened, in words.
	Evidence string `json:"evidence"`
	Opening  string `json:"opening,omitempty"`

	// Why the record breaks off, if it does: a restart, for example. Follows is
	// the record that broke off before this one.
	Interrupted string `json:"interrupted,omitempty"`
	Follows     string `json:"follows,omitempty"`

	Openings      int               `json:"openings"`
	WorstOccupied int               `json:"worst_occupied"` // workers, at one time
	Refused       map[string]uint64 `json:"refused"`        // by reason
	WouldRefuse   uint64            `json:"would_refuse,omitempty"`
	Hung          uint64            `json:"hung"`      // requests answered at the deadline
	LeftLate      uint64            `json:"left_late"` // requests whose client left before that, but late
	Failed        uint64            `json:"failed"`    // requests that failed or broke

	// Requests that were sent to the server and not answered.
	Lost uint64 `json:"lost,omitempty"`

	// Requests refused because a breaker was open: none of them occupied a
	// worker.
	Saved uint64 `json:"saved"`

	// Queries of requests that hung which were cancelled in the zone's database.
	Cancelled uint64 `json:"cancelled,omitempty"`

	// Requests answered from memory, of those that were refused or hung.
	FromMemory uint64 `json:"from_memory,omitempty"`

	// Worst first.
	Culprits []breaker.Culprit `json:"culprits"`

	// What the sidecars of a fleet agree on: one id, and the figures of all.
	Episode *Episode `json:"episode,omitempty"`

	// How many stores were in the dark for longer than their zone, and the time
	// that every store of the zone was, but those that are listed with less.
	StoresDark  int     `json:"stores_dark"`
	DarkMinutes float64 `json:"dark_minutes"`

	// How the stores were brought back, by recovery.
	Recoveries []Recovery `json:"recoveries,omitempty"`

	Timeline        []Entry `json:"timeline,omitempty"`
	TimelineLeftOut int     `json:"timeline_left_out,omitempty"`

	// Stores whose time in the dark differs from the zone's; longest first. The
	// zone's darkness is included.
	Stores        []StoreMinutes `json:"stores,omitempty"`
	StoresLeftOut int            `json:"stores_left_out,omitempty"`

	// What is needed to go on: not shown.
	Books *books `json:"books,omitempty"`
}

// Recovery is how a recovery brought the zone's stores back.
type Recovery struct {
	ID        string `json:"id"`
	Total     int    `json:"total"`     // stores
	Automatic int    `json:"automatic"` // released without a person's work on them
	Repaired  int    `json:"repaired"`  // of these, after the configured repair
	Manual    int    `json:"manual"`    // released after a person marked them as done
	Remaining int    `json:"remaining"` // not released

	ProbeFailed int `json:"probe_failed,omitempty"` // failed a store_probe at least once, at no worker's cost

	Began       time.Time `json:"began"`
	FirstAt     time.Time `json:"first_at,omitzero"`     // the first release
	AutomaticAt time.Time `json:"automatic_at,omitzero"` // the last automatic one
	ManualAt    time.Time `json:"manual_at,omitzero"`    // the last manual one
}

// Entry is a line of the timeline. What repeats itself is told in one.
type Entry struct {
	At    time.Time `json:"at"`
	What  string    `json:"what"` // the event's name
	Store string    `json:"store,omitempty"`
	Text  string    `json:"text"`
	Times int       `json:"times,omitempty"` // if more than once
	Last  time.Time `json:"last,omitzero"`   // the latest time
}

// StoreMinutes is for how long a store was in the dark.
type StoreMinutes struct {
	Store   string  `json:"store"`
	Minutes float64 `json:"minutes"`
}

// note adds a line to the timeline. When it is full, a line in the middle goes.
func (i *Incident) note(at time.Time, what, store, text string) {
	if len(i.Timeline) >= maxTimeline {
		i.Timeline = slices.Delete(i.Timeline, maxTimeline/2, maxTimeline/2+1)
		i.TimelineLeftOut++
	}
	i.Timeline = append(i.Timeline, Entry{At: at, What: what, Store: store, Text: shorten(text)})
}

// again tells of something that may just have happened before: the last line
// is changed then.
func (i *Incident) again(at time.Time, what, text string) {
	if n := len(i.Timeline); n > 0 && i.Timeline[n-1].What == what {
		last := &i.Timeline[n-1]
		last.Times, last.Last, last.Text = max(last.Times, 1)+1, at, shorten(text)
		return
	}
	i.note(at, what, "", text)
}

// dropTry takes back what was told of a half-open state that came to nothing: its
// beginning, and the stores that were tried and pardoned.
func (i *Incident) dropTry() {
	pardoned := map[string]bool{}
	for n, e := range slices.Backward(i.Timeline) {
		switch {
		case e.What == breaker.EventZoneHalfOpen:
			i.Timeline = i.Timeline[:n]
			return
		case e.What == breaker.EventStoreReleased:
			pardoned[e.Store] = true
		case e.What != breaker.EventStoreQuarantined || !pardoned[e.Store]:
			return
		}
	}
}

func shorten(text string) string {
	if len(text) <= maxText {
		return text
	}
	return strings.ToValidUTF8(text[:maxText], "") + "…"
}

// count takes in a tally of the zone.
func (i *Incident) count(t *breaker.Tally) {
	if t == nil {
		return
	}
	b := i.Books
	for reason, n := range t.Refusals {
		i.refuse(reason, n, b.Base.Refusals[reason])
	}
	grow := func(figure *uint64, outcomes ...string) {
		sum := b.Carried[outcomes[0]]
		for _, o := range outcomes {
			sum += since(t.Outcomes[o], b.Base.Outcomes[o])
		}
		*figure = max(*figure, sum)
	}
	grow(&i.Hung, breaker.Hung.String())
	grow(&i.LeftLate, breaker.GoneLate.String())
	grow(&i.Failed, breaker.Failure.String(), breaker.Broken.String())
	i.WouldRefuse = max(i.WouldRefuse, since(t.WouldRefuse, b.Base.WouldRefuse))
	i.WorstOccupied = max(i.WorstOccupied, t.Worst)
	i.Saved = i.Refused[string(breaker.ReasonZoneOpen)] + i.Refused[string(breaker.ReasonQuarantine)]
}

func (i *Incident) refuse(reason string, now, base uint64) {
	if n := since(now, base) + i.Books.Carried[carriedRefusal+reason]; n > i.Refused[reason] {
		i.Refused[reason] = n
	}
}

// countOutside takes in what is counted outside of the guard.
func (i *Incident) countOutside(o outside) {
	i.refuse("maintenance", o.upkeep, i.Books.Upkeep)
	i.FromMemory = max(i.FromMemory, since(o.memory, i.Books.Memory)+i.Books.Carried[carriedMemory])
}

const carriedMemory = "from memory"

const carriedRefusal = "refused " // and the reason

// carry lets the figures go on from where they are when the guard counts anew.
func (i *Incident) carry() {
	c := map[string]uint64{
		breaker.Hung.String(): i.Hung, breaker.GoneLate.String(): i.LeftLate, breaker.Failure.String(): i.Failed,
	}
	c[carriedMemory] = i.FromMemory
	for reason, n := range i.Refused {
		c[carriedRefusal+reason] = n
	}
	i.Books.Carried = c
}

// since is what was counted after base. Counts begin anew when the guard
// forgets an idle zone.
func since(now, base uint64) uint64 {
	if now < base {
		return 0
	}
	return now - base
}

// blame takes in the stores named as causes. A store that is no longer named was cleared,
// unless there are too many to name.
func (i *Incident) blame(named []breaker.Culprit) {
	old := i.Culprits
	i.Culprits = []breaker.Culprit{}
	for _, c := range named {
		if c.LastSeen.Before(i.Began) {
			continue // of an earlier episode
		}
		if at := slices.IndexFunc(old, func(o breaker.Culprit) bool { return o.Store == c.Store }); at >= 0 {
			c.WorkerSeconds, c.Failures = max(c.WorkerSeconds, old[at].WorkerSeconds), max(c.Failures, old[at].Failures)
			old = slices.Delete(old, at, at+1)
		}
		i.Culprits = append(i.Culprits, c)
	}
	if len(named) >= maxCulprits {
		i.Culprits = append(i.Culprits, old...)
	}
	slices.SortStableFunc(i.Culprits, func(a, b breaker.Culprit) int {
		return cmp.Or(cmp.Compare(b.WorkerSeconds, a.WorkerSeconds), cmp.Compare(b.Failures, a.Failures))
	})
	i.Culprits = i.Culprits[:min(len(i.Culprits), maxCulprits)]
}

// worthKeeping reports whether something came of the episode.
func (i *Incident) worthKeeping() bool {
	if i.Server != "" {
		return i.Lost > 0 || i.Recovered.Sub(i.Began) >= worthOut || i.Follows != ""
	}
	return i.Openings > 0 || i.Hung > 0 || i.LeftLate > 0 || i.Failed > 0 || i.StoresDark > 0 || i.DarkMinutes > 0 ||
		len(i.Refused) > 0 || i.WouldRefuse > 0 || i.Follows != ""
}

// minor reports whether the zone as a whole went on.
func (i *Incident) minor() bool { return i.Openings == 0 && i.DarkMinutes == 0 && i.Follows == "" }

// summary is the incident without its lists.
func (i *Incident) summary() Incident {
	short := *i
	short.Timeline, short.Stores, short.Books = nil, nil, nil
	short.Recoveries = slices.Clone(i.Recoveries)
	short.Culprits, short.Refused = slices.Clone(i.Culprits), maps.Clone(i.Refused)
	return short
}

// whole is a copy of the incident to be shown.
func (i *Incident) whole() Incident {
	all := i.summary()
	all.Timeline, all.Stores = slices.Clone(i.Timeline), slices.Clone(i.Stores)
	return all
}

// check says what is wrong with a record that was read.
func (i *Incident) check() error {
	if i.ID == "" || i.Zone == "" && i.Server == "" || i.Began.IsZero() {
		return fmt.Errorf("it is no incident: id, zone or began is missing")
	}
	if i.Refused == nil {
		i.Refused = map[string]uint64{}
	}
	if i.Culprits == nil {
		i.Culprits = []breaker.Culprit{}
	}
	if b := i.Books; b != nil {
		orMake(&b.Switches)
		orMake(&b.Own)
		orMake(&b.Except)
		orMake(&b.Open)
	}
	return nil
}

func orMake[V any](m *map[string]V) {
	if *m == nil {
		*m = make(map[string]V)
	}
}
