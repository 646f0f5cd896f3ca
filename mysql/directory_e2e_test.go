//go:build e2e

package mysql

import (
	"cmp"
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/firebreak-proxy/firebreak/routing"
	"github.com/firebreak-proxy/firebreak/routing/sqltable"
)

// Running is the directory that options stand for, and what it told. It is for tests
// of the package's outside.
type Running struct {
	*sqltable.Directory
	mu   sync.Mutex
	told strings.Builder
}

// RunDirectory runs a directory until the test ends, or it is stopped.
func RunDirectory(t *testing.T, p *Directory, snapshot string) (r *Running, stop func()) {
	t.Helper()
	what, err := p.table(p.DSN)
	if err = cmp.Or(p.check(p.DSN), err); err != nil {
		t.Fatal(err)
	}
	r = new(Running)
	r.Directory = sqltable.Open(sqltable.Options{Refresh: what.refresh, Timeout: what.timeout, Snapshot: snapshot, Session: what.session, Log: r.note})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { r.Run(ctx) })
	stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
	})
	t.Cleanup(stop)
	return r, stop
}

func (r *Running) note(e routing.SourceEvent) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e.Err != nil {
		r.told.WriteString(e.Err.Error())
	}
}

// Told is what errors were told.
func (r *Running) Told() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.told.String()
}
