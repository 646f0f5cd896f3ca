package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/routing/pgtable"
	"github.com/firebreak-proxy/firebreak/zonecheck"
)

const (
	// appName is how the connections call themselves.
	appName = "firebreak"

	// parallelProbes is how many stores of one zone are tried at a time.
	parallelProbes = 6

	// unusedAfter is how long connections are kept that are not used.
	unusedAfter = 30 * time.Second

	// mostMessage bounds one message of the database.
	mostMessage = 1 << 20
)

// lines are the connections to the database of one zone: one that is held to list
// what hangs, and those that try stores, of which one is held.
type lines struct {
	config *pgconn.Config
	broken error // the address cannot be read
	held   line
	probes [parallelProbes]line
	unused *time.Timer
}

// line is one connection, opened when it is needed.
type line struct {
	mu   sync.Mutex // held while the connection is used
	conn *pgconn.PgConn
}

var all = struct {
	sync.Mutex
	lines map[string]*lines
}{lines: make(map[string]*lines)}

// linesOf are the connections of a zone's check.
func linesOf(zone string, c *config.Check) *lines {
	key := zone + "\x00" + c.Address
	all.Lock()
	defer all.Unlock()
	l := all.lines[key]
	if l == nil {
		l = new(lines)
		l.config, l.broken = pgtable.Config(c.Address)
		if l.broken == nil {
			l.config.RuntimeParams["application_name"] = appName
			l.config.BuildFrontend = func(r io.Reader, w io.Writer) *pgproto3.Frontend {
				f := pgproto3.NewFrontend(r, w)
				f.SetMaxBodyLen(mostMessage)
				return f
			}
		}
		all.lines[key] = l
		l.unused = time.AfterFunc(unusedAfter+2*time.Duration(c.Every), func() {
			all.Lock()
			if all.lines[key] == l {
				delete(all.lines, key)
			}
			all.Unlock()
			l.close()
		})
	}
	l.unused.Reset(unusedAfter + 2*time.Duration(c.Every))
	return l
}

func (l *lines) close() {
	l.held.close()
	for i := range l.probes {
		l.probes[i].close()
	}
}

func (n *line) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.drop()
}

// drop gives the connection up without waiting for the database.
func (n *line) drop() {
	if n.conn != nil {
		_ = n.conn.Conn().Close()
		n.conn = nil
	}
}

// run uses the connection, which is opened if it has to be, and given up after any
// error that is not a statement's own.
func (n *line) run(ctx context.Context, l *lines, use func(*pgconn.PgConn) error) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if l.broken != nil {
		return l.broken
	}
	if n.conn == nil || n.conn.IsClosed() {
		conn, err := pgconn.ConnectConfig(ctx, l.config)
		if err != nil {
			return err
		}
		n.conn = conn
	}
	err := use(n.conn)
	var said *pgconn.PgError
	if err != nil && (!errors.As(err, &said) || ctx.Err() != nil) {
		n.drop()
	}
	return err
}

// keepAlive sees that the held connections are there: one statement, and none for
// the other, which is only opened.
func (l *lines) keepAlive(ctx context.Context, c *config.Check) error {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(c.Timeout))
	defer cancel()
	err := l.held.run(ctx, l, func(conn *pgconn.PgConn) error {
		return rows(conn.Exec(ctx, "SELECT 1"), 1, func([][]byte) {})
	})
	if err != nil {
		return zonecheck.AnswerError(ctx, err)
	}
	if c.StoreProbe != "" {
		err = l.probes[0].run(ctx, l, func(*pgconn.PgConn) error { return nil })
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
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// The codes of a statement that the database has ended for its time limits.
const (
	codeCanceled   = "57014"
	codeNoLock     = "55P03"
	mostProbeRows  = 100
	probeReplyTime = 500 * time.Millisecond // beyond the database's own limit
)

// try runs the probe of one store. The database itself ends it after half of
// slow_after, and after a quarter if it waits for a lock. A database that does not
// do so is not well, which says nothing about the store.
func (n *line) try(ctx context.Context, l *lines, c *config.Check, store string, slowAfter time.Duration) (breaker.Verdict, error) {
	limit := min(slowAfter/2, time.Duration(c.Timeout))
	ctx, cancel := context.WithTimeout(ctx, limit+probeReplyTime)
	defer cancel()
	err := n.run(ctx, l, func(conn *pgconn.PgConn) error {
		set := fmt.Sprintf("SET statement_timeout = %d; SET lock_timeout = %d", max(1, limit.Milliseconds()), max(1, limit.Milliseconds()/2))
		if conn.CustomData()["limit"] != set {
			if err := rows(conn.Exec(ctx, set), 1, func([][]byte) {}); err != nil {
				return err
			}
			conn.CustomData()["limit"] = set
		}
		result := conn.ExecParams(ctx, c.StoreProbe, [][]byte{[]byte(store)}, nil, nil, nil)
		for i := 0; result.NextRow(); i++ {
			if i >= mostProbeRows {
				return errTooMuch
			}
		}
		_, err := result.Close()
		return err
	})
	var said *pgconn.PgError
	switch {
	case err == nil:
		return breaker.Passed, nil
	case errors.As(err, &said) && (said.Code == codeCanceled || said.Code == codeNoLock):
		return breaker.Failed, nil
	}
	return breaker.Unknown, fmt.Errorf("store_probe: %w", zonecheck.AnswerError(ctx, err))
}
