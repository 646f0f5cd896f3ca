package sqltable

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/firebreak-proxy/firebreak/routing"
)

// The database is tried again after retryFirst, then less and less often.
const (
	retryFirst = 250 * time.Millisecond
	retryLast  = 15 * time.Second
)

// Run implements [routing.Source].
func (d *Directory) Run(ctx context.Context) {
	noLonger := time.AfterFunc(startWait, d.waitNoMore)
	defer noLonger.Stop()
	defer d.waitNoMore()
	pause := retryFirst
	for ctx.Err() == nil {
		err := d.opts.Session(ctx, d)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil: // no connection is held
			pause = retryFirst
			sleep(ctx, d.opts.Refresh-time.Duration(rand.Int64N(int64(d.opts.Refresh/10))))
			continue
		}
		if !d.down.Swap(true) {
			d.opts.Log(d.event(routing.SourceLost, err))
			pause = retryFirst
		}
		d.waitNoMore()
		sleep(ctx, pause/2+time.Duration(rand.Int64N(int64(pause/2))))
		pause = min(2*pause, retryLast)
	}
}

// Loaded takes in what was read: a table, or why what was read is refused, after so
// much time.
func (d *Directory) Loaded(read *routing.Table, wrong error, took time.Duration) {
	if d.down.Swap(false) {
		d.opts.Log(d.event(routing.SourceBack, nil))
	}
	if wrong != nil {
		d.refuse(wrong)
	} else {
		d.accept(read, took)
	}
	d.waitNoMore()
}

// refuse tells why a table was refused, once.
func (d *Directory) refuse(err error) {
	if text := err.Error(); text != d.refused {
		d.refused = text
		d.opts.Log(d.event(routing.SourceRefused, err))
	}
}

func (d *Directory) accept(read *routing.Table, took time.Duration) {
	was, digest := d.table.Load(), read.Digest()
	if was != nil && was.digest == digest {
		was.at.Store(time.Now().UnixNano())
		if d.refused != "" {
			d.refused = ""
			d.opts.Log(d.event(routing.SourceLoaded, nil))
		}
		return
	}
	d.refused = ""
	d.put(read, digest, time.Now())
	event := d.event(routing.SourceLoaded, nil)
	event.Took = took
	d.opts.Log(event)
	if d.opts.Snapshot == "" {
		return
	}
	if err := routing.SaveTable(d.opts.Snapshot, read); err != nil {
		d.opts.Log(d.event(routing.SourceSnapshotFailed, err))
	}
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
