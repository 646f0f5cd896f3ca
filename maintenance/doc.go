// Package maintenance keeps the operators' switches: what people desire, as
// opposed to what the breakers observe.
//
// A [Switch] puts everything, a zone or a store into maintenance, or drains an
// API server: it gets no new requests ([Board.Draining]). All switches together
// are a [State], which only ever changes by a [Change] on top of a known head;
// so two writers can never lose each other's change, and the list of changes is
// the audit log.
//
// A [Board] holds the state on one sidecar. Requests read it through
// [Board.Lookup], which takes no lock and does no I/O. Behind it a [Backend]
// keeps the state for all sidecars that share it. The rules:
//
//   - The board reads the backend before the first request, and never on the
//     way of a request.
//   - While the backend is away, the last known switches stay in force, also
//     across a restart (from a snapshot on the local disk), and reads say that
//     they are stale.
//   - A sidecar that knows nothing writes nothing. If the backend comes back
//     empty or older than what a sidecar has seen, that sidecar restores it.
//   - A change is in force on this sidecar when [Board.Change] returns, and is
//     kept by the backend: a kill after that loses nothing.
//
// Times are those of the backend's clock, to which every sidecar keeps its
// distance, so that from and until mean the same moment on all of them
// whatever their own clocks say.
package maintenance
