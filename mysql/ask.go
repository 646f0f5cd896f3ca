package mysql

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/zonecheck"
)

func init() {
	zonecheck.Register("mysql", check)
	zonecheck.RegisterSQL("mysql", zonecheck.SQL{Dialect: zonecheck.MySQL, Open: open})
}

// check opens a connection and asks for SELECT 1.
func check(ctx context.Context, c *config.Check) error {
	open, err := open(c.Address)
	if err != nil {
		return err
	}
	conn, err := open(ctx)
	if err != nil {
		return zonecheck.AnswerError(ctx, err)
	}
	defer conn.Drop()
	return zonecheck.AnswerError(ctx, conn.Ping(ctx))
}

// open reads the address of a database that is asked.
func open(address string) (func(ctx context.Context) (zonecheck.Conn, error), error) {
	config, err := Config(address)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) (zonecheck.Conn, error) {
		c, err := connect(ctx, config)
		if err != nil {
			return nil, err
		}
		return c, nil
	}, nil
}

// The errors of a statement that the database has ended for its time limits.
const (
	errLockWait    = 1205 // ER_LOCK_WAIT_TIMEOUT
	errStatement   = 1969 // ER_STATEMENT_TIMEOUT, MariaDB
	errQuery       = 3024 // ER_QUERY_TIMEOUT, MySQL
	errInterrupted = 1317 // ER_QUERY_INTERRUPTED
)

// TimedOut implements [zonecheck.Conn].
func (c *conn) TimedOut(err error) bool {
	var said *mysql.MySQLError
	if !errors.As(err, &said) {
		return false
	}
	switch said.Number {
	case errLockWait, errStatement, errQuery, errInterrupted:
		return true
	}
	return false
}

// The errors of a table or an index that is damaged.
const (
	errNotKeyfile     = 1034 // ER_NOT_KEYFILE
	errCrashed        = 1194 // ER_CRASHED_ON_USAGE
	errCrashedRepair  = 1195 // ER_CRASHED_ON_REPAIR
	errIndexCorrupt   = 1712 // ER_INDEX_CORRUPT
	errTableCorrupted = 1877 // ER_TABLE_CORRUPT
)

// Damaged implements [zonecheck.Conn].
func (c *conn) Damaged(err error) bool {
	var said *mysql.MySQLError
	if !errors.As(err, &said) {
		return false
	}
	switch said.Number {
	case errNotKeyfile, errCrashed, errCrashedRepair, errIndexCorrupt, errTableCorrupted:
		return true
	}
	return false
}

// ours marks the statements of firebreak, which are not listed.
const ours = "/*firebreak*/ "

// Try implements [zonecheck.Conn]. The database has one limit for a statement, locks
// included; those for locks alone count in seconds. It is half of the limit, as the
// one for a lock is in PostgreSQL.
func (c *conn) Try(ctx context.Context, statement, store string, limit time.Duration) error {
	limit /= 2
	if c.limits != limit {
		set := fmt.Sprintf("SET SESSION max_execution_time = %d, innodb_lock_wait_timeout = 1, lock_wait_timeout = 1", max(1, limit.Milliseconds()))
		if c.maria {
			set = fmt.Sprintf("SET SESSION max_statement_time = %.3f, innodb_lock_wait_timeout = 1, lock_wait_timeout = 1", max(0.001, limit.Seconds()))
		}
		if err := c.rows(ctx, 0, 0, nil, set); err != nil {
			return err
		}
		c.limits = limit
	}
	return c.rows(ctx, 0, zonecheck.MostProbeRows, nil, ours+statement, store)
}

// listGap is the least time between two lists: MariaDB and MySQL refresh what they
// say of transactions only if it was not read for 0.1 s.
const listGap = 120 * time.Millisecond

// listMaria is one statement. The age of a statement is from the list of processes,
// which is not cached: what waits must have begun to wait in this statement.
var listMaria = fmt.Sprintf(ours+`SELECT p.id, p.command, p.user, p.time_ms / 1000,
	COALESCE(TIMESTAMPDIFF(MICROSECOND, t.trx_started, NOW(6)) / 1000000, p.time_ms / 1000), LEFT(p.info, %d), w.blockers,
	p.state LIKE 'Waiting for %%lock' OR COALESCE(t.trx_state = 'LOCK WAIT'
		AND TIMESTAMPDIFF(MICROSECOND, t.trx_wait_started, NOW(6)) <= p.time_ms * 1000 + 1000000, FALSE) AS waits, p.query_id
FROM information_schema.processlist p
LEFT JOIN information_schema.innodb_trx t ON t.trx_mysql_thread_id = p.id
LEFT JOIN (SELECT l.requesting_trx_id, GROUP_CONCAT(DISTINCT b.trx_mysql_thread_id) AS blockers
	FROM information_schema.innodb_lock_waits l JOIN information_schema.innodb_trx b ON b.trx_id = l.blocking_trx_id
	GROUP BY l.requesting_trx_id) w ON w.requesting_trx_id = t.trx_id
WHERE p.id <> CONNECTION_ID() AND COALESCE(p.info, '') NOT LIKE '/*firebreak*/%%'
	AND p.command NOT IN ('Daemon', 'Binlog Dump', 'Slave_IO', 'Slave_SQL', 'Slave_worker') AND (p.command <> 'Sleep' OR t.trx_id IS NOT NULL)
ORDER BY waits DESC, 5 DESC LIMIT %d`, zonecheck.MostText, zonecheck.MostListed)

// listMySQL is the same for MySQL 8, which says who waits for whom in its
// performance schema.
var listMySQL = fmt.Sprintf(ours+`SELECT p.processlist_id, p.processlist_command, p.processlist_user, COALESCE(s.ran, p.processlist_time),
	COALESCE(TIMESTAMPDIFF(MICROSECOND, t.trx_started, NOW(6)) / 1000000, p.processlist_time), LEFT(COALESCE(p.processlist_info, s.text), %d), w.blockers,
	w.blockers IS NOT NULL OR COALESCE(p.processlist_state LIKE 'Waiting for %%lock', FALSE) AS waits, s.event
FROM performance_schema.threads p
LEFT JOIN information_schema.innodb_trx t ON t.trx_mysql_thread_id = p.processlist_id
LEFT JOIN (SELECT thread_id, MAX(timer_wait) / 1e12 AS ran, MAX(sql_text) AS text, MAX(event_id) AS event
	FROM performance_schema.events_statements_current WHERE nesting_event_id IS NULL GROUP BY thread_id) s ON s.thread_id = p.thread_id
LEFT JOIN (SELECT l.requesting_thread_id, GROUP_CONCAT(DISTINCT b.processlist_id) AS blockers
	FROM performance_schema.data_lock_waits l JOIN performance_schema.threads b ON b.thread_id = l.blocking_thread_id
	GROUP BY l.requesting_thread_id) w ON w.requesting_thread_id = p.thread_id
WHERE p.processlist_id IS NOT NULL AND p.processlist_id <> CONNECTION_ID() AND COALESCE(p.processlist_info, '') NOT LIKE '/*firebreak*/%%'
	AND p.processlist_command NOT IN ('Daemon', 'Binlog Dump', 'Binlog Dump GTID') AND (p.processlist_command <> 'Sleep' OR t.trx_id IS NOT NULL)
ORDER BY waits DESC, 5 DESC LIMIT %d`, zonecheck.MostText, zonecheck.MostListed)

// List implements [zonecheck.Conn].
func (c *conn) List(ctx context.Context) (l zonecheck.Listing, err error) {
	if time.Since(c.listed) < listGap {
		return zonecheck.Listing{TooSoon: true}, nil
	}
	query := listMySQL
	if c.maria {
		query = listMaria
	}
	err = c.rows(ctx, 9, zonecheck.MostListed, func(row []string) { l.Sessions = append(l.Sessions, readSession(row)) }, query)
	c.listed = time.Now()
	return l, err
}

// stillRuns asks MySQL whether the session still runs the statement. It has no way
// to cancel a statement by its own number.
const stillRuns = ours + `SELECT COUNT(*) FROM performance_schema.threads p JOIN performance_schema.events_statements_current s ON s.thread_id = p.thread_id
WHERE p.processlist_id = ? AND s.event_id = ? AND s.end_event_id IS NULL`

// Cancel implements [zonecheck.Conn]. MariaDB cancels exactly the statement that was
// listed. In MySQL the session may end it and begin another in the moment between
// two statements; so it is asked first.
func (c *conn) Cancel(ctx context.Context, s *zonecheck.Session) error {
	if s.Began == "" {
		return zonecheck.ErrOver
	}
	id, err := strconv.ParseInt(s.Began, 10, 64)
	if err != nil {
		return err
	}
	kill := fmt.Sprintf("KILL QUERY ID %d", id)
	if !c.maria {
		runs := false
		if err := c.rows(ctx, 1, 1, func(row []string) { runs = row[0] == "1" }, stillRuns, s.ID, id); err != nil {
			return err
		}
		if !runs {
			return zonecheck.ErrOver
		}
		kill = fmt.Sprintf("KILL QUERY %d", s.ID)
	}
	err = c.rows(ctx, 0, 0, nil, kill)
	var said *mysql.MySQLError
	switch {
	case !errors.As(err, &said):
	case said.Number == errNoThread, said.Number == errNoQuery:
		return zonecheck.ErrOver
	case said.Number == errDenied, said.Number == errNotOwner, said.Number == errNotOwnerOfQuery:
		return fmt.Errorf("%w: GRANT CONNECTION ADMIN (MySQL: CONNECTION_ADMIN) ON *.* TO the user of the check", err)
	}
	return err
}

// The errors of KILL QUERY.
const (
	errNoThread        = 1094 // ER_NO_SUCH_THREAD
	errNotOwner        = 1095 // ER_KILL_DENIED_ERROR
	errDenied          = 1227 // ER_SPECIFIC_ACCESS_DENIED_ERROR
	errNoQuery         = 1957 // ER_NO_SUCH_QUERY, MariaDB
	errNotOwnerOfQuery = 1979 // ER_KILL_QUERY_DENIED_ERROR, MariaDB
)

func readSession(row []string) (s zonecheck.Session) {
	s.ID, _ = strconv.Atoi(row[0])
	s.State, s.App, s.Query = stateOf(row[1]), row[2], row[5]
	s.Ran, s.Age = zonecheck.Seconds(row[3]), zonecheck.Seconds(row[4])
	s.WaitsFor = zonecheck.IDs(row[6])
	s.Waits, s.Began = row[7] == "1", row[8]
	return s
}

// stateOf is the state of a session in the words that firebreak uses for all
// databases.
func stateOf(command string) string {
	switch command {
	case "Query", "Execute":
		return "active"
	case "Sleep":
		return "idle in transaction"
	}
	return command
}
