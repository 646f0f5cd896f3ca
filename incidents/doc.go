// Package incidents keeps a record of each episode of a zone, from the first
// request that went wrong until all is calm again: what happened when and why,
// its culprits, what was refused, how many workers it took, and for how long
// which stores it refused. It is the material of a postmortem.
//
// A [Log] is told of transitions ([Log.Tell]) and of operators' switches
// ([Log.TellSwitch]), and looks at the zones of ongoing incidents once a second
// by itself. Each incident has a file of its own, which is replaced at once.
//
// What counts as an incident: an episode in which a breaker opened, a request
// hung or was refused, or a person held a breaker. Episodes that came to
// nothing are dropped when they end. While a switch of the zone, or of
// everything, that was set during an incident is in force, the incident goes on.
//
// # Figures
//
// Requests are counted by the guard. An incident shows the difference between
// two of its tallies: the one before the first request was admitted that went
// wrong, and the one at its end. So requests count that were refused while
// the cause was not known yet.
//
// A store is in the dark while its zone's breaker is open or half-open, while it
// is in quarantine itself (until it is released: the one request that tries it
// again makes no difference to its clients), and while maintenance with mode
// full holds for it. Moments that are dark for several reasons count once.
//
// # Bounds
//
// The oldest incidents go when there are more than are kept; those in which no
// zone opened go first when they are more than half of all. One incident leaves
// out what is beyond its own bounds, and says so.
//
// # Disk
//
// All writing happens on one goroutine of the log. A disk that is full, slow or
// gone is told once and tried again later; no request waits for it. A process that
// is killed loses at most the last seconds of an ongoing incident; the next one
// closes what it finds going on, or goes on with it if a switch keeps it open.
// The folder is locked, so that a second process takes another one beside it.
package incidents
