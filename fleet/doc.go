// Package fleet has the guards of many sidecars share what they observe, so that a
// fault is found once for all of them. It knows neither Redis nor Caddy: messages go
// over a [Transport].
//
// # What is shared
//
// Observations, no counters and no verdicts: "two stores of zone z7 have no answer since
// 1.3 s", "z7 answered me 0.2 s ago". A sidecar sends while something is wrong, what is
// new at once and the rest again every second, and otherwise only that it is there.
//
// # k of n
//
// A claim that something is silent holds for three seconds. When `agree` hosts claim it
// of a zone, a server or a store, about as many stores, and no host has had an answer to
// a request that began after theirs, the guard is told after a grace of 100 ms, in which
// such answers arrive: who hears a claim and knows better says so. The guard has its own
// rules on top: its own answers, the most zones that may be open, whether it suspects its
// own pool.
//
// # Who counts
//
// Hosts count, not sidecars. A host whose claims two others contradict on two zones, or
// on one for a second, does not count for ten seconds: it is more likely that its
// network is ill. A sidecar counts from its
// second message, at least half a second after its first. Each message says how long its sender
// has run; a message that took longer than a second beyond the usual, since Redis was
// stopped or since somebody sent it again, is dropped. So no clock is compared with
// another one's.
//
// # When the transport is away
//
// Nothing is agreed on and no lease is given; each guard decides by itself, as without
// a fleet. A sidecar that does not hear its own messages within half a second claims
// nothing and agrees to nothing.
package fleet
