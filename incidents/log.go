package incidents

import (
	"cmp"
	"context"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/maintenance"
)

// Keep is how many incidents are kept if nothing else is said.
const Keep = 200

const (
	lookEvery = time.Second
	calmLooks = 3                // so many looks that find nothing end an incident whose last event was lost
	followsBy = 10 * time.Minute // an incident so soon after one that broke off follows it
)

// Source is where a log looks things up. All functions may be nil. They are
// called without any lock that readers of the log need.
type Source struct {
	// Zone is what the guard says of a zone.
	Zone func(name string) (breaker.ZoneStatus, bool)

	// Servers are the API servers.
	Servers func() []breaker.ServerStatus

	// Upkeep is how many requests to the zone maintenance has refused.
	Upkeep func(zone string) uint64

	// Memory is how many requests to the zone were answered from memory.
	Memory func(zone string) uint64

	// Switches are the operators' switches in force, or nil if nothing has
	// changed since it returned version.
	Switches func(version any) (now any, inForce Switches)
}

// Log is the incidents of a process. It is safe for concurrent use, and a nil
// log takes in everything and keeps nothing. Make it with Open, end it with
// Close.
type Log struct {
	files files
	base  time.Time // all times are reckoned from it: setting the clock moves nothing
	stop  context.CancelFunc
	work  sync.WaitGroup

	looking sync.Mutex // held while something is taken in; guards source and version
	source  Source
	version any // of the switches that were taken in

	mu      sync.Mutex // guards below; not held over calls to the source, or I/O
	keep    int
	ongoing map[string]*Incident // by key: the zone, or the server
	past    []*record            // oldest first
	dirty   map[string]bool      // by id: to be written, or removed, soon
	loaded  bool
	problem error
}

// record is an incident that is over.
type record struct {
	summary Incident
	full    *Incident // until it is on disk
	amended bool      // what is on disk lacks the summary's episode
}

// now is the time of day as the process began to know it.
func (l *Log) now() time.Time { return l.base.Round(0).Add(time.Since(l.base)).UTC() }

// Attach says where to look things up from now on.
func (l *Log) Attach(s Source) {
	if l == nil {
		return
	}
	l.looking.Lock()
	defer l.looking.Unlock()
	l.source, l.version = s, nil
}

// SetKeep says how many incidents to keep.
func (l *Log) SetKeep(n int) {
	if n <= 0 {
		n = Keep
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.keep = n
}

// Tell takes in a transition of the guard.
func (l *Log) Tell(e *breaker.Event) {
	if l == nil {
		return
	}
	if e.Zone == "" {
		if e.Server != "" {
			l.tellServer(e)
		}
		return
	}
	l.looking.Lock()
	defer l.looking.Unlock()
	status, known := l.see(e.Zone)
	out := l.outside(e.Zone)
	told := *e
	told.At, told.First = e.At.UTC(), e.First.UTC()
	fresh := l.takeIn(&told, &status, known, out)
	if fresh {
		l.version = nil
		l.sample(l.now())
	}
}

// takeIn books an event. It reports whether that began an incident.
func (l *Log) takeIn(e *breaker.Event, status *breaker.ZoneStatus, known bool, out outside) (fresh bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := l.ongoing[e.Zone]
	if i != nil && !e.At.After(i.Books.adopted) {
		// The event was on its way when the record was begun in the middle.
		if i.Books.resumed || e.Kind != breaker.EventZoneTroubled && !byHand(e.Kind) {
			return false
		}
		l.touch(i)
		delete(l.ongoing, e.Zone)
		i = nil
	}
	if i == nil {
		if !begins(e) {
			return false
		}
		i, fresh = l.begin(e, out), true
	}
	i.tell(e)
	i.apply(e)
	if e.At.After(i.AsOf) {
		i.AsOf = e.At
	}
	i.Observe = e.Observe
	i.count(e.Tally)
	if known {
		i.blame(status.Culprits)
		i.WorstOccupied = max(i.WorstOccupied, status.Live+status.Hung)
	}
	i.countOutside(out)
	i.noteRecovery(e.At)
	if mayEnd(e.Kind) && known && calm(status) && !i.Books.kept() {
		l.end(i, e.At)
	}
	l.touch(i)
	return fresh
}

// mayEnd reports whether nothing may be left after an event of this kind. What the
// guard says now may be later than the event.
func mayEnd(kind string) bool {
	switch kind {
	case breaker.EventZoneCalm, breaker.EventZoneAuto, breaker.EventStoreAuto:
		return true
	}
	return false
}

// begins reports whether an event begins an incident.
func begins(e *breaker.Event) bool {
	switch e.Kind {
	case breaker.EventZoneTroubled, breaker.EventZoneOpened, breaker.EventStoreQuarantined,
		breaker.EventZoneIsolated, breaker.EventStoreIsolated:
		return true
	}
	return false
}

// byHand reports whether an event of this kind is about a hold that begins.
func byHand(kind string) bool {
	switch kind {
	case breaker.EventZoneIsolated, breaker.EventStoreIsolated, breaker.EventZoneAdmitted, breaker.EventStoreAdmitted:
		return true
	}
	return false
}

// calm reports whether nothing is wrong with a zone, and there is no hold.
func calm(s *breaker.ZoneStatus) bool {
	return s.State == breaker.Calm && s.Hold == nil && s.HeldStores == 0 && s.QuarantinedCount == 0
}

// begin opens a record. Callers hold mu.
func (l *Log) begin(e *breaker.Event, out outside) *Incident {
	at := e.At
	if !e.First.IsZero() && e.First.Before(at) {
		at = e.First
	}
	i := l.newIncident(e.Zone, "", at, e.Evidence)
	i.Books.countFrom(out)
	if e.Tally != nil {
		i.Books.Base = *e.Tally
		i.Books.Base.Worst = 0
	}
	if e.Kind == breaker.EventZoneTroubled && at.Before(e.At) {
		i.note(at, whatFirst, "", "the first of the requests that go wrong is let in")
	}
	return i
}

// newIncident begins the record of a zone, or of a server.
func (l *Log) newIncident(zone, server string, at time.Time, evidence string) *Incident {
	i := &Incident{
		ID: l.newID(at, cmp.Or(zone, server)), Zone: zone, Server: server, Ongoing: true, Began: at, AsOf: at, Evidence: shorten(evidence),
		Refused: map[string]uint64{}, Culprits: []breaker.Culprit{}, Books: newBooks(),
	}
	for _, r := range slices.Backward(l.past) {
		if s := &r.summary; s.Zone == zone && s.Server == server {
			if s.Interrupted != "" && at.Sub(s.Ended) < followsBy {
				i.Follows = s.ID
			}
			break
		}
	}
	l.ongoing[i.Key()] = i
	return i
}

// newID names an incident so that it sorts by time and is safe in a path.
func (l *Log) newID(at time.Time, zone string) string {
	stem := at.UTC().Format("20060102-150405") + "-" + safeName(zone)
	id := stem
	for n := 2; l.has(id); n++ {
		id = fmt.Sprintf("%s~%d", stem, n)
	}
	return id
}

func (l *Log) has(id string) bool {
	for _, i := range l.ongoing {
		if i.ID == id {
			return true
		}
	}
	return slices.ContainsFunc(l.past, func(r *record) bool { return r.summary.ID == id })
}

// safeName is a name as it may stand in a path. Names that differ stay so.
func safeName(name string) string {
	safe := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' {
			return r
		}
		return -1
	}, name)
	if safe == name && len(safe) <= 40 && name != "" {
		return safe
	}
	sum := fnv.New32a()
	_, _ = sum.Write([]byte(name))
	return fmt.Sprintf("%s~%08x", safe[:min(len(safe), 40)], sum.Sum32())
}

// apply books what an event changes.
func (i *Incident) apply(e *breaker.Event) {
	dark := func(cause string) {
		if e.Observe {
			return
		}
		if !i.Books.begin(cause, e.At) {
			i.StoresLeftOut++
		}
	}
	light := func(cause string) { i.Books.finish(cause, e.At) }
	switch e.Kind {
	case breaker.EventZoneOpened:
		i.Openings++
		if i.Opened.IsZero() {
			i.Opened, i.Opening = e.At, shorten(e.Evidence)
		}
		dark(zoneOpen)
	case breaker.EventZoneClosed, breaker.EventZoneCalm:
		light(zoneOpen)
	case breaker.EventZoneIsolated:
		light(zoneHeld)
		dark(zoneHeld)
	case breaker.EventZoneAdmitted, breaker.EventZoneAuto:
		light(zoneHeld)
	case breaker.EventStoreQuarantined:
		dark(storeDark + e.Store)
	case breaker.EventQueryCancelled:
		i.Cancelled++
	case breaker.EventStoreReleased:
		light(storeDark + e.Store)
	case breaker.EventStoreIsolated:
		light(storeHeld + e.Store)
		dark(storeHeld + e.Store)
	case breaker.EventStoreAdmitted, breaker.EventStoreAuto:
		light(storeHeld + e.Store)
	}
}

// noteRecovery keeps when the last darkness ended.
func (i *Incident) noteRecovery(at time.Time) {
	b := i.Books
	switch {
	case b.darkNow():
		i.Recovered = time.Time{}
	case i.Recovered.IsZero() && (len(b.Zone) > 0 || len(b.Off) > 0 || len(b.Own) > 0):
		i.Recovered = at
	}
}

// TellSwitch takes in that operators' switches have changed.
func (l *Log) TellSwitch(*maintenance.Event) {
	if l == nil {
		return
	}
	l.looking.Lock()
	defer l.looking.Unlock()
	l.version = nil
	l.look()
}

// Note adds a line to the zone's ongoing incident, if there is one. What is a
// name like that of an event; store may be empty.
func (l *Log) Note(zone string, at time.Time, what, store, text string) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if i := l.ongoing[zone]; i != nil {
		i.note(at.UTC(), what, store, text)
		l.touch(i)
	}
}

// NoteRecovery keeps how far a recovery came in the zone's ongoing incident.
func (l *Log) NoteRecovery(zone string, r Recovery) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	i := l.ongoing[zone]
	if i == nil {
		return
	}
	at := slices.IndexFunc(i.Recoveries, func(known Recovery) bool { return known.ID == r.ID })
	switch {
	case at >= 0:
		i.Recoveries[at] = r
	case len(i.Recoveries) < maxRecoveries:
		i.Recoveries = append(i.Recoveries, r)
	default:
		i.Recoveries = append(i.Recoveries[1:], r)
	}
	l.touch(i)
}

// maxRecoveries bounds the recoveries of an incident; the latest stay.
const maxRecoveries = 20

// Adopt begins incidents for the zones that are in trouble already and have
// none, as when incidents are turned on in the middle of one.
func (l *Log) Adopt(zones []breaker.ZoneStatus) {
	if l == nil {
		return
	}
	l.looking.Lock()
	defer l.looking.Unlock()
	for n := range zones {
		z := &zones[n]
		if calm(z) {
			continue
		}
		out := l.outside(z.Zone)
		l.mu.Lock()
		if l.ongoing[z.Zone] == nil {
			l.adopt(z, out)
		}
		l.mu.Unlock()
	}
	l.version = nil
	l.sample(l.now())
}

func (l *Log) adopt(z *breaker.ZoneStatus, out outside) {
	now := l.now()
	at, evidence := now, z.Evidence
	if !z.EpisodeSince.IsZero() {
		at = z.EpisodeSince.UTC()
	}
	i := l.newIncident(z.Zone, "", at, evidence)
	i.Books.adopted = now
	i.Books.countFrom(out)
	i.Observe, i.Books.Base = z.Observe, *tallyOf(z)
	i.Books.Base.Worst = 0
	i.note(now, whatFound, "", "the record begins here, in the middle: the zone is "+z.State.String())
	i.find(z, now)
	i.blame(z.Culprits)
	l.touch(i)
}

// find books what is wrong with a zone, whose events were not told.
func (i *Incident) find(z *breaker.ZoneStatus, now time.Time) {
	if (z.State == breaker.Open || z.State == breaker.HalfOpen) && z.Hold == nil {
		i.Openings = max(i.Openings, z.Turn, 1)
		if i.Opened.IsZero() {
			i.Opened, i.Opening = z.OpenedAt.UTC(), shorten(z.Evidence)
		}
	}
	for cause := range darkness(z) {
		from := now
		if _, single := storeOf(cause); !single {
			from = z.Since.UTC()
		}
		if !i.Books.begin(cause, from) {
			i.StoresLeftOut++
		}
	}
}

// darkness is the stores refused by the breakers of a zone, as causes.
func darkness(z *breaker.ZoneStatus) map[string]bool {
	causes := make(map[string]bool)
	if z.Observe {
		return causes
	}
	switch {
	case z.State != breaker.Open && z.State != breaker.HalfOpen:
	case z.Hold != nil:
		causes[zoneHeld] = true
	default:
		causes[zoneOpen] = true
	}
	for _, store := range z.Quarantined {
		causes[storeDark+store] = true
	}
	return causes
}

// run looks at ongoing incidents until ctx ends.
func (l *Log) run(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			l.looking.Lock()
			l.look()
			l.looking.Unlock()
			l.files.wake()
		}
	}
}

// look brings the figures of ongoing incidents up to date. Callers hold
// looking.
func (l *Log) look() {
	l.sample(l.now())
	for _, zone := range l.ongoingZones() {
		status, known := l.see(zone)
		out := l.outside(zone)
		l.mu.Lock()
		if i := l.ongoing[zone]; i != nil {
			l.lookAt(i, &status, known, out)
		}
		l.mu.Unlock()
	}
	l.lookAtServers()
}

func (l *Log) lookAt(i *Incident, status *breaker.ZoneStatus, known bool, out outside) {
	now := l.now()
	if known {
		i.count(tallyOf(status))
		i.blame(status.Culprits)
	}
	i.countOutside(out)
	if known {
		i.reconcile(status, now)
	}
	i.noteRecovery(now)
	i.AsOf = now
	if known && !calm(status) || i.Books.kept() {
		i.Books.calmFor = 0
		return
	}
	if i.Books.calmFor++; i.Books.calmFor >= calmLooks {
		l.end(i, now)
		l.touch(i)
	}
}

// reconcile ends the darkness of breakers that have been closed for a while,
// in case the event that said so was lost.
func (i *Incident) reconcile(status *breaker.ZoneStatus, now time.Time) {
	b := i.Books
	if status.State == breaker.Open || status.State == breaker.HalfOpen || status.QuarantinedCount > 0 {
		b.closedFor = 0
		return
	}
	if b.closedFor++; b.closedFor < calmLooks {
		return
	}
	for cause := range b.Open {
		if cause == zoneOpen || strings.HasPrefix(cause, storeDark) {
			b.finish(cause, now)
		}
	}
}

// tallyOf is the counts of a zone's picture.
func tallyOf(z *breaker.ZoneStatus) *breaker.Tally {
	t := &breaker.Tally{Outcomes: maps.Clone(z.Outcomes), Refusals: maps.Clone(z.Refusals), Worst: z.Live + z.Hung}
	for _, n := range z.WouldRefuse {
		t.WouldRefuse += n
	}
	if !z.EpisodeSince.IsZero() {
		t.Worst = z.WorstOccupied
	}
	return t
}

// end closes an incident. Callers hold mu.
func (l *Log) end(i *Incident, at time.Time) {
	for cause := range i.Books.Open {
		i.Books.finish(cause, at)
	}
	i.noteRecovery(at)
	i.account(at)
	if !i.worthKeeping() {
		delete(l.ongoing, i.Key())
		l.touch(i) // its file goes
		return
	}
	if n := len(i.Timeline); n > 0 && i.Timeline[n-1].What != breaker.EventZoneCalm && i.Server == "" {
		i.note(at, whatOver, "", "nothing is left of it")
	}
	l.close(i, at)
}

// close moves an incident to those that are over.
func (l *Log) close(i *Incident, at time.Time) {
	i.Ongoing, i.Ended, i.Books = false, at, nil
	delete(l.ongoing, i.Key())
	l.past = append(l.past, &record{summary: i.summary(), full: i})
	l.dirty[i.ID] = true
	l.trim()
}

// trim drops incidents that are too many. Callers hold mu.
func (l *Log) trim() {
	if !l.loaded {
		return // what is on disk comes first
	}
	for len(l.past) > l.keep {
		at := 0
		if minor := l.firstMinor(); minor >= 0 {
			at = minor
		}
		l.dirty[l.past[at].summary.ID] = true // its file goes
		l.past = slices.Delete(l.past, at, at+1)
	}
	unsaved := 0
	for _, r := range slices.Backward(l.past) {
		if r.full == nil {
			continue
		}
		if unsaved++; unsaved > maxUnsaved {
			r.full.Timeline, r.full.Stores = nil, nil
			r.full.Interrupted = "it could not be written to disk in time, and its lists were dropped"
		}
	}
}

// maxUnsaved is how many incidents are kept whole in memory while the disk
// does not take them.
const maxUnsaved = 20

// firstMinor is the oldest incident in which no zone opened, if these are more
// than half of all.
func (l *Log) firstMinor() int {
	first, n := -1, 0
	for at, r := range l.past {
		if r.summary.minor() {
			if n++; first < 0 {
				first = at
			}
		}
	}
	if 2*n > l.keep {
		return first
	}
	return -1
}

// touch schedules the writing of an incident.
func (l *Log) touch(i *Incident) { l.dirty[i.ID] = true }

func (l *Log) ongoingZones() []string { return l.ongoingOf(false) }

// ongoingOf are the keys of the incidents of zones, or of servers.
func (l *Log) ongoingOf(servers bool) (keys []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, i := range l.ongoing {
		if (i.Server != "") == servers {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

func (l *Log) see(zone string) (breaker.ZoneStatus, bool) {
	if l.source.Zone == nil {
		return breaker.ZoneStatus{}, false
	}
	return l.source.Zone(zone)
}

// outside is what is counted of a zone outside of the guard.
type outside struct {
	upkeep uint64 // requests that maintenance refused
	memory uint64 // requests that were answered from memory
}

func (l *Log) outside(zone string) (o outside) {
	if l.source.Upkeep != nil {
		o.upkeep = l.source.Upkeep(zone)
	}
	if l.source.Memory != nil {
		o.memory = l.source.Memory(zone)
	}
	return o
}
