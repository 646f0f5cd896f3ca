package pgtable

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/firebreak-proxy/firebreak/routing/sqltable"
)

const (
	connectTimeout = 5 * time.Second
	// settle is how long changes are gathered before the table is read.
	settle = 50 * time.Millisecond
	// restShare: after a load that took a second the next notification is heard
	// out for so many seconds. Big tables that change all the time are read one
	// time in five at most.
	restShare = 4
)

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
	if err != nil && !errors.As(err, &broken) && !errors.Is(err, sqltable.ErrRefused) {
		return err
	}
	d.Loaded(read, err, s.took)
	return nil
}

// inWords says "no answer in time" for whatever a deadline looks like.
func inWords(err error) error {
	if errors.Is(err, context.DeadlineExceeded) || pgconn.Timeout(err) {
		return errors.New("no answer in time")
	}
	return err
}
