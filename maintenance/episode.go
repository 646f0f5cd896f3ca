package maintenance

import (
	"context"
	"time"
)

// Episodes is what a [Backend] may implement so that the sidecars which share it
// agree on what is one episode of a zone: on its id, on who tells of its beginning,
// and on who tells of its end. What it keeps are leases: a sidecar that is killed
// holds nothing open for ever.
type Episodes interface {
	// Beat takes in what a sidecar says of an episode and returns what is agreed. A
	// sidecar beats several times within the lease. It is atomic.
	Beat(ctx context.Context, b *Beat) (*Agreed, error)

	// Overdue returns some of the zones with an episode that nobody has held for the
	// length of a lease, or whose end nobody has told of.
	Overdue(ctx context.Context) ([]string, error)
}

// Stage is what an episode is for a sidecar.
type Stage string

// The stages.
const (
	Joined   Stage = "in"    // its zone is not calm
	Left     Stage = "out"   // it is calm again
	Watching Stage = "watch" // it only looks
)

// Telling is what one sidecar tells for all.
type Telling string

// What there is to tell.
const (
	TellBegun Telling = "begun"
	TellEnded Telling = "ended"
)

// Outcome is what became of telling.
type Outcome string

// The outcomes; empty: it is on its way.
const (
	Told    Outcome = "told"
	NotTold Outcome = "not told" // another sidecar may have more luck
)

// Beat is what a sidecar says of an episode.
type Beat struct {
	Zone   string // or "server " and an address
	Member string // the sidecar and its own record
	ID     string // as the sidecar knows it; "": any
	Stage  Stage

	// How grave it is for this sidecar, from 1; 0: not worth telling. And how grave
	// an episode the sidecar knows to have been told of with ID.
	Level, Told int

	// What the sidecar is telling for all, and what became of it.
	Telling      Telling
	TellingLevel int
	Outcome      Outcome

	Part  []byte        // its figures
	Lease time.Duration // how long it holds the episode if it does not beat again
	Parts bool          // the figures of all are wanted
}

// Agreed is what the sidecars agree on.
type Agreed struct {
	ID      string // "": there is no such episode
	Told    int    // how grave an episode was told of; 0: none
	Members int    // sidecars that hold it
	Over    bool   // it was, and its end was told of if its beginning was
	Aliases []string

	// What this sidecar is to tell for all, and how grave it is.
	Tell  Telling
	Level int

	// The figures of all, by member: of those that have left, too. Given if they
	// are wanted, and with TellEnded.
	Parts map[string][]byte
}
