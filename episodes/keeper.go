package episodes

import (
	"cmp"
	"context"
	"encoding/json"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/firebreak-proxy/firebreak/incidents"
	"github.com/firebreak-proxy/firebreak/maintenance"
)

const (
	lookEvery    = time.Second
	beatEvery    = 4 * time.Second  // while nothing changes
	figuresEvery = 12 * time.Second // the figures of all are fetched
	lease        = 15 * time.Second // of a sidecar on an episode
	callLimit    = time.Second      // of a call to the backend
	settleLimit  = 2 * time.Minute  // after which an event counts as not told
	forgetAfter  = 10 * time.Minute // an episode that this sidecar has left
	mostAtOnce   = 200              // episodes that are looked at in one go
)

// Source is what a keeper looks at.
type Source struct {
	Log     *incidents.Log       // nil: nothing
	Backend maintenance.Episodes // nil: this sidecar decides alone
	Member  string               // the name of this sidecar in the fleet
}

// Keeper keeps the episodes of a process. It lives as long as its guard, over
// reloads.
type Keeper struct {
	events  chan *Event
	running chan struct{} // full while Run runs: in a reload two configurations run for a moment

	// Of Run.
	open    map[string]*episode // by incident
	foreign map[string]*episode // by zone or server: of sidecars that were killed
	away    bool                // the backend failed in this look
	scanned time.Time
}

// NewKeeper makes a keeper.
func NewKeeper() *Keeper {
	return &Keeper{events: make(chan *Event, 256), running: make(chan struct{}, 1), open: map[string]*episode{}, foreign: map[string]*episode{}}
}

// Events returns what people are to be told. Each must be settled.
func (k *Keeper) Events() <-chan *Event { return k.events }

// Run looks until ctx ends.
func (k *Keeper) Run(ctx context.Context, from Source) {
	select {
	case k.running <- struct{}{}:
		defer func() { <-k.running }()
	case <-ctx.Done(): // a configuration that failed to load, while the one before goes on
		return
	}
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			k.look(ctx, &from)
		}
	}
}

// episode is one of this sidecar's, or one that nobody holds any more.
type episode struct {
	incident incidents.Incident // a summary; of a foreign episode the zone or server alone
	foreign  bool

	id      string
	aliases []string
	grave   int
	told    int
	ended   bool // its end was told of
	over    bool // there is nothing left to do

	left    time.Time // when the zone was calm; zero: it is not
	dropped bool      // the incident came to nothing
	shared  bool      // the sidecars have agreed on it

	telling *telling
	since   time.Time // when telling began

	next    time.Time // when to beat again, if nothing changes
	figures time.Time // when the figures of all were fetched
	parts   []incidents.Part
}

// look brings everything up to date.
func (k *Keeper) look(ctx context.Context, from *Source) {
	k.away = false
	k.gather(from.Log)
	ids := make([]string, 0, len(k.open))
	for id := range k.open {
		ids = append(ids, id)
	}
	slices.Sort(ids) // by when they began: an old one is left before the next is joined
	for _, id := range ids[:min(len(ids), mostAtOnce)] {
		e := k.open[id]
		k.step(ctx, from, e)
		if !e.dropped {
			from.Log.SetEpisode(id, e.record())
		}
		if e.over {
			delete(k.open, id)
		}
	}
	k.watch(ctx, from)
}

// gather takes over what has become of the incidents.
func (k *Keeper) gather(log *incidents.Log) {
	now := time.Now()
	unsettled := make(map[string]bool)
	for _, u := range log.Unsettled() {
		unsettled[u.ID] = true
		e := k.open[u.ID]
		if e == nil {
			e = newEpisode(&u.Incident)
			k.open[u.ID] = e
		}
		e.incident, e.grave = u.Incident, max(e.grave, u.Grave)
		if !u.Ongoing && e.left.IsZero() {
			e.left, e.next = now, time.Time{}
		}
	}
	for id, e := range k.open {
		if unsettled[id] {
			continue
		}
		summary, known := log.Summary(id)
		if e.dropped = !known; known {
			e.incident = summary
		}
		if e.left.IsZero() {
			e.left, e.next = now, time.Time{}
		}
	}
}

// newEpisode begins with what the incident's record says.
func newEpisode(i *incidents.Incident) *episode {
	e := &episode{incident: *i, id: i.ID}
	if known := i.Episode; known != nil {
		e.id, e.aliases, e.told, e.ended = known.ID, slices.Clone(known.Aliases), known.Told, known.Ended
		e.parts = known.Sidecars
	}
	return e
}

// record is what the incident's record is to say.
func (e *episode) record() incidents.Episode {
	r := incidents.Episode{ID: e.id, Aliases: slices.Clone(e.aliases), Told: e.told, Ended: e.ended}
	if len(e.parts) > 1 {
		sum := incidents.SumParts(e.parts)
		r.Sum, r.Sidecars = &sum, e.parts
	}
	return r
}

// step does what is due for an episode.
func (k *Keeper) step(ctx context.Context, from *Source, e *episode) {
	now := time.Now()
	if e.telling != nil && now.Sub(e.since) > settleLimit {
		e.telling.settle(false)
	}
	if from.Backend == nil || k.away {
		k.alone(e, from)
		return
	}
	// What was told of alone was told of with this sidecar's id: that is to be said
	// first.
	if t := e.telling; t != nil && t.alone && t.kind != EventEnded {
		if settled, _ := t.outcome(); !settled {
			return
		}
		e.told, e.telling = max(e.told, t.level), nil
	}
	if now.Before(e.next) && !e.changed() {
		return
	}
	if err := k.beat(ctx, from, e); err != nil {
		k.away = true
		k.alone(e, from)
	}
}

// changed reports whether there is news for the others.
func (e *episode) changed() bool {
	return e.telling != nil || e.left.IsZero() && e.grave > e.told
}

// beat tells the others and takes in what is agreed.
func (k *Keeper) beat(ctx context.Context, from *Source, e *episode) error {
	b := e.say(from.Member)
	reported := b.Outcome != ""
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	agreed, err := from.Backend.Beat(ctx, b)
	if err != nil {
		return err
	}
	now := time.Now()
	e.next = now.Add(jitter(beatEvery))
	if reported {
		e.ended = e.ended || e.telling.kind == EventEnded && agreed.Over
		e.telling = nil
	}
	if agreed.ID == "" {
		k.unknown(e, from)
		return nil
	}
	k.agree(e, from, agreed)
	if b.Parts && len(agreed.Parts) > 0 {
		e.figures = now
	}
	if agreed.Over {
		e.ended, e.over = e.told > 0, true
	}
	return nil
}

// say is this sidecar's next word.
func (e *episode) say(sidecar string) *maintenance.Beat {
	b := &maintenance.Beat{Zone: e.incident.Key(), Member: sidecar, ID: e.id, Stage: maintenance.Joined, Level: e.grave, Told: e.told, Lease: lease}
	switch {
	case e.foreign:
		b.Stage, b.Level, b.Told = maintenance.Watching, 0, 0
	case !e.left.IsZero():
		b.Stage = maintenance.Left
		b.Parts = true
	default:
		b.Parts = time.Since(e.figures) > figuresEvery
	}
	if !e.foreign {
		b.Member += "/" + e.incident.ID
		part := e.incident.Part(sidecar)
		if !e.left.IsZero() && part.Ended.IsZero() {
			part.Ended = part.AsOf
		}
		b.Part, _ = json.Marshal(part)
	}
	if t := e.telling; t != nil {
		b.Telling, b.TellingLevel = t.what(), t.level
		if settled, told := t.outcome(); settled {
			b.Outcome = maintenance.NotTold
			if told {
				b.Outcome = maintenance.Told
			}
		}
	}
	return b
}

// agree takes in what the sidecars agree on.
func (k *Keeper) agree(e *episode, from *Source, agreed *maintenance.Agreed) {
	e.shared = true
	if agreed.ID != e.id && !e.foreign {
		if e.told > 0 {
			k.emit(e, from, EventMerged, e.told, agreed.ID)
		}
		e.aliases = append(e.aliases, e.id)
	}
	e.id, e.told = agreed.ID, agreed.Told
	for _, alias := range agreed.Aliases {
		if alias != e.id && !slices.Contains(e.aliases, alias) {
			e.aliases = append(e.aliases, alias)
		}
	}
	e.aliases = slices.DeleteFunc(e.aliases, func(alias string) bool { return alias == e.id })
	if len(agreed.Parts) > 0 {
		e.parts = readParts(agreed.Parts)
	}
	switch {
	case e.telling != nil: // not settled yet
	case agreed.Tell == maintenance.TellBegun && e.told > 0:
		e.telling = k.emit(e, from, EventWorsened, agreed.Level, "")
	case agreed.Tell == maintenance.TellBegun:
		e.telling = k.emit(e, from, EventBegan, agreed.Level, "")
	case agreed.Tell == maintenance.TellEnded:
		e.telling = k.emit(e, from, EventEnded, agreed.Level, "")
	}
}

// unknown is for an episode that the backend does not know, though this sidecar has
// left it: it was lost, or never heard of.
func (k *Keeper) unknown(e *episode, from *Source) {
	if e.foreign || e.told == 0 || e.ended {
		e.over = true
		return
	}
	e.shared = false
	k.alone(e, from)
}

// alone decides without the others.
func (k *Keeper) alone(e *episode, from *Source) {
	now := time.Now()
	if t := e.telling; t != nil {
		settled, _ := t.outcome()
		switch {
		case !settled:
			return
		case t.kind != EventEnded:
			e.told, e.telling = max(e.told, t.level), nil
		case !e.shared:
			e.ended, e.over, e.telling = true, true, nil
			return
		default: // the others are told when the backend is back
			e.ended = true
			e.over = now.Sub(e.left) > forgetAfter
			return
		}
	}
	switch {
	case e.foreign:
		e.over = true
	case e.left.IsZero() && e.grave > e.told && e.told > 0:
		e.telling = k.emit(e, from, EventWorsened, e.grave, "")
		e.telling.alone = true
	case e.left.IsZero() && e.grave > e.told:
		e.telling = k.emit(e, from, EventBegan, e.grave, "")
		e.telling.alone = true
	case e.left.IsZero():
	case e.told == 0 || e.ended:
		e.over = !e.shared || now.Sub(e.left) > forgetAfter
	case !e.shared || now.Sub(e.left) > lease:
		e.telling = k.emit(e, from, EventEnded, e.told, "")
	}
}

// watch looks for episodes that nobody holds any more and ends them.
func (k *Keeper) watch(ctx context.Context, from *Source) {
	if from.Backend == nil || k.away {
		return
	}
	if now := time.Now(); now.Sub(k.scanned) >= jitter(beatEvery) {
		k.scanned = now
		call, cancel := context.WithTimeout(ctx, callLimit)
		zones, err := from.Backend.Overdue(call)
		cancel()
		if err != nil {
			return // the next look tells
		}
		for _, zone := range zones {
			if k.foreign[zone] == nil && !k.holds(zone) {
				k.foreign[zone] = &episode{incident: incidents.OfKey(zone), foreign: true}
			}
		}
	}
	for zone, e := range k.foreign {
		k.step(ctx, from, e)
		if e.over || e.telling == nil {
			delete(k.foreign, zone)
		}
	}
}

// holds reports whether this sidecar has a part in the episode of a zone or server.
func (k *Keeper) holds(zone string) bool {
	for _, e := range k.open {
		if e.incident.Key() == zone {
			return true
		}
	}
	return false
}

// emit gives out an event.
func (k *Keeper) emit(e *episode, from *Source, kind string, grave int, into string) *telling {
	parts := e.parts
	if !e.foreign {
		mine := e.incident.Part(from.Member)
		parts = slices.DeleteFunc(slices.Clone(parts), func(p incidents.Part) bool { return p.Incident == mine.Incident && p.Sidecar == mine.Sidecar })
		parts = append(parts, mine)
		sortParts(parts)
	}
	event := &Event{
		Kind: kind, At: time.Now(), ID: e.id, Into: into, Aliases: slices.Clone(e.aliases), Zone: e.incident.Zone, Server: e.incident.Server, Grave: grave, Observe: e.incident.Observe,
		Evidence: cmp.Or(e.incident.Opening, e.incident.Evidence), Sum: incidents.SumParts(parts), Sidecars: parts,
		telling: &telling{kind: kind, level: grave},
	}
	e.since = time.Now()
	select {
	case k.events <- event:
	default:
		event.Settle(false) // nobody takes them
	}
	return event.telling
}

// what is the telling in the words of the backend.
func (t *telling) what() maintenance.Telling {
	if t.kind == EventEnded {
		return maintenance.TellEnded
	}
	return maintenance.TellBegun
}

func readParts(records map[string][]byte) []incidents.Part {
	parts := make([]incidents.Part, 0, len(records))
	for _, record := range records {
		var p incidents.Part
		if json.Unmarshal(record, &p) == nil {
			parts = append(parts, p)
		}
	}
	sortParts(parts)
	return parts
}

func sortParts(parts []incidents.Part) {
	slices.SortFunc(parts, func(a, b incidents.Part) int {
		return cmp.Or(strings.Compare(a.Sidecar, b.Sidecar), strings.Compare(a.Incident, b.Incident))
	})
}

// jitter keeps a fleet from asking all at once.
func jitter(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (0.9 + 0.2*rand.Float64()))
}
