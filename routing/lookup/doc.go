// Package lookup is a directory that asks a lookup service over HTTP where a
// store lives.
//
//	GET http://lookup.internal/stores/{key}
//	200 {"store":"s1","zone":"z1","keys":["k1","k2"]}
//	404 no such store
//
// Answers are kept in an LRU, by the time of the answer, and asked for again in
// the background before they are too old, so that a store in use never waits.
// What is known outlives the service: while it is down, old answers are given.
//
// Invariants:
//
//   - A request waits at most Timeout, and not at all for what is known and in
//     use, or while the service is known to be down.
//   - One question per key is on its way at a time, at most MaxConcurrent at
//     the service, and at most waitingPerSlot times as many in all.
//   - Keys that name no store are kept apart from those that do: made-up keys
//     push out nothing but each other.
//   - A known answer takes no memory to give.
package lookup
