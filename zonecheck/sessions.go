package zonecheck

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
)

const (
	// MostListed bounds the sessions that are looked at.
	MostListed = 500
	// MostText bounds what is read of a query.
	MostText = 8192

	// briefWait is for how long a query must have waited for a lock.
	briefWait = 50 * time.Millisecond
)

// Session is one session of a database that is not idle.
type Session struct {
	ID       int
	State    string // "active" while a statement runs
	App      string // what the client calls itself
	Ran      time.Duration
	Age      time.Duration // since its transaction began
	Query    string
	Began    string // tells the statement from others of the session
	WaitsFor []int  // sessions that hold locks it waits for
	Waits    bool   // it waits for a lock
}

// hangs reports whether the session's statement waits for a lock, or runs for long.
func (s *Session) hangs(slowAfter time.Duration) bool {
	return s.State == "active" && (s.Waits && s.Ran >= briefWait || !s.Waits && s.Ran >= slowAfter)
}

// findings sorts out who waits for what.
func findings(sessions []Session, finder *Finder, slowAfter time.Duration) breaker.Findings {
	byID := make(map[int]*Session, len(sessions))
	for i := range sessions {
		byID[sessions[i].ID] = &sessions[i]
	}
	f := breaker.Findings{Listed: true}
	blocks := make(map[int]int)
	for i := range sessions {
		s := &sessions[i]
		if !s.hangs(slowAfter) {
			continue
		}
		root := 0
		if s.Waits {
			if root = rootOf(s, byID); root != 0 {
				blocks[root]++
			}
		}
		if store := finder.Store(s.Query, s.App); store != "" {
			f.Hanging = append(f.Hanging, breaker.HangingQuery{Store: store, For: s.Ran, Blocked: s.Waits, Blocker: root})
		}
	}
	for id, n := range blocks {
		b := breaker.Blocker{PID: id, Blocks: n, State: "not in this database"}
		if s := byID[id]; s != nil {
			b.State, b.Age, b.App, b.Query = s.State, s.Age.Seconds(), s.App, finder.dialect.WithoutLiterals(s.Query)
		}
		f.Blockers = append(f.Blockers, b)
	}
	slices.SortFunc(f.Blockers, func(a, b breaker.Blocker) int {
		return cmp.Or(-cmp.Compare(a.Blocks, b.Blocks), -cmp.Compare(a.Age, b.Age), cmp.Compare(a.PID, b.PID))
	})
	f.Blockers = f.Blockers[:min(len(f.Blockers), 10)]
	return f
}

// rootOf is the session at the end of the chain that a query waits for.
func rootOf(s *Session, byID map[int]*Session) (id int) {
	for range 100 {
		if len(s.WaitsFor) == 0 {
			return id
		}
		id = s.WaitsFor[0]
		next := byID[id]
		if next == nil || !next.Waits {
			return id
		}
		s = next
	}
	return id
}

// Seconds reads a number of seconds.
func Seconds(text string) time.Duration {
	s, _ := strconv.ParseFloat(text, 64)
	return time.Duration(max(0, min(s, 1e9)) * float64(time.Second))
}

// IDs reads numbers with commas between them.
func IDs(text string) (ids []int) {
	for s := range strings.SplitSeq(text, ",") {
		if n, err := strconv.Atoi(s); err == nil {
			ids = append(ids, n)
		}
	}
	return ids
}
