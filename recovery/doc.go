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
//   - No store is released that did not pass all its checks in a row, in this
//     process, with nothing but time in between: counts are never kept on disk
//     and begin anew after a restart, a pause and a failure.
//   - A check occupies a slot of its zone from before it is sent until its
//     worker is known to be free, see [breaker.Guard.AdmitCheck]: however many
//     of them hang, a zone never occupies more than its share, and a store is
//     not checked again while the worker of its last check is busy.
//   - Where a store stands is told by the switches, not by the job's own file:
//     a release that was made counts, whatever the file says.
//   - A change of a job's state is on disk before it is acknowledged.
//   - What is kept is bounded: jobs, their stores, and finished jobs.
package recovery
