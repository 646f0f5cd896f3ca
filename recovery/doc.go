// Package recovery brings stores back from maintenance, each after it was found
// well. A [Job] goes over the stores of a zone, or over a list of stores: each is
// checked by a request to the API server, and once it has passed so many checks
// in a row it is released, that store alone, at once. A store that fails stays
// in maintenance, with the reason, and is tried again after a while.
//
//	              a person, or released stores turn bad
//	         ┌────────────────────────────────────────────► paused
//	 begin   │                                                │
//	────► running ◄───────────────────────────────────────────┘ a person
//	         │ │
//	         │ └─► done        every store is released, or was given up
//	         └───► cancelled   a person
//
// # Invariants
//
//   - No store is released that did not pass all its checks in a row, with
//     nothing but time in between, or a restart of the process: counts begin
//     anew after a failure and a pause.
//   - What a check has found is in the job's journal before anybody is released
//     for it, so a process that is killed repeats none but the checks that were
//     on their way. The next check of a store comes no sooner than after the time
//     between two checks, counted from the restart, whatever clocks say.
//   - A count is taken from disk only if nothing after it can be missing: not
//     after a restart of the machine, since the journal is not synced; not from
//     before a damaged line; and not from a journal in which something could not
//     be written, since that is removed. Else it begins anew.
//   - A check occupies a slot of its zone from before it is sent until its
//     worker is known to be free, see [breaker.Guard.AdmitCheck]: however many
//     of them hang, a zone never occupies more than its share, and a store is
//     not checked again while the worker of its last check is busy.
//   - Where a store stands is told by the switches, not by the job's own file:
//     a release that was made counts, whatever the file says. If the process was
//     killed in the middle of one, and the switches have changed since and still
//     hold for the store, then its count begins anew: a person may have put it
//     back.
//   - A change of a job's state is on disk before it is acknowledged.
//   - What is kept is bounded: jobs, their stores, and finished jobs.
package recovery
