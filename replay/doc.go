// Package replay lets the requests of an access log meet a guard with other
// settings, in virtual time, and says what it would have done.
//
//	log, err := replay.Read(file, replay.ReadOptions{})
//	report := replay.Run(log, policy, replay.Options{})
//
// # What is known of a request
//
// An access log says when a request was answered and how long that took for the
// client. What its worker did is inferred from that (see [Log.Infer]):
//
//   - A request that was answered kept its worker busy until the answer. If
//     the pool was full when it came, it first stood in the queue, which is
//     first come, first served.
//   - Of one that ended without an answer (the client left, the proxy gave
//     up) the worker went on until its store is next seen to be answered, or for
//     hung_hold, if that never happens.
//   - One that never got a worker, since the queue or firebreak stood before it,
//     would have fared as the latest one of its store that did; or would have
//     hung, if that is all that the zone's latest min_bad_stores stores did.
//
// What a request comes to is its own: it does not depend on what else is
// admitted. A database that is slow because too much is asked of it is as slow
// in a replay that asks less.
package replay
