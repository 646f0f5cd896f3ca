package zonecheck

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/config"
)

// Conn is a connection to a database that is asked about its stores.
type Conn interface {
	// Ping runs a statement that reads no table.
	Ping(ctx context.Context) error

	// List lists up to [MostListed] sessions of other clients that are not idle.
	List(ctx context.Context) (Listing, error)

	// Try runs a statement with the name of a store. The database itself ends it
	// after limit, which is an error for which TimedOut is true.
	Try(ctx context.Context, statement, store string, limit time.Duration) error

	// Cancel cancels the statement of a session that List has listed, if the session
	// still runs it. [ErrOver] means that it does not.
	Cancel(ctx context.Context, s *Session) error

	// TimedOut reports whether err says that the database ended a statement for its
	// time limits, Said whether it is the database's answer to a statement, which
	// leaves the connection as it was.
	TimedOut(err error) bool
	Said(err error) bool

	// Damaged reports whether err says that data, or an index on it, is damaged.
	Damaged(err error) bool

	// Closed reports whether the connection is known to be lost.
	Closed() bool

	// Drop gives the connection up without waiting for the database.
	Drop()
}

// Listing is what a database says of its sessions.
type Listing struct {
	Sessions []Session
	Warning  error // why they are not all there is to see
	TooSoon  bool  // the database would repeat what it said before
}

// SQL is a kind of database that is asked with SQL.
type SQL struct {
	Dialect Dialect

	// Open reads an address, and returns what opens connections to it.
	Open func(address string) (func(ctx context.Context) (Conn, error), error)
}

// RegisterSQL adds a way to ask a database about its stores. Call it from init.
func RegisterSQL(name string, s SQL) {
	askers[name], probers[name] = s.ask, s.probe
}

// ask lists what hangs in a zone's database over the held connection, and tries
// stores over others.
func (s SQL) ask(ctx context.Context, zone string, c *config.Check, q *breaker.Inquiry, report func(breaker.Findings)) error {
	lines := linesOf(zone, c, s.Open)
	if q.Calm {
		return lines.keepAlive(ctx, c)
	}
	tried := make(chan error, 1)
	go func() { tried <- lines.tryStores(ctx, c, q, report) }()
	err := s.list(ctx, lines, c, q, report)
	return cmp.Or(<-tried, err)
}

// list reports what hangs.
func (s SQL) list(ctx context.Context, l *lines, c *config.Check, q *breaker.Inquiry, report func(breaker.Findings)) error {
	finder, err := NewFinder(c.StoreIn, s.Dialect)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(c.Timeout))
	defer cancel()
	var listing Listing
	err = l.held.run(ctx, l, func(conn Conn) (err error) {
		listing, err = conn.List(ctx)
		return err
	})
	if err != nil {
		return AnswerError(ctx, err)
	}
	if !listing.TooSoon {
		report(findings(listing.Sessions, finder, q.SlowAfter))
		if q.Cancel != nil {
			err = l.cancelQueries(ctx, listing.Sessions, finder, q, report)
		}
	}
	return cmp.Or(listing.Warning, err)
}

// ErrOver is why a statement was not cancelled: it has ended by itself.
var ErrOver = errors.New("it has ended by itself")

// cancelQueries cancels the statements of requests that hang.
func (l *lines) cancelQueries(ctx context.Context, sessions []Session, finder *Finder, q *breaker.Inquiry, report func(breaker.Findings)) (failed error) {
	for request, s := range requestsOf(sessions, finder, q.SlowAfter) {
		if ctx.Err() != nil || !q.Cancel(request, finder.Store(s.Query, s.App)) {
			continue
		}
		err := l.held.run(ctx, l, func(conn Conn) error { return conn.Cancel(ctx, s) })
		report(breaker.Findings{Cancelled: &breaker.Cancellation{Request: request, PID: s.ID, For: s.Ran, Err: err}})
		if err != nil && !errors.Is(err, ErrOver) {
			failed = fmt.Errorf("on_hung cancel_query: %w", AnswerError(ctx, err))
		}
	}
	return failed
}

// requestsOf are the sessions whose statement hangs, by the request that it names.
// Requests that two sessions name are left out.
func requestsOf(sessions []Session, finder *Finder, slowAfter time.Duration) map[string]*Session {
	named, of := make(map[string]int), make(map[string]*Session)
	for i := range sessions {
		s := &sessions[i]
		request := finder.Request(s.Query)
		if request == "" {
			continue
		}
		if named[request]++; named[request] == 1 && s.hangs(slowAfter) {
			of[request] = s
		} else {
			delete(of, request)
		}
	}
	return of
}

// keepAlive sees that the held connections are there: one statement, and none for
// the other, which is only opened.
func (l *lines) keepAlive(ctx context.Context, c *config.Check) error {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(c.Timeout))
	defer cancel()
	err := l.held.run(ctx, l, func(conn Conn) error { return conn.Ping(ctx) })
	if err != nil {
		return AnswerError(ctx, err)
	}
	if c.StoreProbe != "" {
		err = l.probes[0].run(ctx, l, func(Conn) error { return nil })
	}
	for i := 1; i < parallelProbes; i++ {
		l.probes[i].close()
	}
	return err
}

// tryStores runs probes until there is no store left to try.
func (l *lines) tryStores(ctx context.Context, c *config.Check, q *breaker.Inquiry, report func(breaker.Findings)) error {
	if c.StoreProbe == "" {
		return nil
	}
	var wg sync.WaitGroup
	errs := make([]error, parallelProbes)
	for i := range l.probes {
		wg.Go(func() {
			for ctx.Err() == nil {
				store, ok := q.Next()
				if !ok {
					return
				}
				if store == "" {
					wait(ctx, probeLook)
					continue
				}
				v, err := l.probes[i].try(ctx, l, c, store, q.SlowAfter)
				report(breaker.Findings{Tried: store, Verdict: v})
				if err != nil {
					errs[i] = err
					return
				}
			}
		})
	}
	wg.Wait()
	return cmp.Or(errs...)
}

// probeLook is how often it is looked for more stores to try while there is none.
const probeLook = 10 * time.Millisecond

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// probeReplyTime is how long the answer to a probe may take beyond the database's
// own limit.
const probeReplyTime = 500 * time.Millisecond

// MostProbeRows bounds the rows of a probe that are read.
const MostProbeRows = 100

// ErrTooMuch is why no more of an answer is read.
var ErrTooMuch = errors.New("the answer is too large")

// try runs the probe of one store. The database itself ends it after half of
// slow_after. One that does not do so is not well, which says nothing about the
// store.
func (n *line) try(ctx context.Context, l *lines, c *config.Check, store string, slowAfter time.Duration) (breaker.Verdict, error) {
	limit := min(slowAfter/2, time.Duration(c.Timeout))
	ctx, cancel := context.WithTimeout(ctx, limit+probeReplyTime)
	defer cancel()
	timedOut := false
	err := n.run(ctx, l, func(conn Conn) error {
		err := conn.Try(ctx, c.StoreProbe, store, limit)
		timedOut = err != nil && conn.TimedOut(err)
		return err
	})
	switch {
	case err == nil:
		return breaker.Passed, nil
	case timedOut:
		return breaker.Failed, nil
	}
	return breaker.Unknown, fmt.Errorf("store_probe: %w", AnswerError(ctx, err))
}
