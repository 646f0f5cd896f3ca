package incidents

import (
	"cmp"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
)

// How grave an episode is.
const (
	GraveStores = 1 // stores in quarantine
	GraveZone   = 2 // the zone is, or was, cut off; or the server is out of service
)

// quarantinedFor is how long a store is in quarantine before the episode is grave for
// its sake: when a zone freezes, its first stores are suspected for moments.
const quarantinedFor = 5 * time.Second

// Episode is what the sidecars of a fleet agree on about an incident.
type Episode struct {
	// The same on all sidecars that share a state backend which lets them agree:
	// the id of the first one's incident. Otherwise the incident's own.
	ID string `json:"id"`

	// Ids that it had before the sidecars could agree.
	Aliases []string `json:"aliases,omitempty"`

	// How grave it was told to be: 1 stores in quarantine, 2 the zone is cut off, or the
	// server out of service, 0 not told of. And whether its end was told of.
	Told  int  `json:"told,omitempty"`
	Ended bool `json:"ended,omitempty"`

	// The figures of all sidecars, and of each. Left out if this sidecar is alone.
	Sum      *Part  `json:"sum,omitempty"`
	Sidecars []Part `json:"sidecars,omitempty"`
}

// Part is what one sidecar saw of an episode.
type Part struct {
	Sidecar  string `json:"sidecar,omitempty"`
	Incident string `json:"incident,omitempty"` // the id of its own record

	Began     time.Time `json:"began"`
	Opened    time.Time `json:"opened,omitzero"`
	Recovered time.Time `json:"recovered,omitzero"`
	Ended     time.Time `json:"ended,omitzero"`
	AsOf      time.Time `json:"as_of"`

	Openings      int      `json:"openings"`
	WorstOccupied int      `json:"worst_occupied"`
	Refused       uint64   `json:"refused"`
	WouldRefuse   uint64   `json:"would_refuse,omitempty"`
	Hung          uint64   `json:"hung"`
	LeftLate      uint64   `json:"left_late"`
	Failed        uint64   `json:"failed"`
	Saved         uint64   `json:"saved"`
	FromMemory    uint64   `json:"from_memory,omitempty"`
	DarkMinutes   float64  `json:"dark_minutes"`
	Lost          uint64   `json:"lost,omitempty"`     // requests that the server did not answer
	Culprits      []string `json:"culprits,omitempty"` // stores, worst first
}

// partCulprits is how many stores a sidecar names to the others.
const partCulprits = 5

// Part is this sidecar's part of the episode.
func (i *Incident) Part(sidecar string) Part {
	p := Part{
		Sidecar: sidecar, Incident: i.ID, Began: i.Began, Opened: i.Opened, Recovered: i.Recovered, Ended: i.Ended, AsOf: i.AsOf,
		Openings: i.Openings, WorstOccupied: i.WorstOccupied, WouldRefuse: i.WouldRefuse, Hung: i.Hung, LeftLate: i.LeftLate,
		Failed: i.Failed, Lost: i.Lost, Saved: i.Saved, FromMemory: i.FromMemory, DarkMinutes: i.DarkMinutes,
	}
	for _, n := range i.Refused {
		p.Refused += n
	}
	for _, c := range i.Culprits[:min(len(i.Culprits), partCulprits)] {
		p.Culprits = append(p.Culprits, c.Store)
	}
	return p
}

// SumParts adds up what several sidecars saw. Counts are added; the episode lasts from
// the first beginning to the last end, which is not there while it goes on anywhere;
// minutes in the dark are the most that one sidecar saw.
func SumParts(parts []Part) Part {
	var sum Part
	ongoing, dark := false, false
	culprits := make(map[string]int)
	for n := range parts {
		p := &parts[n]
		sum.Began = first(sum.Began, p.Began)
		sum.Opened = first(sum.Opened, p.Opened)
		sum.AsOf = last(sum.AsOf, p.AsOf)
		sum.Ended, ongoing = last(sum.Ended, p.Ended), ongoing || p.Ended.IsZero()
		sum.Recovered, dark = last(sum.Recovered, p.Recovered), dark || p.Recovered.IsZero() && !p.Opened.IsZero()
		sum.Openings += p.Openings
		sum.WorstOccupied += p.WorstOccupied
		sum.Refused += p.Refused
		sum.WouldRefuse += p.WouldRefuse
		sum.Hung += p.Hung
		sum.LeftLate += p.LeftLate
		sum.Failed += p.Failed
		sum.Lost += p.Lost
		sum.Saved += p.Saved
		sum.FromMemory += p.FromMemory
		sum.DarkMinutes = max(sum.DarkMinutes, p.DarkMinutes)
		for place, store := range p.Culprits {
			culprits[store] += partCulprits - place
		}
	}
	if ongoing {
		sum.Ended = time.Time{}
	}
	if dark {
		sum.Recovered = time.Time{}
	}
	sum.Culprits = slices.SortedFunc(maps.Keys(culprits), func(a, b string) int {
		return cmp.Or(cmp.Compare(culprits[b], culprits[a]), strings.Compare(a, b))
	})
	sum.Culprits = sum.Culprits[:min(len(sum.Culprits), maxCulprits)]
	return sum
}

func first(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func last(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// Unsettled is an incident of a zone, or of a server that is the same for all sidecars, that is going on, or whose episode's end is still
// to be told of.
type Unsettled struct {
	Incident     // without its lists
	Grave    int // how grave it is: GraveStores, GraveZone, or 0
}

// Unsettled lists them, oldest first.
func (l *Log) Unsettled() []Unsettled {
	if l == nil {
		return nil
	}
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []Unsettled
	for _, i := range l.ongoing {
		if i.Server == "" {
			i.account(now)
		}
		if !breaker.IsLocalAddress(i.Server) || i.Server == "" {
			found = append(found, Unsettled{i.summary(), i.grave(now)})
		}
	}
	for _, r := range l.past {
		if e := r.summary.Episode; e != nil && e.Told > 0 && !e.Ended {
			found = append(found, Unsettled{Incident: r.summary})
		}
	}
	slices.SortFunc(found, func(a, b Unsettled) int { return newestFirst(b.Incident, a.Incident) })
	return found
}

func (i *Incident) grave(now time.Time) int {
	if i.Server != "" {
		return i.serverGrave(now)
	}
	if i.Openings > 0 {
		return GraveZone
	}
	for cause, from := range i.Books.Open {
		if strings.HasPrefix(cause, storeDark) && now.Sub(from) >= quarantinedFor {
			return GraveStores
		}
	}
	return 0
}

// Summary is an incident without its lists, from memory.
func (l *Log) Summary(id string) (Incident, bool) {
	if l == nil {
		return Incident{}, false
	}
	found, _, err := l.inMemory(id)
	return found.summary(), err == nil
}

// SetEpisode keeps what is agreed on about an incident.
func (l *Log) SetEpisode(id string, e Episode) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, i := range l.ongoing {
		if i.ID == id {
			i.Episode = changed(i.Episode, e, func() { l.touch(i) })
			return
		}
	}
	for _, r := range l.past {
		if r.summary.ID == id {
			r.summary.Episode = changed(r.summary.Episode, e, func() { l.amend(r) })
			if r.full != nil {
				r.full.Episode = r.summary.Episode
			}
			return
		}
	}
}

func changed(old *Episode, e Episode, note func()) *Episode {
	if old != nil && reflect.DeepEqual(*old, e) {
		return old
	}
	note()
	return &e
}

// amend has a record that is on disk written again. Callers hold mu.
func (l *Log) amend(r *record) {
	l.touch(&r.summary)
	if r.full == nil {
		r.amended = true
	}
}

// isOfEpisode reports whether an incident is a part of the episode with an id.
func (i *Incident) isOfEpisode(id string) bool {
	return i.Episode != nil && (i.Episode.ID == id || slices.Contains(i.Episode.Aliases, id))
}
