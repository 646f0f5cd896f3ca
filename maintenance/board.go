package maintenance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// Options are the settings of a board. Only Backend must be set.
type Options struct {
	Backend Backend

	// How often the backend is asked for changes. Default: 1s.
	Sync time.Duration

	// The time limit of each call to the backend. Default: 2s.
	Timeout time.Duration

	// A file that keeps the last known state for a restart while the backend
	// is away. Default: none.
	Snapshot string

	// A state known from before, if there is one.
	Known *State

	// Who this sidecar is, as changes and the fleet name it.
	ID string

	// Describe returns this sidecar's record for the fleet; id, times and what
	// it applies are filled in. Default: nothing is published.
	Describe func() Instance

	// How long a record counts if it is not renewed. It is renewed three times
	// as often, and soon after each change. Default: 15s.
	Lease time.Duration

	// InForce is called after the switches that are in force may have changed,
	// possibly from several goroutines at once. It must not call the board but for
	// [Board.Lookup] and [Board.Draining]. Default: nothing is called.
	InForce func()

	// Release is called with the targets that switches in force refuse requests for
	// and will not in a moment, before that is so. It must be quick and must not call
	// the board. Default: nothing is called.
	Release func([]Target)
}

// Board holds the state on this sidecar. Its methods are safe for use by
// several goroutines.
type Board struct {
	opts    Options
	began   time.Time
	rules   atomic.Pointer[rules]
	events  chan Event
	dropped atomic.Uint64
	changed chan struct{} // the state is another one; holds at most one word
	wall    func() time.Time

	writing sync.Mutex // held while a change is made
	syncing sync.Mutex // held while the backend is read

	mu         sync.Mutex // guards below
	state      *State
	ahead      time.Duration // the backend's clock minus this machine's
	corrupt    []Corrupt
	synced     time.Time // when the backend was last read; this machine's clock
	problem    error     // of the latest attempt; nil: it succeeded
	since      time.Time // when the problem began
	unsaved    bool      // the snapshot is older than the state
	loading    bool      // what is read is not news
	saveFailed error     // of the latest attempt to write the snapshot
}

// New makes a board. Nothing is in force until Load.
func New(opts Options) *Board {
	opts.Sync = orDefault(opts.Sync, time.Second)
	opts.Timeout = orDefault(opts.Timeout, 2*time.Second)
	opts.Lease = orDefault(opts.Lease, 15*time.Second)
	b := &Board{opts: opts, events: make(chan Event, 256), changed: make(chan struct{}, 1), wall: time.Now}
	b.began = b.wall()
	if b.opts.InForce == nil {
		b.opts.InForce = func() {}
	}
	b.state = &State{}
	b.rules.Store(&rules{})
	return b
}

func orDefault(d, otherwise time.Duration) time.Duration {
	if d <= 0 {
		return otherwise
	}
	return d
}

// Load puts the state in force, before the first request: the backend's, or if
// it is away the last one known. It writes nothing and returns what went
// wrong, if anything: the board works nevertheless.
func (b *Board) Load(ctx context.Context) error {
	b.setLoading(true)
	defer b.setLoading(false)
	if b.opts.Known != nil {
		b.adopt(b.opts.Known, nil)
	}
	snapshotErr := b.loadSnapshot()
	err := b.Sync(ctx)
	if err != nil {
		return fmt.Errorf("reading the state of maintenance: %w", err)
	}
	return snapshotErr
}

func (b *Board) setLoading(on bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.loading = on
}

// clock is the backend's clock, as far as it is known.
func (b *Board) clock() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.clockLocked()
}

// clockLocked reckons from a monotonic reading, so that setting this machine's
// clock moves nothing.
func (b *Board) clockLocked() time.Time {
	now := b.wall()
	return b.began.Round(0).Add(now.Sub(b.began)).Add(b.ahead).UTC()
}

// Now is the time of the backend's clock, by which from and until are read.
func (b *Board) Now() time.Time { return b.clock() }

// setClock takes in what the backend's clock said between two moments.
func (b *Board) setClock(said, before, after time.Time) {
	if said.IsZero() || after.Sub(before) > time.Second {
		return
	}
	middle := b.began.Round(0).Add(before.Sub(b.began)).Add(after.Sub(before) / 2)
	ahead := said.Sub(middle)
	b.mu.Lock()
	moved := (ahead - b.ahead).Abs() > after.Sub(before)/2+time.Millisecond
	if moved {
		b.ahead = ahead
		b.unsaved = true
		b.putInForce()
	}
	b.mu.Unlock()
	if moved {
		b.opts.InForce()
	}
}

// Sync reads what is new from the backend. It restores the backend's state if
// that was lost.
func (b *Board) Sync(ctx context.Context) error {
	b.syncing.Lock()
	defer b.syncing.Unlock()
	err := b.read(ctx)
	b.note(err)
	return err
}

func (b *Board) read(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, b.opts.Timeout)
	defer cancel()
	known := b.head()
	before := b.wall()
	update, err := b.opts.Backend.Read(ctx, known)
	if err != nil {
		return err
	}
	b.setClock(update.Now, before, b.wall())
	return b.take(ctx, update)
}

// take compares the backend's state with this board's and makes one of them.
func (b *Board) take(ctx context.Context, u *Update) error {
	mine := b.snapshot()
	switch {
	case u.Head == mine.Head:
		return nil
	case mine.Empty():
		b.adoptUpdate(u)
		return nil
	case u.Head.Empty(), u.Head.Epoch == mine.Epoch && u.Head.Revision < mine.Revision:
		return b.restore(ctx, mine, u.Head)
	case u.Head.Epoch == mine.Epoch:
		b.adoptUpdate(u)
		return nil
	}
	return b.merge(ctx, mine, u)
}

// restore gives the backend back what it has lost.
func (b *Board) restore(ctx context.Context, mine *State, has Head) error {
	err := b.opts.Backend.Restore(ctx, mine)
	if errors.Is(err, ErrConflict) {
		return nil // somebody else was faster; the next reading tells
	}
	if err != nil {
		return fmt.Errorf("restoring the state, which the backend has lost: %w", err)
	}
	b.emit(Event{Kind: EventRestored, Revision: mine.Revision, Detail: fmt.Sprintf(
		"the backend had lost changes (it was at revision %d); %d switches at revision %d were written back", has.Revision, len(mine.Switches), mine.Revision)})
	return nil
}

// merge takes over a state of another epoch: a writer that knew nothing of this
// one began anew after it was lost. Switches that the new state does not speak
// of are added to it, once.
func (b *Board) merge(ctx context.Context, mine *State, u *Update) error {
	theirs := (&State{}).apply(&Change{Head: u.Head, Set: u.Set})
	theirs.Absorbed = u.Absorbed
	for _, epoch := range u.Absorbed {
		if epoch == mine.Epoch {
			b.adopt(theirs, u.Corrupt)
			return nil
		}
	}
	c := &Change{
		Head: next(theirs.Head), At: b.clock(), By: "firebreak", Instance: b.opts.ID,
		Reason: "switches from before the state was lost", Absorbed: mine.Epoch,
	}
	for _, sw := range mine.Sorted() {
		if _, ok := theirs.Switches[sw.Target]; !ok {
			sw.Revision = c.Revision
			c.Set = append(c.Set, sw)
		}
	}
	err := b.opts.Backend.Commit(ctx, theirs.Head, c)
	if errors.Is(err, ErrConflict) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("adding the switches from before the state was lost: %w", err)
	}
	b.adopt(theirs.apply(c), u.Corrupt)
	b.emit(Event{Kind: EventRestored, Revision: c.Revision, Detail: fmt.Sprintf(
		"the backend's state was lost and begun anew; %d switches from before were added", len(c.Set))})
	return nil
}

// next is the head after one more change.
func next(at Head) Head {
	h := Head{Epoch: at.Epoch, Revision: at.Revision + 1, Change: newID()}
	if at.Empty() {
		h.Epoch = newID()
	}
	return h
}

// adoptUpdate takes in what the backend has and this board had not.
func (b *Board) adoptUpdate(u *Update) {
	if u.All {
		s := (&State{}).apply(&Change{Head: u.Head, Set: u.Set})
		s.Absorbed = u.Absorbed
		b.adopt(s, u.Corrupt)
		return
	}
	s := b.snapshot().apply(&Change{Head: u.Head, Set: u.Set, Clear: u.Clear})
	s.Absorbed = u.Absorbed
	b.adopt(s, nil)
}

// adopt puts a state in force and tells of the difference.
func (b *Board) adopt(s *State, corrupt []Corrupt) {
	b.mu.Lock()
	old := b.state
	b.state, b.unsaved = s, true
	if corrupt != nil || s.Epoch != old.Epoch {
		b.corrupt = corrupt
	}
	b.putInForce()
	now, loading := b.clockLocked(), b.loading
	b.mu.Unlock()
	b.opts.InForce()
	if loading {
		old = s
	}
	b.tellChanges(old, s, corrupt, now)
	select {
	case b.changed <- struct{}{}:
	default:
	}
}

// putInForce makes the rules anew. Call it with mu held.
func (b *Board) putInForce() {
	next := newRules(b.state, b.clockLocked())
	if b.opts.Release != nil {
		if released := b.rules.Load().released(next); len(released) > 0 {
			b.opts.Release(released)
		}
	}
	b.rules.Store(next)
}

func (b *Board) head() Head { return b.snapshot().Head }

func (b *Board) snapshot() *State {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.state
}

// note remembers how the latest attempt to reach the backend went.
func (b *Board) note(err error) {
	b.mu.Lock()
	now, was := b.wall(), b.problem
	switch {
	case err == nil:
		b.synced = now
	case was == nil:
		b.since = now
	}
	b.problem = err
	revision, began := b.state.Revision, b.since
	b.mu.Unlock()
	switch {
	case err != nil && was == nil:
		b.emit(Event{Kind: EventStale, Revision: revision, Detail: err.Error()})
	case err == nil && was != nil:
		b.emit(Event{Kind: EventSynced, Revision: revision, Detail: fmt.Sprintf("the backend was away for %s", now.Sub(began).Round(time.Millisecond))})
	}
}

// Run keeps the board in step with the backend until ctx ends.
func (b *Board) Run(ctx context.Context) {
	var work sync.WaitGroup
	wake := make(chan struct{}, 1)
	work.Go(func() {
		b.opts.Backend.Watch(ctx, func() {
			select {
			case wake <- struct{}{}:
			default:
			}
		})
	})
	work.Go(func() { b.keepTime(ctx) })
	work.Go(func() { b.keepSnapshot(ctx) })
	if b.opts.Describe != nil {
		work.Go(func() { b.keepPublished(ctx) })
	}
	for ctx.Err() == nil {
		_ = b.Sync(ctx) // noted
		select {
		case <-ctx.Done():
		case <-wake:
		case <-time.After(jitter(b.opts.Sync)):
		}
	}
	work.Wait()
}

// jitter keeps a fleet from asking all at once.
func jitter(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (0.9 + 0.2*rand.Float64()))
}

// edgeCheck bounds how late a switch begins or ends if the clocks move.
const edgeCheck = 250 * time.Millisecond

// keepTime lets switches begin and end when their time comes.
func (b *Board) keepTime(ctx context.Context) {
	for ctx.Err() == nil {
		wait := edgeCheck
		if edge := b.rules.Load().edge; !edge.IsZero() {
			left := edge.Sub(b.clock())
			if left <= 0 {
				b.turn()
				continue
			}
			wait = min(wait, left)
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// turn makes the rules anew because a switch begins or ends now.
func (b *Board) turn() {
	b.mu.Lock()
	old := b.rules.Load()
	b.putInForce()
	state, now := b.state, b.clockLocked()
	b.mu.Unlock()
	b.opts.InForce()
	b.tellTurns(state, old, now)
}

// publishPause bounds how often a sidecar tells the fleet which of many changes
// it applies, and keeps a fleet from telling all at once.
const publishPause = 300 * time.Millisecond

// keepPublished tells the fleet about this sidecar, and that it is gone at the
// end.
func (b *Board) keepPublished(ctx context.Context) {
	for ctx.Err() == nil {
		b.publish(ctx)
		select {
		case <-ctx.Done():
		case <-b.changed:
			_ = pause(ctx, time.Duration((0.5+rand.Float64())*float64(publishPause)))
		case <-time.After(jitter(b.opts.Lease / 3)):
		}
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = b.opts.Backend.Withdraw(last, b.opts.ID) // or its lease runs out
}

func (b *Board) publish(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, b.opts.Timeout)
	defer cancel()
	record, err := json.Marshal(b.instance())
	if err != nil {
		return
	}
	before := b.wall()
	now, err := b.opts.Backend.Publish(ctx, b.opts.ID, record, b.opts.Lease)
	if err == nil {
		b.setClock(now, before, b.wall())
	}
}

// instance is this sidecar's record.
func (b *Board) instance() Instance {
	i := b.opts.Describe()
	view := b.View()
	i.ID, i.At, i.Started = b.opts.ID, b.clock(), inUTC(b.began.Add(b.lead()))
	i.Applies, i.Stale, i.Synced = view.State.Head, view.Stale, inUTC(view.Synced)
	return i
}

func (b *Board) lead() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ahead
}

// Fleet returns all sidecars that share the backend. If it is away, there is
// at least this one.
func (b *Board) Fleet(ctx context.Context) (*Fleet, error) {
	ctx, cancel := context.WithTimeout(ctx, b.opts.Timeout)
	defer cancel()
	records, err := b.opts.Backend.Instances(ctx)
	if err != nil {
		records = make(map[string][]byte)
	}
	if b.opts.Describe != nil {
		if record, encodeErr := json.Marshal(b.instance()); encodeErr == nil {
			records[b.opts.ID] = record
		}
	}
	return newFleet(b.head(), records), err
}

// View is what a board knows.
type View struct {
	State *State

	// Stale reports whether the backend cannot be read, and Problem why; the state is
	// the last one known then.
	Stale   bool
	Problem error

	// When the backend was last read, by this machine's clock; zero: never.
	Synced time.Time

	// The backend's clock minus this machine's.
	ClockAhead time.Duration

	// Records of the backend that cannot be read and were left out.
	Corrupt []Corrupt

	// Why the snapshot for a restart could not be written, if so.
	SnapshotProblem error

	// Events that were not taken in time.
	EventsDropped uint64
}

// View returns what the board knows. The state must not be changed.
func (b *Board) View() View {
	b.mu.Lock()
	defer b.mu.Unlock()
	return View{
		State: b.state, Stale: b.problem != nil || b.synced.IsZero(), Problem: b.problem, Synced: b.synced,
		ClockAhead: b.ahead, Corrupt: b.corrupt, SnapshotProblem: b.saveFailed, EventsDropped: b.dropped.Load(),
	}
}

// History returns up to limit changes, latest first.
func (b *Board) History(ctx context.Context, limit int) ([]Change, error) {
	ctx, cancel := context.WithTimeout(ctx, b.opts.Timeout)
	defer cancel()
	return b.opts.Backend.History(ctx, limit)
}
