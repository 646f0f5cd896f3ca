package maintenance

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// Author identifies the author of a change, for the audit log.
type Author struct {
	By     string // the person
	Reason string // why
	Remote string // the address the request came from
}

// Edit is what is to be changed. Ask the board's Now for the time.
type Edit struct {
	Set   []Switch
	Clear []Target

	// Stores to let out of the switches of their zone and of everything, by
	// excepting them; their own switches are cleared too.
	Release []Placed

	// A condition, told the state before the change: an error, which should
	// wrap ErrPrecondition, means that nothing is changed.
	If func(*State) error
}

// Placed is a store and the zone it lives in.
type Placed struct{ Store, Zone string }

// attempts is how often a change is tried while others come first.
const attempts = 100

// expiredKept is for how long an expired switch is still shown.
const expiredKept = time.Hour

// Change makes a change and puts it in force here; when it returns, the
// backend keeps it. What changes nothing makes no revision. It returns the
// state after the change and what was changed, nil if nothing was.
//
// Errors: ErrPrecondition (wrapped) from Edit.If; anything else means that the
// change may not have been made, and that it is safe to try again.
func (b *Board) Change(ctx context.Context, by Author, edit *Edit) (*State, *Change, error) {
	if err := edit.check(); err != nil {
		return nil, nil, &InvalidError{err}
	}
	b.writing.Lock()
	defer b.writing.Unlock()
	for n := range attempts {
		if n > 0 {
			if err := pause(ctx, time.Duration(rand.Int64N(int64(min(n, 20))*int64(time.Millisecond)))); err != nil {
				return nil, nil, err
			}
		}
		if err := b.Sync(ctx); err != nil {
			return nil, nil, fmt.Errorf("the state backend cannot be read, so nothing was changed: %w", err)
		}
		state, change, err := b.try(ctx, by, edit)
		if !errors.Is(err, ErrConflict) {
			return state, change, err
		}
	}
	return nil, nil, fmt.Errorf("gave up after %d attempts: %w", attempts, ErrConflict)
}

// InvalidError means that a change asks for something impossible.
type InvalidError struct{ Err error }

// Error says what is impossible.
func (e *InvalidError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *InvalidError) Unwrap() error { return e.Err }

// Preview returns the state as it is known here and the change that an edit
// would make to it, nil if none. It changes nothing.
func (b *Board) Preview(edit *Edit) (*State, *Change, error) {
	if err := edit.check(); err != nil {
		return nil, nil, &InvalidError{err}
	}
	state := b.snapshot()
	if edit.If != nil {
		if err := edit.If(state); err != nil {
			return state, nil, err
		}
	}
	c := b.compose(state, edit)
	if len(c.Set)+len(c.Clear) == 0 {
		return state, nil, nil
	}
	return state, c, nil
}

func (e *Edit) check() error {
	if n := len(e.Set) + len(e.Clear) + len(e.Release); n > MaxTargets {
		return fmt.Errorf("%d switches in one change; at most %d are possible: split it", n, MaxTargets)
	}
	for i := range e.Set {
		e.Set[i].tidy()
		if err := e.Set[i].Check(); err != nil {
			return fmt.Errorf("%s: %w", e.Set[i].Target, err)
		}
	}
	for _, t := range e.Clear {
		if err := t.Check(); err != nil {
			return err
		}
	}
	return nil
}

// try makes the change on top of the state as this board knows it.
func (b *Board) try(ctx context.Context, by Author, edit *Edit) (*State, *Change, error) {
	state := b.snapshot()
	if edit.If != nil {
		if err := edit.If(state); err != nil {
			return state, nil, err
		}
	}
	c := b.compose(state, edit)
	if len(c.Set)+len(c.Clear) == 0 {
		return state, nil, nil
	}
	c.By, c.Reason, c.Remote, c.Instance = by.By, by.Reason, by.Remote, b.opts.ID
	for _, sw := range c.Set {
		if err := sw.Check(); err != nil {
			return state, nil, &InvalidError{fmt.Errorf("%s: %w", sw.Target, err)}
		}
	}
	ctx, cancel := context.WithTimeout(ctx, b.opts.Timeout)
	defer cancel()
	b.syncing.Lock()
	defer b.syncing.Unlock()
	if err := b.opts.Backend.Commit(ctx, state.Head, c); err != nil {
		if !errors.Is(err, ErrConflict) {
			err = fmt.Errorf("writing to the state backend: %w", err)
		}
		return nil, nil, err
	}
	after := state.apply(c)
	b.adopt(after, nil)
	return after, c, nil
}

// compose makes the change that an edit asks for.
func (b *Board) compose(state *State, edit *Edit) *Change {
	now := inUTC(b.clock())
	c := &Change{Head: next(state.Head), At: now}
	set := make(map[Target]Switch, len(edit.Set))
	cleared := make(map[Target]bool, len(edit.Clear))
	for _, t := range edit.Clear {
		cleared[t] = true
	}
	for _, sw := range edit.Set {
		set[sw.Target] = sw
		delete(cleared, sw.Target)
	}
	release(state, edit.Release, now, set, cleared)
	for target, sw := range set {
		before, existed := state.Switches[target]
		if existed && before.sameAs(&sw) && before.Phase(now) != Expired {
			continue
		}
		sw.Since, sw.Revision = now, c.Revision
		if existed && before.Phase(now) != Expired {
			sw.Since = before.Since
		}
		c.Set = append(c.Set, sw)
	}
	for target := range cleared {
		if _, ok := state.Switches[target]; ok {
			c.Clear = append(c.Clear, target)
		}
	}
	if len(c.Set)+len(c.Clear) > 0 {
		c.Clear = append(c.Clear, longExpired(state, now, set, cleared)...)
	}
	slices.SortFunc(c.Set, func(a, b Switch) int { return compareTargets(a.Target, b.Target) })
	slices.SortFunc(c.Clear, compareTargets)
	return c
}

func compareTargets(a, b Target) int {
	switch ka, kb := a.Key(), b.Key(); {
	case ka < kb:
		return -1
	case ka > kb:
		return 1
	}
	return 0
}

// release excepts stores from the switches that hold for them.
func release(state *State, stores []Placed, now time.Time, set map[Target]Switch, cleared map[Target]bool) {
	for _, p := range stores {
		cleared[Target{Store, p.Store}] = true
		for _, t := range []Target{{Zone, p.Zone}, {Scope: All}} {
			sw, ok := set[t]
			if !ok {
				sw, ok = state.Switches[t]
				sw.Except = slices.Clone(sw.Except)
			}
			if !ok || cleared[t] || sw.Phase(now) == Expired {
				continue
			}
			if at, found := slices.BinarySearch(sw.Except, p.Store); !found {
				sw.Except = slices.Insert(sw.Except, at, p.Store)
				set[t] = sw
			}
		}
	}
}

// longExpired are the switches that expired so long ago that no one needs
// them; they go with the next change.
func longExpired(state *State, now time.Time, set map[Target]Switch, cleared map[Target]bool) (gone []Target) {
	for target, sw := range state.Switches {
		if _, ok := set[target]; ok || cleared[target] {
			continue
		}
		if sw.Phase(now) == Expired && now.Sub(sw.Until) > expiredKept {
			gone = append(gone, target)
		}
	}
	return gone
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
