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
	// address; Zone is empty), and the zone otherwise. Servers are not observed yet.
	Zone, Store, Server string

	// Stores is how many stores are silent, of a silent zone or server.
	Stores int

	// Some are fingerprints of the names of up to three of these, by which the fleet
	// counts how many different ones there are; 0: none. They are the same in every
	// sidecar.
	Some [3]uint32

	// For is how long ago the oldest request began that has no answer, or how long
	// ago the latest answer came.
	For time.Duration
}

// Agreement is what enough sidecars of a fleet observe, and none contradicts.
type Agreement struct {
	// Of kind ObservedSilent. For is since the begin of the youngest observation that
	// counts, Stores how many different stores are silent in all.
	Observation

	// Sidecars is how many observe it.
	Sidecars int
}

// Fleet is asked before a zone or a store that is cut off is tried again, so that one
// sidecar tries it for all.
type Fleet interface {
	// Lease asks for the right to try the zone, or a store of it if store is set,
	// and to keep the others from it for d. It returns at once: false if there is no
	// fleet to ask, so that the guard decides by itself. Otherwise the answer comes
	// by a call of Guard.Leased, or never. Who has the right and asks again keeps it
	// for another d.
	Lease(zone, store string, d time.Duration) bool
}
