package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/zonecheck"
)

func init() {
	zonecheck.RegisterAsker("postgres", ask)
}

// ask lists what hangs in a zone's database over the held connection, and tries
// stores over others.
func ask(ctx context.Context, zone string, c *config.Check, q *breaker.Inquiry, report func(breaker.Findings)) error {
	lines := linesOf(zone, c)
	if q.Calm {
		return lines.keepAlive(ctx, c)
	}
	tried := make(chan error, 1)
	go func() { tried <- lines.tryStores(ctx, c, q, report) }()
	err := lines.list(ctx, c, q, report)
	return cmp.Or(<-tried, err)
}

const (
	// mostListed bounds the sessions that are looked at, mostText what is read of
	// a query, briefWait is for how long a query must have waited for a lock.
	mostListed = 500
	mostText   = 8192
	briefWait  = 50 * time.Millisecond
)

// listing is one statement. Blockers are asked for only where a query waits for a
// lock, and for a bounded number of queries, since that takes the lock manager's
// own locks.
var listing = fmt.Sprintf(`SELECT pid, state, application_name, ran, age, left(query, %d),
	CASE WHEN waits AND place <= 200 THEN array_to_string(pg_blocking_pids(pid), ',') ELSE '' END, waits
FROM (SELECT *, row_number() OVER (ORDER BY waits DESC, age DESC) AS place FROM (
	SELECT pid, coalesce(state, backend_type) AS state, application_name, query,
		coalesce(extract(epoch FROM clock_timestamp() - query_start), 0) AS ran,
		coalesce(extract(epoch FROM clock_timestamp() - coalesce(xact_start, query_start)), 0) AS age,
		coalesce(wait_event_type = 'Lock' AND state = 'active', false) AS waits
	FROM pg_stat_activity
	WHERE datname = current_database() AND pid <> pg_backend_pid() AND coalesce(state, '') <> 'idle'
) a) b WHERE place <= %d`, mostText, mostListed)

// session is one line of the listing.
type session struct {
	pid        int
	state, app string
	ran, age   time.Duration
	query      string
	waitsFor   []int
	waits      bool
}

// list reports what hangs.
func (l *lines) list(ctx context.Context, c *config.Check, q *breaker.Inquiry, report func(breaker.Findings)) error {
	finder, err := zonecheck.NewFinder(c.StoreIn)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(c.Timeout))
	defer cancel()
	var sessions []session
	hidden := false
	err = l.held.run(ctx, l, func(conn *pgconn.PgConn) error {
		return rows(conn.Exec(ctx, listing), mostListed, func(row [][]byte) {
			s := readSession(row)
			hidden = hidden || s.query == "<insufficient privilege>"
			if s.app != appName {
				sessions = append(sessions, s)
			}
		})
	})
	if err != nil {
		return zonecheck.AnswerError(ctx, err)
	}
	report(findings(sessions, finder, q.SlowAfter))
	if hidden {
		return errors.New("the role of the check does not see what others ask: GRANT pg_read_all_stats TO it")
	}
	return nil
}

func readSession(row [][]byte) (s session) {
	if len(row) < 8 {
		return s
	}
	s.pid, _ = strconv.Atoi(string(row[0]))
	s.state, s.app, s.query = string(row[1]), string(row[2]), string(row[5])
	s.ran, s.age = seconds(row[3]), seconds(row[4])
	for _, pid := range strings.Split(string(row[6]), ",") {
		if n, err := strconv.Atoi(pid); err == nil {
			s.waitsFor = append(s.waitsFor, n)
		}
	}
	s.waits = string(row[7]) == "t"
	return s
}

func seconds(text []byte) time.Duration {
	s, _ := strconv.ParseFloat(string(text), 64)
	return time.Duration(max(0, min(s, 1e9)) * float64(time.Second))
}

// findings sorts out who waits for what.
func findings(sessions []session, finder *zonecheck.Finder, slowAfter time.Duration) breaker.Findings {
	byPID := make(map[int]*session, len(sessions))
	for i := range sessions {
		byPID[sessions[i].pid] = &sessions[i]
	}
	f := breaker.Findings{Listed: true}
	blocks := make(map[int]int)
	for i := range sessions {
		s := &sessions[i]
		if s.state != "active" || s.waits && s.ran < briefWait || !s.waits && s.ran < slowAfter {
			continue
		}
		root := 0
		if s.waits {
			if root = rootOf(s, byPID); root != 0 {
				blocks[root]++
			}
		}
		if store := finder.Store(s.query, s.app); store != "" {
			f.Hanging = append(f.Hanging, breaker.HangingQuery{Store: store, For: s.ran, Blocked: s.waits, Blocker: root})
		}
	}
	for pid, n := range blocks {
		b := breaker.Blocker{PID: pid, Blocks: n, State: "not in this database"}
		if s := byPID[pid]; s != nil {
			b.State, b.Age, b.App, b.Query = s.state, s.age.Seconds(), s.app, zonecheck.WithoutLiterals(s.query)
		}
		f.Blockers = append(f.Blockers, b)
	}
	slices.SortFunc(f.Blockers, func(a, b breaker.Blocker) int {
		return cmp.Or(-cmp.Compare(a.Blocks, b.Blocks), -cmp.Compare(a.Age, b.Age), cmp.Compare(a.PID, b.PID))
	})
	f.Blockers = f.Blockers[:min(len(f.Blockers), 10)]
	return f
}

// rootOf is the process at the end of the chain that a query waits for.
func rootOf(s *session, byPID map[int]*session) (pid int) {
	for range 100 {
		if len(s.waitsFor) == 0 {
			return pid
		}
		pid = s.waitsFor[0]
		next := byPID[pid]
		if next == nil || !next.waits {
			return pid
		}
		s = next
	}
	return pid
}

// errTooMuch is why no more of an answer is read.
var errTooMuch = errors.New("the answer is too large")

// rows reads up to so many rows, and gives the connection up if there are more.
func rows(results *pgconn.MultiResultReader, most int, each func(row [][]byte)) error {
	n := 0
	for results.NextResult() {
		for reader := results.ResultReader(); reader.NextRow(); n++ {
			if n >= most {
				return errTooMuch
			}
			each(reader.Values())
		}
	}
	return results.Close()
}
