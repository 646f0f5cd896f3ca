package recovery

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/firebreak-proxy/firebreak/maintenance"
	"github.com/firebreak-proxy/firebreak/routing"
)

const (
	// flushPause is how long a store that passed waits for others, so that
	// many are released by one change.
	flushPause = 40 * time.Millisecond

	// flushMost is how many stores one change releases.
	flushMost = 2000

	// changeLimit bounds a change of the switches.
	changeLimit = 10 * time.Second
)

// release lets the stores out of maintenance that have passed all their checks.
func (j *job) release(ctx context.Context, w *Deps, now time.Time) {
	batch := j.nextRelease(w, now)
	if len(batch) == 0 {
		return
	}
	j.writeJournal()
	j.all.work.Go(func() {
		began := time.Now()
		err := j.change(ctx, w, batch)
		end := time.Now()
		j.report(ctx, func() { j.releasedStores(batch, err, end, end.Sub(began)) })
	})
}

// nextRelease takes out the stores that are to be released now.
func (j *job) nextRelease(w *Deps, now time.Time) []*storeState {
	j.mu.Lock()
	defer j.mu.Unlock()
	if w == nil || j.state != Running || j.releasing || len(j.pending) == 0 || now.Before(j.flushAt) {
		return nil
	}
	n := min(len(j.pending), flushMost)
	batch := slices.Clone(j.pending[:n])
	j.pending = slices.Delete(j.pending, 0, n)
	j.releasing = true
	head := w.Board.View().State.Head.Change
	for _, s := range batch {
		s.releasing = head
		j.keep(s)
	}
	return batch
}

// releaseAgain takes in a store that passed all its checks in an earlier
// process, which may also have released it: if the switches have changed since,
// then perhaps a person put it back, and it begins anew.
func (j *job) releaseAgain(s *storeState, v *maintenance.View, now time.Time) {
	if s.releasing == "" || s.releasing == v.State.Head.Change {
		j.pend(s, now)
		return
	}
	s.passes, s.releasing, s.nextAt = 0, "", time.Time{}
	j.deactivate(s)
	j.keep(s)
	j.queue.retry(s)
}

// pend lets a store wait for its release.
func (j *job) pend(s *storeState, now time.Time) {
	if len(j.pending) == 0 {
		j.flushAt = maxTime(j.flushAt, now.Add(flushPause))
	}
	s.phase = passed
	j.pending = append(j.pending, s)
}

// change makes the change of the switches that releases stores.
func (j *job) change(ctx context.Context, w *Deps, batch []*storeState) error {
	ctx, cancel := context.WithTimeout(ctx, changeLimit)
	defer cancel()
	edit := new(maintenance.Edit)
	zones := make(map[string]int)
	for _, s := range batch {
		edit.Release = append(edit.Release, maintenance.Placed{Store: s.store, Zone: s.zone})
		zones[s.zone]++
	}
	for zone, n := range zones {
		if sw, ok := w.Board.View().State.Switches[zoneTarget(zone)]; ok && len(sw.Except)+n > maintenance.MaxExcept {
			if err := j.toStoreSwitches(ctx, w, &sw); err != nil {
				return err
			}
		}
	}
	edit.If = func(s *maintenance.State) error {
		if err := j.unlessPutBack(s); err != nil {
			return err
		}
		return j.unlessKept(s, batch)
	}
	state, _, err := w.Board.Change(ctx, j.author(fmt.Sprintf("recovery %s: passed %d checks in a row", j.spec.ID, j.spec.Times)), edit)
	if err != nil {
		return err
	}
	j.noteExcepted(state, zones)
	for _, s := range batch {
		w.Guard.Reinstate(s.zone, s.store, fmt.Sprintf("it passed %d checks of recovery %s", j.spec.Times, j.spec.ID))
	}
	return nil
}

// unlessPutBack keeps a release from coming after an operator who has put stores
// back that were released: the exceptions of a switch only grow otherwise.
func (j *job) unlessPutBack(s *maintenance.State) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	for target, n := range j.excepted {
		if sw, ok := s.Switches[target]; ok && len(sw.Except) < n {
			return fmt.Errorf("stores that were released are in maintenance again, by the switch of %s: %w", target, maintenance.ErrPrecondition)
		}
	}
	return nil
}

// keptError says which stores of a release people have put into maintenance since
// the job began.
type keptError struct{ why map[*storeState]string }

// Error implements error.
func (e *keptError) Error() string {
	return fmt.Sprintf("%s put into maintenance since the recovery began", plural(len(e.why), "store"))
}

// unlessKept keeps a release from taking away switches that people set after the
// last checks of their stores began.
func (j *job) unlessKept(state *maintenance.State, batch []*storeState) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	kept := make(map[*storeState]string)
	for _, s := range batch {
		sw, ok := state.Switches[maintenance.Target{Scope: maintenance.Store, Name: s.store}]
		if why := j.keptBack(s, &sw); ok && why != "" {
			kept[s] = why
		}
	}
	if len(kept) > 0 {
		return &keptError{kept}
	}
	return nil
}

// noteExcepted remembers how many stores the switches except.
func (j *job) noteExcepted(s *maintenance.State, zones map[string]int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.excepted == nil {
		j.excepted = make(map[maintenance.Target]int)
	}
	note := func(t maintenance.Target) {
		if sw, ok := s.Switches[t]; ok {
			j.excepted[t] = len(sw.Except)
		}
	}
	note(maintenance.Target{Scope: maintenance.All})
	for zone := range zones {
		note(zoneTarget(zone))
	}
}

func zoneTarget(zone string) maintenance.Target {
	return maintenance.Target{Scope: maintenance.Zone, Name: zone}
}

func (j *job) author(reason string) maintenance.Author {
	return maintenance.Author{By: j.spec.By, Reason: reason}
}

// toStoreSwitches turns the switch of a zone, which can except no further
// store, into switches of the stores it still holds for. It may be cut short
// and done again: until its last step all of them are in maintenance twice.
func (j *job) toStoreSwitches(ctx context.Context, w *Deps, zone *maintenance.Switch) error {
	lister, ok := w.Directory.(routing.Lister)
	if !ok {
		return fmt.Errorf("the switch of zone %s excepts %d stores, and can except no more; the directory cannot list the others", zone.Name, len(zone.Except))
	}
	j.mu.Lock()
	j.converted = true
	j.mu.Unlock()
	if err := j.save(); err != nil { // or a restart would take the switches for a person's
		return err
	}
	why := fmt.Sprintf("recovery %s: the zone's switch can except no more stores, so the rest get switches of their own", j.spec.ID)
	edit := new(maintenance.Edit)
	for _, p := range listZone(lister, zone.Name) {
		if zone.Excepts(p.store) {
			continue
		}
		sw := *zone
		sw.Target, sw.Except = maintenance.Target{Scope: maintenance.Store, Name: p.store}, nil
		if own, ok := w.Board.View().State.Switches[sw.Target]; ok && own.Mode == maintenance.Full && own.Until.IsZero() {
			continue
		}
		if edit.Set = append(edit.Set, sw); len(edit.Set) == maintenance.MaxTargets {
			if _, _, err := w.Board.Change(ctx, j.author(why), edit); err != nil {
				return err
			}
			edit = new(maintenance.Edit)
		}
	}
	if _, _, err := w.Board.Change(ctx, j.author(why), edit); err != nil {
		return err
	}
	_, _, err := w.Board.Change(ctx, j.author(why), &maintenance.Edit{Clear: []maintenance.Target{zone.Target}, If: func(s *maintenance.State) error {
		if now, ok := s.Switches[zone.Target]; ok && now.Revision != zone.Revision {
			return fmt.Errorf("somebody changed the switch of zone %s meanwhile: %w", zone.Name, maintenance.ErrPrecondition)
		}
		return nil
	}})
	return err
}

// releasedStores takes in how a change went.
func (j *job) releasedStores(batch []*storeState, err error, now time.Time, took time.Duration) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.releasing = false
	j.flushAt = now.Add(2 * took) // large switches take long to write
	if len(j.pending) > 0 {
		j.flushAt = maxTime(j.flushAt, now.Add(flushPause))
	}
	if err == nil {
		for _, s := range batch {
			j.setReleased(s, now)
			j.tellReleased(now)
		}
		j.note = ""
		return
	}
	var kept *keptError
	if errors.As(err, &kept) && j.state == Running {
		for _, s := range batch {
			if why, ok := kept.why[s]; ok {
				j.leaveOut(s, why)
			} else {
				j.pend(s, now)
			}
		}
		return
	}
	for _, s := range batch {
		s.phase, s.releasing = waiting, ""
		s.passes, s.nextAt = max(0, j.spec.Times-1), now.Add(j.spec.Every)
		switch {
		case j.over():
		case j.state != Running, s.passes == 0:
			s.passes = 0
			j.deactivate(s)
			j.queue.retry(s)
		default: // its last check is repeated before the release is tried again
			j.queue.again(s)
		}
		j.keep(s)
	}
	var invalid *maintenance.InvalidError
	if (errors.As(err, &invalid) || errors.Is(err, maintenance.ErrPrecondition)) && j.state == Running {
		j.pause("no more stores are released: "+err.Error(), "")
		return
	}
	j.hold(now, idlePause, "stores passed, but cannot be released: "+err.Error())
}

// finishZone is the last step of a zone's job: stores that came into the zone
// meanwhile are returned, to be checked too; if there are none, and all are
// released, the zone's switch is removed.
func (j *job) finishZone(ctx context.Context, w *Deps) (more []placed, err error) {
	lister, ok := w.Directory.(routing.Lister)
	if !ok {
		return nil, nil
	}
	all := listZone(lister, j.spec.Zone)
	j.mu.Lock()
	failing := j.count().GivenUp
	for _, p := range all {
		if j.byName[p.store] == nil && len(j.stores)+len(more) < maxStores && w.Board.Lookup(p.zone, p.store) != nil {
			more = append(more, p)
		}
	}
	j.mu.Unlock()
	if len(more) > 0 || failing > 0 {
		return more, nil
	}
	ctx, cancel := context.WithTimeout(ctx, changeLimit)
	defer cancel()
	target := zoneTarget(j.spec.Zone)
	_, _, err = w.Board.Change(ctx, j.author("recovery "+j.spec.ID+": all stores are released"), &maintenance.Edit{
		Clear: []maintenance.Target{target},
		If: func(s *maintenance.State) error {
			sw, ok := s.Switches[target]
			for i := 0; ok && i < len(all); i++ {
				if !sw.Excepts(all[i].store) {
					return fmt.Errorf("store %s is in maintenance again: %w", all[i].store, maintenance.ErrPrecondition)
				}
			}
			return nil
		},
	})
	if errors.Is(err, maintenance.ErrPrecondition) {
		return nil, nil // a person has other plans; the switch stays
	}
	return nil, err
}

// finishedZone takes in how the last step went.
func (j *job) finishedZone(more []placed, err error, now time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.finishing = false
	switch {
	case j.state != Running:
	case err != nil:
		j.hold(now, idlePause, "all stores are released, but the zone's switch cannot be removed: "+err.Error())
	case len(more) > 0:
		for _, p := range more {
			j.take(&storeState{placed: p})
		}
		j.dirty = true
	default:
		j.done(now)
	}
}
