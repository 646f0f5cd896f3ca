package sqltable

import (
	"cmp"
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/firebreak-proxy/firebreak/routing"
)

// startWait is how long requests wait, counted from the start of Run, for the
// first table of a process that has no snapshot.
const startWait = 3 * time.Second

// Directory is read from a database.
type Directory struct {
	opts  Options
	table atomic.Pointer[table] // nil: there was none yet
	down  atomic.Bool

	first     chan struct{} // closed when requests need not wait any more
	firstOnce sync.Once

	refused string // the last reason for a refusal that was told; of Run
}

// table is what is in force.
type table struct {
	*routing.Table
	digest uint64
	at     atomic.Int64 // unix nanoseconds of when the database last said so
}

// Options are those that all databases have.
type Options struct {
	Refresh  time.Duration             // how often the table is read
	Timeout  time.Duration             // how long it may take to read the table
	Snapshot string                    // a file for the last good table; "": none
	Log      func(routing.SourceEvent) // is told what happens; nil: nothing is

	// Session reads the table over one connection, calls [Directory.Loaded] with what
	// became of it, and goes on doing so for as long as the connection lasts, or
	// returns nil if none is held.
	Session func(ctx context.Context, d *Directory) error
}

// The defaults.
const (
	DefaultRefresh = time.Minute
	DefaultTimeout = 30 * time.Second
)

// Open makes a directory. It reads the snapshot, if there is one.
func Open(o Options) *Directory {
	o.Refresh, o.Timeout = cmp.Or(o.Refresh, DefaultRefresh), cmp.Or(o.Timeout, DefaultTimeout)
	if o.Log == nil {
		o.Log = func(routing.SourceEvent) {}
	}
	d := &Directory{opts: o, first: make(chan struct{})}
	d.restore()
	return d
}

func (d *Directory) restore() {
	if d.opts.Snapshot == "" {
		return
	}
	saved, at, err := routing.LoadTable(d.opts.Snapshot)
	switch {
	case err != nil:
		d.opts.Log(routing.SourceEvent{Kind: routing.SourceSnapshotFailed, Err: err})
	case saved != nil:
		d.put(saved, saved.Digest(), at)
		d.opts.Log(d.event(routing.SourceRestored, nil))
	}
}

func (d *Directory) put(t *routing.Table, digest uint64, at time.Time) {
	next := &table{Table: t, digest: digest}
	next.at.Store(at.UnixNano())
	d.table.Store(next)
	d.waitNoMore()
}

func (d *Directory) waitNoMore() { d.firstOnce.Do(func() { close(d.first) }) }

// Lookup implements [routing.Directory].
func (d *Directory) Lookup(key string) (routing.Route, bool) {
	if t := d.table.Load(); t != nil {
		return t.Lookup(key)
	}
	return routing.Route{}, false
}

// Ask implements [routing.Asker]: it waits for the first table.
func (d *Directory) Ask(ctx context.Context, key string) (routing.Route, bool) {
	if d.table.Load() == nil {
		select {
		case <-d.first:
		case <-ctx.Done():
		}
	}
	return d.Lookup(key)
}

// Zones implements [routing.Directory].
func (d *Directory) Zones() []string {
	if t := d.table.Load(); t != nil {
		return t.Zones()
	}
	return nil
}

// Len implements [routing.Lister].
func (d *Directory) Len() int {
	if t := d.table.Load(); t != nil {
		return t.Len()
	}
	return 0
}

// EachStore implements [routing.Lister]. It lists the table in force when it
// was called.
func (d *Directory) EachStore(zone string, yield func(store string) bool) {
	if t := d.table.Load(); t != nil {
		t.EachStore(zone, yield)
	}
}

// Report implements [routing.Source].
func (d *Directory) Report() routing.SourceReport {
	r := routing.SourceReport{Down: d.down.Load()}
	if t := d.table.Load(); t != nil {
		r.Since, r.Stores = time.Unix(0, t.at.Load()), t.Len()
	}
	return r
}

func (d *Directory) event(kind routing.SourceEventKind, err error) routing.SourceEvent {
	e := routing.SourceEvent{Kind: kind, Err: err}
	if t := d.table.Load(); t != nil {
		e.Stores, e.Keys, e.Zones = t.Len(), t.Keys(), len(t.Zones())
	}
	return e
}

// Interface guards.
var (
	_ routing.Source = (*Directory)(nil)
	_ routing.Lister = (*Directory)(nil)
)
