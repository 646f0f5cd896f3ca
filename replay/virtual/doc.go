// Package virtual lets a guard and the pool behind it live in virtual time:
// hours pass in seconds, and the same requests fare the same each time.
//
// The guard is the real one (see [breaker.Simulation]); what is modelled is
// what stands before and behind it: clients, workers and databases.
package virtual
