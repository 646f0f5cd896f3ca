// Package learned is a directory that API servers teach: each of their responses may
// name the zone, and the store, that it came from. The first answer teaches, and the
// next one corrects a store that has moved. What is known is bounded, and kept in a
// file, so that it outlives a restart.
package learned

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/firebreak-proxy/firebreak/routing"
)

// The defaults and bounds.
const (
	DefaultCache = 100_000
	maxCache     = 10_000_000

	// MaxZones bounds the zones that responses can name, since each one costs memory.
	MaxZones = 10_000

	saveEvery  = 10 * time.Second
	complaints = time.Minute // between two events about responses that cannot be used
)

// Options are the bounds of a directory, and where it is kept.
type Options struct {
	// Cache is how many names are kept: keys, and stores that are not their own key.
	// Those that were longest not answered make room. Default: 100000.
	Cache int

	// Snapshot is a file for what is known. Default: none.
	Snapshot string

	// Log is told what happens. Default: none.
	Log func(routing.SourceEvent) `json:"-"`
}

// Directory is a directory that is taught.
type Directory struct {
	opts   Options
	names  *lru.Cache[string, routing.Route] // a store under its own name has the zone that counts
	dirty  atomic.Bool
	events chan routing.SourceEvent // for Run to tell: responses do not wait for a log
	lately atomic.Int64             // when it last complained, in Unix nanoseconds

	mu    sync.RWMutex // guards below
	zones map[string]struct{}
}

// Open makes a directory and reads what it knew. A file that cannot be read is an
// event and no error: everything in it is learned again.
func Open(o Options) (*Directory, error) {
	if o.Cache == 0 {
		o.Cache = DefaultCache
	}
	if o.Cache < 1 || o.Cache > maxCache {
		return nil, fmt.Errorf("cache is %d: it must be 1 to %d", o.Cache, maxCache)
	}
	names, err := lru.New[string, routing.Route](o.Cache)
	if err != nil {
		return nil, err
	}
	d := &Directory{opts: o, names: names, zones: make(map[string]struct{}), events: make(chan routing.SourceEvent, 16)}
	if o.Snapshot != "" {
		d.restore()
	}
	return d, nil
}

func (d *Directory) restore() {
	table, _, err := routing.LoadTable(d.opts.Snapshot)
	if err != nil {
		d.tell(routing.SourceSnapshotFailed, err)
		return
	}
	if table == nil {
		return
	}
	table.EachName(func(name string, route routing.Route) bool {
		if len(d.zones) < MaxZones {
			d.zones[strings.Clone(route.Zone)] = struct{}{}
			// Cloned: the table shares memory among its names.
			d.names.Add(strings.Clone(name), routing.Route{Store: strings.Clone(route.Store), Zone: strings.Clone(route.Zone)})
		}
		return d.names.Len() < d.opts.Cache
	})
	d.tell(routing.SourceRestored, nil)
}

// Learn is told that a request with this key was served for this store in this zone.
// An empty store is the key itself. It reports why that cannot be used.
func (d *Directory) Learn(key, store, zone string) error {
	if store == "" {
		store = key
	}
	err := routing.CheckRow(store, zone, []string{key})
	if err == nil && !d.newZone(zone) {
		err = fmt.Errorf("zone %q would be one more than the %d zones that can be learned", zone, MaxZones)
	}
	if err != nil {
		d.complain(err)
		return err
	}
	d.put(store, store, zone)
	if key != store {
		d.put(key, store, zone)
	}
	return nil
}

// put enters a name, or makes it the one used last.
func (d *Directory) put(name, store, zone string) {
	if known, ok := d.names.Get(name); ok && known.Store == store && known.Zone == zone {
		return
	}
	// Cloned: what is known must not keep the memory of a request.
	d.names.Add(strings.Clone(name), routing.Route{Store: strings.Clone(store), Zone: strings.Clone(zone)})
	d.dirty.Store(true)
}

// newZone makes a zone known. It reports false if there are too many.
func (d *Directory) newZone(zone string) bool {
	d.mu.RLock()
	_, known := d.zones[zone]
	d.mu.RUnlock()
	if known {
		return true
	}
	d.mu.Lock()
	if _, known = d.zones[zone]; !known && len(d.zones) >= MaxZones {
		d.mu.Unlock()
		return false
	}
	d.zones[strings.Clone(zone)] = struct{}{}
	d.mu.Unlock()
	if !known {
		d.note(routing.SourceZone, nil)
	}
	return true
}

// complain tells about a response that cannot be used, now and then.
func (d *Directory) complain(err error) {
	now := time.Now().UnixNano()
	last := d.lately.Load()
	if now-last > int64(complaints) && d.lately.CompareAndSwap(last, now) {
		d.note(routing.SourceBadAnswer, err)
	}
}

// note leaves an event to Run, unless too many wait already.
func (d *Directory) note(kind routing.SourceEventKind, err error) {
	select {
	case d.events <- routing.SourceEvent{Kind: kind, Err: err}:
	default:
	}
}

// Lookup implements [routing.Directory].
func (d *Directory) Lookup(key string) (routing.Route, bool) {
	route, ok := d.names.Peek(key)
	if ok && route.Store != key {
		// Another key may have learned that the store has moved.
		if own, ok := d.names.Peek(route.Store); ok {
			return own, true
		}
	}
	return route, ok
}

// Ask implements [routing.Asker]: only responses answer.
func (d *Directory) Ask(_ context.Context, key string) (routing.Route, bool) { return d.Lookup(key) }

// Zones implements [routing.Directory].
func (d *Directory) Zones() []string {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return slices.Sorted(maps.Keys(d.zones))
}

// EachStore implements [routing.Lister].
func (d *Directory) EachStore(zone string, yield func(store string) bool) {
	for _, name := range d.names.Keys() {
		route, ok := d.names.Peek(name)
		if ok && route.Store == name && (zone == "" || route.Zone == zone) && !yield(name) {
			return
		}
	}
}

// Len implements [routing.Lister].
func (d *Directory) Len() (n int) {
	d.EachStore("", func(string) bool { n++; return true })
	return n
}

// Run keeps the file up to date, and tells what happens, until ctx is done.
func (d *Directory) Run(ctx context.Context) {
	ticker := time.NewTicker(saveEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			d.save()
			return
		case e := <-d.events:
			d.tell(e.Kind, e.Err)
		case <-ticker.C:
			d.save()
		}
	}
}

// save writes what has been learned since the last time.
func (d *Directory) save() {
	if d.opts.Snapshot == "" || !d.dirty.Swap(false) {
		return
	}
	table, err := d.table()
	if err == nil {
		err = routing.SaveTable(d.opts.Snapshot, table)
	}
	if err != nil {
		d.dirty.Store(true)
		d.tell(routing.SourceSnapshotFailed, err)
	}
}

// table is what is known. A key whose store made room is left out.
func (d *Directory) table() (*routing.Table, error) {
	keys := make(map[string][]string)
	for _, name := range d.names.Keys() {
		if route, ok := d.names.Peek(name); ok && route.Store != name {
			keys[route.Store] = append(keys[route.Store], name)
		}
	}
	b := routing.NewBuilder()
	var err error
	d.EachStore("", func(store string) bool {
		if route, ok := d.names.Peek(store); ok {
			err = b.Add(0, store, route.Zone, keys[store])
		}
		return err == nil
	})
	if err != nil {
		return nil, err
	}
	return b.Table(), nil
}

// Report implements [routing.Source].
func (d *Directory) Report() routing.SourceReport { return routing.SourceReport{Stores: d.Len()} }

func (d *Directory) tell(kind routing.SourceEventKind, err error) {
	if d.opts.Log != nil {
		d.opts.Log(routing.SourceEvent{Kind: kind, Err: err, Keys: d.names.Len(), Zones: len(d.Zones())})
	}
}

// Interface guards.
var (
	_ routing.Source = (*Directory)(nil)
	_ routing.Lister = (*Directory)(nil)
)
