package maintenance

import (
	"context"
	"errors"
	"time"
)

// Backend keeps the state for all sidecars that share it. All methods are safe
// for use by several goroutines, return promptly when their context ends, and
// may fail: the board goes on with what it knows.
//
// Package conformance tests that a backend keeps its promises.
type Backend interface {
	// Read returns what is new compared with the state of a head; nothing if
	// that is the latest. A backend that holds no state returns an empty Head.
	Read(ctx context.Context, known Head) (*Update, error)

	// Commit puts a change on top of the head at. It is atomic: all of it is
	// kept, for ever, or nothing; and it returns ErrConflict if another change
	// came first. If at is empty, the backend must be empty too, and the change
	// begins an epoch.
	Commit(ctx context.Context, at Head, c *Change) error

	// Restore writes a whole state, atomically, into a backend that holds none
	// or an earlier revision of the same epoch; else it returns ErrConflict.
	Restore(ctx context.Context, s *State) error

	// History returns up to limit changes, latest first. Backends keep at
	// least the latest 1,000.
	History(ctx context.Context, limit int) ([]Change, error)

	// Watch calls changed whenever somebody else may have made a change, as
	// soon as it is known, until ctx ends. A backend that cannot tell waits
	// for ctx: boards ask regularly anyway.
	Watch(ctx context.Context, changed func())

	// Publish keeps a record on a sidecar for ttl. It returns the backend's
	// clock, or zero if it has none.
	Publish(ctx context.Context, id string, record []byte, ttl time.Duration) (time.Time, error)

	// Withdraw removes the record on a sidecar.
	Withdraw(ctx context.Context, id string) error

	// Instances returns the records that were published and have not expired,
	// by id.
	Instances(ctx context.Context) (map[string][]byte, error)

	// Close ends the backend's connections.
	Close() error
}

// Update is what a reader did not know.
type Update struct {
	Head     Head
	Absorbed []string

	// All reports whether Set is the whole state; else Set and Clear are what has
	// changed since the head that was known.
	All   bool
	Set   []Switch
	Clear []Target

	// Records that were left out because they cannot be read. Given with All.
	Corrupt []Corrupt

	// The backend's clock, or zero if it has none.
	Now time.Time
}

// Errors of backends and boards.
var (
	// ErrConflict means that the state is not the one the writer knew.
	ErrConflict = errors.New("the state has changed meanwhile")

	// ErrPrecondition means that what the caller demanded to be changed is no
	// longer what it was.
	ErrPrecondition = errors.New("it has changed meanwhile")
)
