package lookup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/firebreak-proxy/firebreak/routing"
)

// saveEvery is how often new answers are written to the snapshot.
const saveEvery = time.Minute

// Run implements [routing.Source]: it renews answers before they are too old,
// finds out when the service is back, reads the list and writes the snapshot.
func (d *Directory) Run(ctx context.Context) {
	var work sync.WaitGroup
	// Half of the slots are for requests that wait.
	for range max(1, d.opts.MaxConcurrent/2) {
		work.Go(func() { d.renew(ctx) })
	}
	work.Go(func() { d.probe(ctx) })
	switch {
	case d.opts.List != "":
		work.Go(func() { d.keepListed(ctx) })
	case d.opts.Snapshot != "":
		work.Go(func() { d.keepSaved(ctx) })
	}
	work.Wait()
	d.service.client.CloseIdleConnections()
}

// renew asks for keys whose answers will soon be too old.
func (d *Directory) renew(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case key := <-d.renewal:
			d.renewKey(key)
		}
	}
}

func (d *Directory) renewKey(key string) {
	if e, ok := d.known.get(key); ok && int64(d.now()) < e.renew.Load()-int64(d.retry()) {
		return // somebody else has done it
	}
	if f := d.join(key); f != nil {
		<-f.done
	}
}

// keepListed reads the list at once, and again and again.
func (d *Directory) keepListed(ctx context.Context) {
	pause, retry := time.Duration(0), time.Duration(0) // retry: 0 if the last one was good
	for sleep(ctx, pause) {
		began := time.Now()
		table, err := d.readList(ctx)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			d.putList(table, time.Since(began), retry > 0)
			retry = 0
			pause = d.opts.ListEvery - jitter(d.opts.ListEvery/10)
			continue
		}
		if retry == 0 {
			d.opts.Log(d.event(routing.SourceRefused, err))
		}
		retry = min(max(2*retry, time.Second), d.opts.ListEvery)
		pause = retry + jitter(retry/5)
	}
}

// putList puts a list in force. It is told of and written down if it says
// something new.
func (d *Directory) putList(table *routing.Table, took time.Duration, failed bool) {
	next := &base{Table: table, listed: true, at: time.Now(), digest: table.Digest()}
	last := d.base.Load()
	d.base.Store(next)
	same := last != nil && last.digest == next.digest
	if !same || !last.listed || failed {
		event := d.event(routing.SourceLoaded, nil)
		event.Took = took
		d.opts.Log(event)
	}
	if d.opts.Snapshot != "" && !same {
		d.save(table)
	}
}

// maxListPages ends a list that never does.
const maxListPages = 100_000

// readList reads all pages. A list with anything wrong in it is refused whole.
func (d *Directory) readList(ctx context.Context) (*routing.Table, error) {
	b := routing.NewBuilder()
	after := ""
	for n := 1; n <= maxListPages; n++ {
		limit, cancel := context.WithTimeout(ctx, d.opts.ListTimeout)
		p, err := d.service.page(limit, after)
		cancel()
		if err != nil {
			return nil, fmt.Errorf("page %d of the list of stores: %w", n, err)
		}
		if err := addPage(b, &p); err != nil {
			return nil, fmt.Errorf("page %d of the list of stores: %w", n, err)
		}
		if p.Next == "" || len(d.service.list.parts) == 1 {
			return d.listTable(b)
		}
		if p.Next == after {
			return nil, fmt.Errorf("page %d of the list of stores: next is %q again", n, clip(after))
		}
		after = p.Next
	}
	return nil, fmt.Errorf("the list of stores has more than %d pages", maxListPages)
}

func (d *Directory) listTable(b *routing.Builder) (*routing.Table, error) {
	if last := d.base.Load(); b.Stores() == 0 && last != nil && last.Len() > 0 {
		return nil, fmt.Errorf("the list of stores is empty, but had %d stores before", last.Len())
	}
	return b.Table(), nil
}

// maxRowErrors is how many wrong rows are told.
const maxRowErrors = 5

func addPage(b *routing.Builder, p *page) error {
	var wrong []error
	for i, a := range p.Stores {
		err := b.Add(b.Stores()+1, a.Store, a.Zone, a.Keys)
		if err == nil {
			continue
		}
		wrong = append(wrong, fmt.Errorf("stores[%d]: %w", i, err))
		if len(wrong) == maxRowErrors {
			break
		}
	}
	return errors.Join(wrong...)
}

// keepSaved writes what is known to the snapshot from time to time, and at the
// end.
func (d *Directory) keepSaved(ctx context.Context) {
	for sleep(ctx, saveEvery) {
		d.saveAnswers()
	}
	d.saveAnswers()
}

func (d *Directory) saveAnswers() {
	if !d.dirty.Swap(false) {
		return
	}
	type answered struct {
		key string
		*entry
	}
	var all []answered
	d.known.each(func(key string, e *entry) { all = append(all, answered{key, e}) })
	// The newest first: what contradicts it is left out.
	slices.SortFunc(all, func(a, b answered) int { return cmp.Compare(b.fresh, a.fresh) })
	b := routing.NewBuilder()
	for _, a := range all {
		_ = b.Add(0, a.route.Store, a.route.Zone, []string{a.key})
	}
	d.addRestored(b, d.opts.Cache-len(all))
	if b.Stores() > 0 {
		d.save(b.Table())
	}
}

// addRestored adds what was known before the restart and was not asked for
// since, so that a second restart still knows it.
func (d *Directory) addRestored(b *routing.Builder, left int) {
	last := d.base.Load()
	if last == nil || left <= 0 {
		return
	}
	last.EachName(func(name string, route routing.Route) bool {
		if _, gone := d.unknown.get(name); gone {
			return true
		}
		if b.Add(0, route.Store, route.Zone, []string{name}) == nil {
			left--
		}
		return left > 0
	})
}

func (d *Directory) save(table *routing.Table) {
	if err := routing.SaveTable(d.opts.Snapshot, table); err != nil {
		d.opts.Log(d.event(routing.SourceSnapshotFailed, err))
	}
}

// clip shortens what is repeated in an error.
func clip(s string) string { return s[:min(len(s), 60)] }
