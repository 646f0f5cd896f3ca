package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/firebreak-proxy/firebreak/routing/pgtable"
	"github.com/firebreak-proxy/firebreak/zonecheck"
)

func init() {
	zonecheck.RegisterSQL("postgres", zonecheck.SQL{Dialect: zonecheck.PostgreSQL, Open: open})
}

// mostMessage bounds one message of the database.
const mostMessage = 1 << 20

// open reads the address of a database that is asked about its stores.
func open(address string) (func(ctx context.Context) (zonecheck.Conn, error), error) {
	config, err := pgtable.Config(address)
	if err != nil {
		return nil, err
	}
	config.RuntimeParams["application_name"] = zonecheck.AppName
	config.BuildFrontend = func(r io.Reader, w io.Writer) *pgproto3.Frontend {
		f := pgproto3.NewFrontend(r, w)
		f.SetMaxBodyLen(mostMessage)
		return f
	}
	return func(ctx context.Context) (zonecheck.Conn, error) {
		c, err := pgconn.ConnectConfig(ctx, config)
		if err != nil {
			return nil, err
		}
		return &conn{PgConn: c}, nil
	}, nil
}

// conn is a connection over which a database is asked about its stores.
type conn struct {
	*pgconn.PgConn
	limits string // the time limits that are set
}

// The codes of a statement that the database has ended for its time limits.
const (
	codeCanceled = "57014"
	codeNoLock   = "55P03"
)

// codeForbidden is the code of a statement that the role may not run.
const codeForbidden = "42501"

// The codes of data that is damaged.
const (
	codeDataCorrupted  = "XX001"
	codeIndexCorrupted = "XX002"
)

// TimedOut implements [zonecheck.Conn].
func (c *conn) TimedOut(err error) bool {
	var said *pgconn.PgError
	return errors.As(err, &said) && (said.Code == codeCanceled || said.Code == codeNoLock)
}

// Said implements [zonecheck.Conn].
func (c *conn) Said(err error) bool {
	var said *pgconn.PgError
	return errors.As(err, &said)
}

// Damaged implements [zonecheck.Conn].
func (c *conn) Damaged(err error) bool {
	var said *pgconn.PgError
	return errors.As(err, &said) && (said.Code == codeDataCorrupted || said.Code == codeIndexCorrupted)
}

// Closed implements [zonecheck.Conn].
func (c *conn) Closed() bool { return c.IsClosed() }

// Drop implements [zonecheck.Conn].
func (c *conn) Drop() { _ = c.Conn().Close() }

// Ping implements [zonecheck.Conn].
func (c *conn) Ping(ctx context.Context) error {
	return rows(c.Exec(ctx, "SELECT 1"), 1, func([][]byte) {})
}

// Try implements [zonecheck.Conn]. The limit for a lock is half of the one for the
// statement.
func (c *conn) Try(ctx context.Context, statement, store string, limit time.Duration) error {
	limits := fmt.Sprintf("SET statement_timeout = %d; SET lock_timeout = %d", max(1, limit.Milliseconds()), max(1, limit.Milliseconds()/2))
	if c.limits != limits {
		if err := rows(c.Exec(ctx, limits), 1, func([][]byte) {}); err != nil {
			return err
		}
		c.limits = limits
	}
	result := c.ExecParams(ctx, statement, [][]byte{[]byte(store)}, nil, nil, nil)
	for i := 0; result.NextRow(); i++ {
		if i >= zonecheck.MostProbeRows {
			return zonecheck.ErrTooMuch
		}
	}
	_, err := result.Close()
	return err
}

// listing is one statement. Blockers are asked for only where a query waits for a
// lock, and for a bounded number of queries, since that takes the lock manager's
// own locks.
var listing = fmt.Sprintf(`SELECT pid, state, application_name, ran, age, left(query, %d),
	CASE WHEN waits AND place <= 200 THEN array_to_string(pg_blocking_pids(pid), ',') ELSE '' END, waits, began
FROM (SELECT *, row_number() OVER (ORDER BY waits DESC, age DESC) AS place FROM (
	SELECT pid, coalesce(state, backend_type) AS state, application_name, query,
		coalesce(extract(epoch FROM clock_timestamp() - query_start), 0) AS ran, extract(epoch FROM query_start) AS began,
		coalesce(extract(epoch FROM clock_timestamp() - coalesce(xact_start, query_start)), 0) AS age,
		coalesce(wait_event_type = 'Lock' AND state = 'active', false) AS waits
	FROM pg_stat_activity
	WHERE datname = current_database() AND pid <> pg_backend_pid() AND coalesce(state, '') <> 'idle'
		AND backend_type <> 'parallel worker'
) a) b WHERE place <= %d`, zonecheck.MostText, zonecheck.MostListed)

// List implements [zonecheck.Conn].
func (c *conn) List(ctx context.Context) (l zonecheck.Listing, err error) {
	err = rows(c.Exec(ctx, listing), zonecheck.MostListed, func(row [][]byte) {
		s := readSession(row)
		if s.Query == "<insufficient privilege>" {
			l.Warning = errors.New("the role of the check does not see what others ask: GRANT pg_read_all_stats TO it")
		}
		if s.App != zonecheck.AppName {
			l.Sessions = append(l.Sessions, s)
		}
	})
	return l, err
}

func readSession(row [][]byte) (s zonecheck.Session) {
	if len(row) < 9 {
		return s
	}
	s.ID, _ = strconv.Atoi(string(row[0]))
	s.State, s.App, s.Query = string(row[1]), string(row[2]), string(row[5])
	s.Ran, s.Age = zonecheck.Seconds(string(row[3])), zonecheck.Seconds(string(row[4]))
	s.WaitsFor = zonecheck.IDs(string(row[6]))
	s.Waits, s.Began = string(row[7]) == "t", string(row[8])
	return s
}

// cancel sends the signal only while the session runs the same statement: it is
// looked at once more in the statement that sends it.
const cancel = `SELECT pg_cancel_backend(pid) FROM pg_stat_activity
WHERE pid = $1 AND state = 'active' AND extract(epoch FROM query_start)::text = $2`

// Cancel implements [zonecheck.Conn].
func (c *conn) Cancel(ctx context.Context, s *zonecheck.Session) error {
	result := c.ExecParams(ctx, cancel, [][]byte{[]byte(strconv.Itoa(s.ID)), []byte(s.Began)}, nil, nil, nil).Read()
	var said *pgconn.PgError
	switch {
	case errors.As(result.Err, &said) && said.Code == codeForbidden:
		return fmt.Errorf("%w: GRANT pg_signal_backend TO the role of the check", result.Err)
	case result.Err != nil:
		return result.Err
	case len(result.Rows) == 0 || string(result.Rows[0][0]) != "t":
		return zonecheck.ErrOver
	}
	return nil
}

// rows reads up to so many rows. After an error that is not the database's own the
// connection is given up.
func rows(results *pgconn.MultiResultReader, most int, each func(row [][]byte)) error {
	n := 0
	for results.NextResult() {
		for reader := results.ResultReader(); reader.NextRow(); n++ {
			if n >= most {
				return zonecheck.ErrTooMuch
			}
			each(reader.Values())
		}
	}
	return results.Close()
}
