package lookup

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/firebreak-proxy/firebreak/routing"
)

// Directory asks a lookup service. See [Listed] for one that can list its
// stores.
type Directory struct {
	opts    Options
	service *service
	epoch   time.Time // moments are counted from it

	known   *cache[*entry]
	unknown *cache[moment] // until when a key is unknown
	base    atomic.Pointer[base]
	health  health
	counts  counts
	renewal chan string // keys to ask for again

	slots   chan struct{} // one for each question at the service
	flights flights
	zones   zoneSet
	dirty   atomic.Bool // there are answers that the snapshot does not have

	badToldAt atomic.Int64 // when the last answer that cannot be used was told of
}

// Listed is a [Directory] that can list its stores.
type Listed struct{ *Directory }

// moment is a point in time, as nanoseconds since the directory was opened.
type moment int64

// entry is an answer about a key.
type entry struct {
	route routing.Route
	fresh moment       // good until then
	until moment       // given until then, if there is no better one
	renew atomic.Int64 // a moment: not asked for again before
	tried atomic.Bool  // it was asked for again
}

// base is a table of stores beside the single answers: the service's list, or
// what was known before a restart.
type base struct {
	*routing.Table
	listed bool // by the service, in this process
	at     time.Time
	digest uint64
}

// Open makes a directory. It reads the snapshot, if there is one; it asks
// nobody yet.
func Open(o Options) (*Directory, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	o = o.withDefaults()
	d := &Directory{
		opts:    o,
		service: newService(&o),
		epoch:   time.Now(),
		known:   newCache[*entry](o.Cache),
		unknown: newCache[moment](max(o.Cache/4, 100)),
		renewal: make(chan string, renewalQueue),
		slots:   make(chan struct{}, o.MaxConcurrent),
		flights: flights{byKey: make(map[string]*flight), most: waitingPerSlot * o.MaxConcurrent},
	}
	for _, zone := range o.Zones {
		_, _ = d.zones.intern(zone)
	}
	d.restore()
	return d, nil
}

// restore takes what was known before a restart.
func (d *Directory) restore() {
	if d.opts.Snapshot == "" {
		return
	}
	table, at, err := routing.LoadTable(d.opts.Snapshot)
	switch {
	case err != nil:
		d.opts.Log(routing.SourceEvent{Kind: routing.SourceSnapshotFailed, Err: err})
	case table != nil && time.Since(at) < d.opts.Stale:
		d.base.Store(&base{Table: table, at: at, digest: table.Digest()})
		d.opts.Log(d.event(routing.SourceRestored, nil))
	}
}

func (d *Directory) now() moment { return moment(time.Since(d.epoch)) }

// Lookup implements [routing.Directory]: it tells what is known and asks
// nobody.
func (d *Directory) Lookup(key string) (routing.Route, bool) {
	found := d.recall(key, d.now(), false)
	return found.route, found.ok()
}

// Ask implements [routing.Asker].
func (d *Directory) Ask(ctx context.Context, key string) (routing.Route, bool) {
	found := d.recall(key, d.now(), true)
	if found.ask && routing.UsableKey(key) {
		if asked := d.wait(ctx, key); asked.how != howFailed || found.how == howMiss {
			found = asked
		}
	}
	if found.how == howMiss {
		found.how = howUnknown // no service would know such a key
	}
	d.counts.add(found.how)
	return found.route, found.ok()
}

// finding is what came of a lookup.
type finding struct {
	route routing.Route
	how   how
	ask   bool // a caller that can wait should ask
}

func (f finding) ok() bool { return f.how >= howCached }

// recall tells what is known of a key. Renew says to have what will soon be too
// old asked for again.
func (d *Directory) recall(key string, now moment, renew bool) finding {
	if e, ok := d.known.get(key); ok && now < e.until {
		due, inVain := renew && d.due(e, now), false
		if due {
			// Asked for lately, and yet not renewed: whoever waited now would
			// learn nothing.
			inVain = e.tried.Swap(true) && now-e.fresh < moment(d.opts.TTL)
		}
		switch {
		case !due:
		case now < e.fresh, inVain:
			d.askAgain(key)
		case !d.health.down():
			return finding{route: e.route, how: howStale, ask: true}
		}
		if now < e.fresh {
			return finding{route: e.route, how: howCached}
		}
		return finding{route: e.route, how: howStale}
	}
	until, denied := d.unknown.get(key)
	if denied && now < until {
		return finding{how: howUnknown}
	}
	if b := d.base.Load(); b != nil {
		current := d.current(b)
		// What is older than the service's last word on the key does not count.
		if route, ok := b.Lookup(key); ok && (current || !denied) {
			if renew && !current {
				d.askAgain(key)
			}
			return finding{route: route, how: howListed}
		}
	}
	return finding{how: howMiss, ask: true}
}

// due reports whether an entry should be asked for again, once in a while to one
// caller only.
func (d *Directory) due(e *entry, now moment) bool {
	renew := e.renew.Load()
	return int64(now) >= renew && e.renew.CompareAndSwap(renew, int64(now)+int64(d.retry()))
}

// retry is how long an entry rests after it was asked for in vain.
func (d *Directory) retry() time.Duration { return max(time.Second, 2*d.opts.Timeout) }

// askAgain has a key asked for in the background. If too many wait for that,
// it is left for the next time.
func (d *Directory) askAgain(key string) {
	if d.health.down() {
		return
	}
	select {
	case d.renewal <- key:
	default:
	}
}

// current reports whether the list is as good as an answer to a single key.
func (d *Directory) current(b *base) bool {
	return b.listed && time.Since(b.at) < 2*d.opts.ListEvery
}

// learn keeps an answer.
func (d *Directory) learn(key string, a *answer) (route routing.Route, newZone bool, err error) {
	zone, isNew := d.zones.intern(a.Zone)
	if zone == "" {
		return routing.Route{}, false, fmt.Errorf("%w: zone %q is one too many, at most %d zones are possible", errNotUsable, a.Zone, maxZones)
	}
	route = routing.Route{Store: a.Store, Zone: zone}
	d.keep(key, route)
	d.keep(a.Store, route)
	for _, more := range a.Keys[:min(len(a.Keys), maxAnswerKeys)] {
		d.keep(more, route)
	}
	d.dirty.Store(true)
	return route, isNew, nil
}

func (d *Directory) keep(key string, route routing.Route) {
	now := d.now()
	// Answers that came together do not grow old together.
	good := d.opts.TTL - jitter(d.opts.TTL/10)
	e := &entry{route: route, fresh: now + moment(good)}
	e.until = e.fresh + moment(d.opts.Stale)
	e.renew.Store(int64(now + moment(good*3/4)))
	d.known.put(key, e)
	d.unknown.remove(key)
}

// forget notes that a key names no store.
func (d *Directory) forget(key string) {
	d.known.remove(key)
	d.unknown.put(key, d.now()+moment(d.opts.NegativeTTL))
}

// Zones implements [routing.Directory]. A zone that was named once stays.
func (d *Directory) Zones() []string {
	zones := d.zones.list()
	if b := d.base.Load(); b != nil {
		zones = append(zones, b.Zones()...)
	}
	slices.Sort(zones)
	return slices.Compact(zones)
}

// Len implements [routing.Lister].
func (d Listed) Len() int {
	if b := d.base.Load(); b != nil {
		return b.Len()
	}
	return 0
}

// EachStore implements [routing.Lister]. It lists what the service listed last.
func (d Listed) EachStore(zone string, yield func(store string) bool) {
	if b := d.base.Load(); b != nil {
		b.EachStore(zone, yield)
	}
}

// Report implements [routing.Source].
func (d *Directory) Report() routing.SourceReport {
	r := routing.SourceReport{Down: d.health.down(), Lookups: d.counts.byName()}
	if b := d.base.Load(); b != nil && d.opts.List != "" {
		r.Since, r.Stores = b.at, b.Len()
	}
	return r
}

func (d *Directory) event(kind routing.SourceEventKind, err error) routing.SourceEvent {
	e := routing.SourceEvent{Kind: kind, Err: err, Zones: len(d.Zones()), Keys: d.known.size()}
	if b := d.base.Load(); b != nil {
		e.Stores, e.Keys = b.Len(), b.Keys()
	}
	return e
}

// maxZones is how many zones answers may name.
const maxZones = 1 << 20

// zoneSet holds the names of all zones once each.
type zoneSet struct {
	mu    sync.RWMutex // guards below
	names map[string]string
}

// intern returns the kept name of a zone, and whether it is new; "" if there
// are too many.
func (z *zoneSet) intern(name string) (kept string, isNew bool) {
	z.mu.RLock()
	kept, ok := z.names[name]
	z.mu.RUnlock()
	if ok {
		return kept, false
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	if kept, ok := z.names[name]; ok {
		return kept, false
	}
	if len(z.names) >= maxZones {
		return "", false
	}
	if z.names == nil {
		z.names = make(map[string]string)
	}
	kept = strings.Clone(name)
	z.names[kept] = kept
	return kept, true
}

func (z *zoneSet) list() []string {
	z.mu.RLock()
	defer z.mu.RUnlock()
	names := make([]string, 0, len(z.names))
	for name := range z.names {
		names = append(names, name)
	}
	return names
}

// how a lookup was answered.
type how int

const (
	howMiss    how = iota // nothing is known
	howUnknown            // no such store, as the service said lately
	howFailed             // not at all: the service is down, slow or overloaded
	howCached             // by an answer that is good
	howListed             // by the list, or what was known before a restart
	howStale              // by an old answer
	howAsked              // by the service, while the request waited
	hows
)

var howNames = [hows]string{"", "unknown", "failed", "cached", "listed", "stale", "asked"}

// counts counts lookups by how they were answered. Lookups on different cores
// seldom share a counter's cache line with anything else that is written.
type counts [hows]struct {
	n atomic.Uint64
	_ [56]byte
}

func (c *counts) add(h how) { c[h].n.Add(1) }

func (c *counts) byName() map[string]uint64 {
	m := make(map[string]uint64, hows)
	for h := howMiss + 1; h < hows; h++ {
		m[howNames[h]] = c[h].n.Load()
	}
	return m
}

// Interface guards.
var (
	_ routing.Source = (*Directory)(nil)
	_ routing.Source = Listed{}
	_ routing.Lister = Listed{}
)
