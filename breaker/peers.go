package breaker

import "time"

// ObservationKind is what an Observation says.
type ObservationKind uint8

const (
	// ObservedSilent is that requests have no answer for slow_after.
	ObservedSilent ObservationKind = iota + 1

	// ObservedAnswered is that a request was answered.
	ObservedAnswered
)

// Observation is what the guard of one sidecar sees of a zone, a store or a server,
// for the guards of other sidecars that share a fleet. It has ages and no times, since
// clocks differ.
type Observation struct {
	Kind ObservationKind

	// What was observed: a store if Store is set, a server if Server is set (its
	// address; Zone is empty), and the zone otherwise.
	Zone, Store, Server string

	// Stores is how many stores are silent, of a silent zone or server.
	Stores int

	// For is how long ago the oldest request began that has no answer, or how long
	// ago the latest request that was answered began.
	For time.Duration
}

// Agreement is what enough sidecars of a fleet have observed, and none has
// contradicted.
type Agreement struct {
	Observation // of kind ObservedSilent; For is since the begin of the youngest observation that counts

	// Sidecars is how many observed it, this one included.
	Sidecars int
}

// Fleet is asked before a zone or a store that is cut off is tried again, so that one
// sidecar tries it for all.
type Fleet interface {
	// Lease asks for the right to try the zone, or a store of it if store is set,
	// and to keep the others from it for d. It returns at once: false if there is no
	// fleet to ask, so that the guard decides by itself. Otherwise the answer comes
	// by a call of Guard.Leased, or never.
	Lease(zone, store string, d time.Duration) bool
}
