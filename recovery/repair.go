package recovery

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"sync/atomic"
	"time"
)

// repairState is how far the repair of a store came.
type repairState string

const (
	repairNone   repairState = ""
	repairWanted repairState = "wanted" // it is to begin
	repairBegun  repairState = "begun"  // its request is about to be sent, or was
	repairDone   repairState = "done"   // the service says so
	repairFailed repairState = "failed" // it says so, or did not answer in time
)

// repairCounts counts repairs since start.
type repairCounts struct{ done, failed atomic.Uint64 }

// repairs is a store of both jobs whose repair j has under way, or "".
func (j *job) repairs(other *job) string {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, s := range j.stores {
		if s.repair == repairBegun && other.byName[s.store] != nil {
			return s.store
		}
	}
	return ""
}

// mayRepair reports whether a store that failed is repaired. Call it with mu held.
func (j *job) mayRepair(s *storeState) bool {
	w := j.all.Deps()
	return s.repair == repairNone && j.state == Running && !j.spec.DryRun && j.all.opts.Repairer != nil && w != nil && w.Policy.Repair != nil
}

// repairKey is the idempotency key of a store's repair: the same for every
// request about it, whatever process sends it.
func (j *job) repairKey(s *storeState) string {
	sum := sha256.Sum256([]byte(s.zone + "\x00" + s.store))
	return j.spec.ID + "-" + hex.EncodeToString(sum[:8])
}

// beginRepairs begins the repairs that are due. That a repair begins is in the
// journal before its request is sent, so that no later process sends it anew
// while it is under way.
func (j *job) beginRepairs(ctx context.Context, w *Deps, now time.Time) {
	for _, s := range j.nextRepairs(w, now) {
		r := Repair{Zone: s.zone, Store: s.store, Key: j.repairKey(s), Begun: !s.resumed.IsZero()}
		if !j.written() {
			j.mu.Lock()
			if !r.Begun {
				s.repair = repairWanted
			}
			j.inRepair--
			j.toRepair = append(j.toRepair, s)
			j.hold(now, idlePause, "no store is repaired, since that it was could not be written to disk")
			j.mu.Unlock()
			continue
		}
		policy := w.Policy.Repair
		j.all.work.Go(func() {
			err := j.all.opts.Repairer.Repair(policy, r)
			if ctx.Err() == nil { // else the next process asks how it went
				j.report(ctx, func() { j.repairedStore(s, err, time.Now()) })
			}
		})
	}
}

// nextRepairs takes out the stores whose repair is to begin, or was begun by an
// earlier process and is to be asked after. Only those go on in a job that is
// paused or over.
func (j *job) nextRepairs(w *Deps, now time.Time) (next []*storeState) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if w == nil || len(j.toRepair) == 0 || now.Before(j.holdUntil) {
		return nil
	}
	var later []*storeState
	for _, s := range j.toRepair {
		policy := w.Policy.Repair
		if j.all.opts.Repairer == nil {
			policy = nil
		}
		switch {
		case policy == nil, s.repair != repairBegun && w.Board.Lookup(s.zone, s.store) == nil && !w.Board.View().Stale:
			j.recheck(s, now) // the configuration was changed, or somebody has released it
		case s.repair == repairBegun && policy.Poll == "":
			// Nobody knows how it went. When it must be over the store is checked again.
			if now.Sub(s.resumed) >= policy.Timeout {
				j.recheck(s, now)
			} else {
				later = append(later, s)
			}
		case j.inRepair >= policy.Parallel, s.repair != repairBegun && j.state != Running:
			later = append(later, s)
		default:
			s.repair = repairBegun
			j.inRepair++
			j.keep(s)
			next = append(next, s)
		}
	}
	j.toRepair = later
	return next
}

// recheck lets a store whose repair did not come to an end wait for a check, as
// if it had never been repaired. Call it with mu held.
func (j *job) recheck(s *storeState, now time.Time) {
	s.phase, s.repair, s.resumed, s.nextAt = waiting, repairNone, time.Time{}, now
	j.keep(s)
	j.dirty = true
	if !j.over() {
		j.queue.retry(s)
	}
}

// written writes what was noted, and reports whether it is on disk.
func (j *job) written() bool {
	j.writeJournal()
	return j.journal != nil || j.save() == nil
}

// repairedStore takes in how a repair went.
func (j *job) repairedStore(s *storeState, err error, now time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	defer j.keep(s)
	j.inRepair--
	j.dirty = true
	s.resumed = time.Time{}
	if err != nil {
		s.repair, s.repairWhy = repairFailed, err.Error()
		s.reason += s.repairWords()
		j.all.repairs.failed.Add(1)
	} else {
		s.repair, s.repairWhy = repairDone, ""
		s.failures, s.nextAt = 0, now
		j.repaired++
		j.all.repairs.done.Add(1)
	}
	switch s.phase = waiting; {
	case j.over():
		if j.summary != nil {
			j.summary.Repairing--
		}
	case err != nil:
		j.retryLater(s, now)
	default:
		j.queue.retry(s)
	}
}

// repairWords says what became of a store's repair, behind the reason why its
// check failed.
func (s *storeState) repairWords() string {
	switch s.repair {
	case repairFailed:
		return "; its repair failed: " + s.repairWhy
	case repairDone:
		return "; it was repaired before"
	case repairNone, repairWanted, repairBegun:
	}
	return ""
}

// unrepair takes back the repairs that were not begun. Call it with mu held.
func (j *job) unrepair() {
	begun := j.toRepair[:0:0]
	for _, s := range j.toRepair {
		if s.repair == repairBegun {
			begun = append(begun, s)
		} else {
			s.phase, s.repair = waiting, repairNone
		}
	}
	j.toRepair = begun
}

// tellRepaired tells of the stores that were repaired since the last time. Call
// it with mu held.
func (j *job) tellRepaired(now time.Time, every time.Duration) {
	if j.repaired == 0 || now.Sub(j.repairTold) < every {
		return
	}
	j.tell(EventRepaired, "", fmt.Sprintf("%s repaired; checked again, as ever", plural(j.repaired, "store")), j.repaired)
	j.repaired, j.repairTold = 0, now
}

// Repair is what a store is to be repaired by.
type Repair struct {
	Zone, Store string
	Key         string // the same for every request about it
	Begun       bool   // an earlier process has sent it: ask how far it is first
}

var _ Repairer = (*Client)(nil)
