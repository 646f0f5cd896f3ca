package recovery

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
)

const (
	// slotPause is how long a job waits that got no slot for a check.
	slotPause = 25 * time.Millisecond

	// stuckPause is how long a store waits whose last check still occupies a
	// worker.
	stuckPause = time.Second

	// awayPause and awayPauseMax are how long a job waits while the API server
	// cannot be reached.
	awayPause    = 500 * time.Millisecond
	awayPauseMax = 5 * time.Second

	// failPauseMax bounds the time between two checks of a failing store.
	failPauseMax = time.Minute

	// idlePause is how long a job waits at most until it looks around.
	idlePause = time.Second

	staleWords = "the state backend cannot be read, so it is not known which stores are in maintenance"
)

// start lets the job's goroutine run.
func (j *job) start() {
	j.mu.Lock()
	j.going = true
	j.mu.Unlock()
	j.all.work.Go(func() { j.run(j.all.ctx) })
}

// run moves the job until it is over or ctx ends.
func (j *job) run(ctx context.Context) {
	for j.runToEnd(ctx) {
		_ = j.save() // keepSaved tries again
		j.mu.Lock()
		over := j.over() // or a store was marked done meanwhile
		j.going = !over
		j.mu.Unlock()
		if over {
			j.all.tidy()
			return
		}
	}
}

// runToEnd moves the job until it is over, or reports false when ctx ends.
func (j *job) runToEnd(ctx context.Context) bool {
	j.all.work.Go(func() { j.keepSaved(ctx) })
	defer j.closeJournal()
	for {
		wait, over := j.step(ctx, time.Now())
		if over {
			return true
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return false
		case f := <-j.took:
			f()
		case <-j.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// report hands the job's goroutine what a check or a release has found out.
func (j *job) report(ctx context.Context, f func()) {
	select {
	case j.took <- f:
	case <-ctx.Done():
	}
}

// step does what is due, and says when it wants to be called again.
func (j *job) step(ctx context.Context, now time.Time) (wait time.Duration, over bool) {
	w := j.all.Deps()
	j.writeJournal() // before anybody is released for it
	defer j.writeJournal()
	j.sort(w, now)
	j.watch(w, now)
	j.release(ctx, w, now)
	j.beginRepairs(ctx, w, now)
	j.beginProbes(ctx, w, now)
	for w != nil && j.beginCheck(ctx, w, now) {
	}
	j.finish(ctx, w, now)
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.over() && j.inFlight+j.probing == 0 && !j.releasing && !j.finishing && j.inRepair+len(j.toRepair) == 0 {
		return 0, true
	}
	if w == nil {
		return idlePause, false
	}
	return j.untilNext(now), false
}

// untilNext is the time until something is due. Call it with mu held.
func (j *job) untilNext(now time.Time) time.Duration {
	next := now.Add(idlePause)
	sooner := func(at time.Time) {
		if !at.IsZero() && at.Before(next) {
			next = at
		}
	}
	if j.state == Running {
		if len(j.pending) > 0 && !j.releasing {
			sooner(j.flushAt)
		}
		if !j.releasedAt.IsZero() {
			sooner(j.watchAt)
		}
		if j.watchUntil.After(now) {
			sooner(j.watchUntil)
		}
		sooner(j.nextProbeAt(now))
		if j.inFlight < j.spec.Parallel {
			at := j.queue.nextAt(now, j.mayBegin(now), j.tryFirst(j.all.Deps(), now))
			if at.Before(j.holdUntil) && !at.IsZero() {
				at = j.holdUntil
			}
			sooner(at)
		}
	}
	return max(next.Sub(now), time.Millisecond)
}

// sort puts the stores in order that wait for their first check.
func (j *job) sort(w *Deps, now time.Time) {
	j.mu.Lock()
	fresh, ready := j.queue.fresh, j.queue.ready
	due := w != nil && j.state == Running && len(fresh)+len(ready) > 1 && !now.Before(j.sortAt)
	if due {
		j.sortAt = now.Add(sortEvery)
	}
	j.mu.Unlock()
	if due {
		sortByTraffic(w, fresh) // only this goroutine takes from it
		sortByTraffic(w, ready)
	}
}

// mayBegin reports whether stores may be begun with: a batch has room. Call it with
// mu held.
func (j *job) mayBegin(now time.Time) bool {
	if j.spec.Batch == 0 {
		return true
	}
	return !j.watchUntil.After(now) && j.underWay+j.batchOut < j.spec.Batch
}

func (j *job) activate(s *storeState) {
	if !s.active {
		s.active = true
		j.underWay++
	}
}

func (j *job) deactivate(s *storeState) {
	if s.active {
		s.active = false
		j.underWay--
	}
}

// beginCheck sends the next check, if one is due and there is a slot for it. It
// reports whether to try the next.
func (j *job) beginCheck(ctx context.Context, w *Deps, now time.Time) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.state != Running || j.inFlight >= j.spec.Parallel || now.Before(j.holdUntil) {
		return false
	}
	s, pop := j.queue.next(now, j.mayBegin(now), j.tryFirst(w, now))
	if s == nil {
		return false
	}
	sw := w.Board.Lookup(s.zone, s.store)
	if !j.spec.DryRun && sw == nil {
		if w.Board.View().Stale { // after a restart perhaps nothing is known
			j.hold(now, idlePause, staleWords)
			return false
		}
		pop()
		mine := s.releasing != "" // this job's, before a restart; else a person's
		j.setReleased(s, now)
		if mine {
			j.tellReleased(now)
		}
		return true
	}
	if why := j.keptBack(s, sw); why != "" {
		pop()
		j.leaveOut(s, why)
		return true
	}
	if s.passes >= j.spec.Times {
		view := w.Board.View()
		if view.Stale {
			j.hold(now, idlePause, staleWords)
			return false
		}
		pop()
		j.releaseAgain(s, &view, now)
		return true
	}
	policy := w.Policy.Zone(s.zone)
	if policy.StoreCheck == nil {
		j.hold(now, idlePause, "the configuration has no check for the stores of zone "+s.zone)
		return false
	}
	slot, refusal := w.Guard.AdmitCheck(breaker.CheckRequest{
		Zone: s.zone, Store: s.store, Timeout: policy.StoreCheck.Timeout, EndsOpen: policy.StoreCheck.EndsOpen,
	})
	switch {
	case refusal == nil:
	case refusal.Reason == breaker.ReasonChecking:
		pop()
		s.nextAt = now.Add(stuckPause)
		if s.passes > 0 {
			s.passes = 0
			j.keep(s)
		}
		j.deactivate(s)
		j.queue.retry(s)
		return true
	default:
		j.hold(now, slotPause, refusal.Detail)
		return false
	}
	pop()
	j.activate(s)
	s.phase = checking
	j.inFlight++
	j.note = ""
	j.all.work.Go(func() {
		err := j.all.opts.Checker.Check(slot, policy.StoreCheck, s.zone, s.store)
		j.report(ctx, func() { j.checkedStore(s, err, time.Now()) })
	})
	return true
}

// leaveOut gives up a store that is not the job's to release. Call it with mu held.
func (j *job) leaveOut(s *storeState, why string) {
	j.deactivate(s)
	s.phase, s.reason, s.passes, s.failures, s.releasing = givenUp, why, 0, max(s.failures, 1), ""
	if s.work != nil {
		s.work.Done = false
	}
	j.dirty = true
	j.keep(s)
}

// hold lets no check begin for a while. Call it with mu held.
func (j *job) hold(now time.Time, d time.Duration, why string) {
	j.holdUntil, j.note = now.Add(d), why
}

// checkedStore takes in how a check went.
func (j *job) checkedStore(s *storeState, err error, now time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.inFlight--
	j.dirty = true
	s.phase = waiting
	defer func() { j.keep(s) }()
	var unreachable *UnreachableError
	switch {
	case errors.As(err, &unreachable):
		j.away(s, now, err)
		return
	case j.over():
		return
	}
	s.checked = true
	j.holdFor = 0
	switch {
	case err != nil:
		j.failed(s, now, err.Error())
	case j.state != Running:
		s.passes = 0 // the next check may be a long time off
		j.deactivate(s)
		j.queue.retry(s)
	default:
		j.passedCheck(s, now)
	}
}

// away takes in that the API server could not be asked. That is no store's
// fault, but it is no pass either.
func (j *job) away(s *storeState, now time.Time, err error) {
	j.holdFor = min(max(2*j.holdFor, awayPause), awayPauseMax)
	j.hold(now, j.holdFor, err.Error())
	if !j.over() {
		s.passes, s.probed, s.nextAt = 0, false, now
		j.deactivate(s)
		j.queue.retry(s)
	}
}

// failed takes in that a store did not pass.
func (j *job) failed(s *storeState, now time.Time, reason string) {
	s.passes, s.probed, s.reason = 0, false, reason+s.repairWords()
	s.failures++
	s.attempts++
	j.deactivate(s)
	if j.mayRepair(s) {
		s.phase, s.repair = repairing, repairWanted
		j.toRepair = append(j.toRepair, s)
		return
	}
	j.retryLater(s, now)
}

// retryLater lets a store that failed wait for its next check, or gives it up.
// Call it with mu held.
func (j *job) retryLater(s *storeState, now time.Time) {
	if s.failures > j.spec.Retries {
		s.phase = givenUp
		j.putOnWorkList(s, now)
		return
	}
	s.phase, s.nextAt = waiting, now.Add(j.failPause(s.failures))
	j.queue.retry(s)
}

// failPause is how long a store waits that failed so often.
func (j *job) failPause(failures int) time.Duration {
	pause := max(j.spec.Every, 100*time.Millisecond)
	for n := 1; n < failures && pause < failPauseMax; n++ {
		pause *= 2
	}
	return max(min(pause, failPauseMax), j.spec.Every)
}

// passedCheck takes in that a store passed a check.
func (j *job) passedCheck(s *storeState, now time.Time) {
	s.passes++
	s.failures, s.reason, s.at = 0, "", now
	switch {
	case s.passes < j.spec.Times:
		s.nextAt = now.Add(j.spec.Every)
		j.queue.again(s)
	case j.spec.DryRun:
		s.phase = passed
		j.deactivate(s)
		j.recent.add(now, 1)
	default:
		j.pend(s, now)
	}
}

// setReleased notes that a store is out of maintenance. Call it with mu held.
func (j *job) setReleased(s *storeState, now time.Time) {
	j.deactivate(s)
	s.phase, s.at, s.failures, s.reason, s.passes, s.releasing = released, now, 0, "", 0, ""
	j.keep(s)
	j.releasedAt, j.dirty = now, true
	if j.firstAt.IsZero() {
		j.firstAt = now
	}
}

// tellReleased notes that this job released a store. Call it with mu held.
func (j *job) tellReleased(now time.Time) {
	j.recent.add(now, 1)
	j.told++
	j.all.total.Add(1)
	if j.batchOut++; j.spec.Batch > 0 && j.batchOut >= j.spec.Batch && j.watchUntil.IsZero() {
		j.watchUntil = now.Add(j.spec.Watch)
		j.tellBatch(now)
	}
}

// finish ends the job when nothing is left to do.
func (j *job) finish(ctx context.Context, w *Deps, now time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	idle := j.queue.empty() && j.inFlight+j.probing == 0 && len(j.pending) == 0 && !j.releasing && j.inRepair+len(j.toRepair) == 0
	if w == nil || j.state != Running || !idle || j.finishing || now.Before(j.holdUntil) {
		return
	}
	if j.spec.Batch > 0 && j.batchOut > 0 {
		if j.watchUntil.IsZero() {
			j.watchUntil = now.Add(j.spec.Watch)
			j.tellBatch(now)
		}
		if j.watchUntil.After(now) {
			return
		}
	}
	if j.spec.Zone == "" || j.spec.DryRun {
		j.done(now)
		return
	}
	j.tellBatch(now) // before the incident of its zone is over
	j.finishing = true
	j.all.work.Go(func() {
		more, err := j.finishZone(ctx, w)
		j.report(ctx, func() { j.finishedZone(more, err, time.Now()) })
	})
}

// done is the end of a job that came to its end. Call it with mu held.
func (j *job) done(now time.Time) {
	j.tellBatch(now)
	text := j.sumWords()
	if at := slices.IndexFunc(j.stores, func(s *storeState) bool { return s.phase == givenUp }); at >= 0 {
		text += fmt.Sprintf("; the first that fails: %s (%s)", j.stores[at].store, j.stores[at].reason)
	}
	j.end(Done)
	j.tell(EventDone, "", text, j.count().Released)
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
