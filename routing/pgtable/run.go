package pgtable

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/firebreak-proxy/firebreak/routing"
)

const (
	connectTimeout = 5 * time.Second
	// The database is tried again after retryFirst, then less and less often.
	retryFirst = 250 * time.Millisecond
	retryLast  = 15 * time.Second
	// settle is how long changes are gathered before the table is read.
	settle = 50 * time.Millisecond
	// restShare: after a load that took a second the next notification is heard
	// out for so many seconds. Big tables that change all the time are read one
	// time in five at most.
	restShare = 4
)

// Run implements [routing.Source].
func (d *Directory) Run(ctx context.Context) {
	noLonger := time.AfterFunc(startWait, d.waitNoMore)
	defer noLonger.Stop()
	defer d.waitNoMore()
	pause := retryFirst
	for ctx.Err() == nil {
		err := d.session(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil: // without a channel no connection is held
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

// session connects, reads the table, and goes on doing so for as long as the
// connection lasts, if it is to be told of changes.
func (d *Directory) session(ctx context.Context) error {
	s := &session{d: d}
	if err := s.connect(ctx); err != nil {
		return fmt.Errorf("connecting: %w", inWords(err))
	}
	defer s.close()
	for {
		if err := s.load(ctx); err != nil {
			return fmt.Errorf("reading the stores: %w", inWords(err))
		}
		if d.opts.Notify == "" {
			return nil
		}
		if err := s.wait(ctx); err != nil {
			return inWords(err)
		}
	}
}

// session is one connection.
type session struct {
	d        *Directory
	conn     *pgconn.PgConn
	notified bool
	loaded   time.Time
	took     time.Duration
}

func (s *session) connect(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, min(connectTimeout, s.d.opts.Timeout))
	defer cancel()
	config := s.d.config.Copy()
	// Called on the goroutine that reads from the connection, which is ours.
	config.OnNotification = func(*pgconn.PgConn, *pgconn.Notification) { s.notified = true }
	conn, err := pgconn.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	s.conn = conn
	// A server that lives gives up first, and says so.
	limit := s.d.opts.Timeout * 9 / 10
	setUp := fmt.Sprintf("SET default_transaction_read_only = on; SET statement_timeout = %d", limit.Milliseconds())
	if s.d.opts.Notify != "" {
		// Before the table is read: what changes later is told of.
		setUp += "; LISTEN " + s.d.opts.Notify
	}
	if _, err := conn.Exec(ctx, setUp).ReadAll(); err != nil {
		s.close()
		return err
	}
	return nil
}

// close does not wait for a server that hangs.
func (s *session) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = s.conn.Close(ctx)
}

// wait returns when it is time to read the table again.
func (s *session) wait(ctx context.Context) error {
	if err := s.listen(ctx, s.loaded.Add(s.d.opts.Refresh)); err != nil || !s.notified {
		return err
	}
	rest := s.loaded.Add(restShare * s.took)
	if soon := time.Now().Add(settle); rest.Before(soon) {
		rest = soon
	}
	for time.Now().Before(rest) {
		s.notified = false
		if err := s.listen(ctx, rest); err != nil {
			return err
		}
	}
	return nil
}

// listen returns on a notification, or at a time.
func (s *session) listen(ctx context.Context, until time.Time) error {
	if s.notified {
		return nil
	}
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	err := s.conn.WaitForNotification(ctx)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return nil // the connection is still good
	}
	return err
}

// load reads the table and puts it in force. The error is that of a connection
// that is no longer good; what is wrong with the table is told and forgotten.
func (s *session) load(ctx context.Context) error {
	d := s.d
	s.notified = false
	began := time.Now()
	read, err := s.read(ctx)
	s.loaded, s.took = time.Now(), time.Since(began)
	if err != nil && (s.conn.IsClosed() || ctx.Err() != nil) {
		return err
	}
	var broken *pgconn.PgError
	if err != nil && !errors.As(err, &broken) && !errors.Is(err, errRefused) {
		return err
	}
	if d.down.Swap(false) {
		d.opts.Log(d.event(routing.SourceBack, nil))
	}
	if err != nil {
		d.refuse(err)
	} else {
		d.accept(read, s.took)
	}
	d.waitNoMore()
	return nil
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

// inWords says "no answer in time" for whatever a deadline looks like.
func inWords(err error) error {
	if errors.Is(err, context.DeadlineExceeded) || pgconn.Timeout(err) {
		return errors.New("no answer in time")
	}
	return err
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
