// Package episodes makes one episode of what the sidecars of a fleet see of the same
// trouble: one id, one that tells people of its beginning, one that tells of its end,
// and the figures of all.
//
// A [Keeper] looks at the incidents of zones once a second. For each it beats to the
// state backend, if that can let sidecars agree ([maintenance.Episodes]), from a
// goroutine of its own: no request waits for it. What it decides it gives out as an
// [Event], which is to be settled when people have been told.
//
// # Exactly one, and never none
//
// An episode is held by the leases of the sidecars whose zone is not calm. The first
// of them for which it is grave gets the claim to tell of the beginning. The claim has
// a lease of its own, 10 s, which its owner renews until the telling is settled; if
// the owner is killed, or says three times in the fleet that it could not tell, the
// claim goes to another. The last to let go of the episode gets the claim to tell of
// the end; if that one is killed, or all who held the episode are, any sidecar of the
// fleet that notices. So one tells, unless a sidecar dies, or is cut off, between
// telling and saying so: then two do, with the same id.
//
// # Without the backend
//
// While the backend is away, or is none that lets sidecars agree, an incident's own id
// is that of its episode, at once, and each sidecar tells for itself. When the backend
// is back, an episode that is still going on is joined: the id that the fleet has told
// of stays, another one that this sidecar has told of becomes an alias and ends
// (EventMerged). An end that comes while the backend is away is told of by each sidecar
// after the length of a lease; if others go on, they tell of the episode again when the
// backend is back.
package episodes
