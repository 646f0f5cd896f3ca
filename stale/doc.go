// Package stale keeps the last good answers of API servers and gives them where
// firebreak would otherwise refuse a request or answer it with 504.
//
// It is no cache: an answer is looked up only for a request that has been refused
// or is past its deadline. On a calm day nothing is read from it.
//
// # Who gets which answer
//
// An answer is given only to requests that equal the one it was made for in zone,
// store, handler, method, scheme, host, path and query, in every header field but
// those that are known not to say who asks (User-Agent, Accept, and others, see
// harmless), and in the values of all fields that the answer's Vary names. The
// fields of a request, credentials among them, are kept as one SHA-256 sum under a
// key made at random when the process starts. A field that is not known counts as a
// credential, so the key of a store in a header of any name keeps stores and users
// apart. Requests with a body are not answered from memory.
//
// # What is kept
//
// Complete answers of status 200 to GET and HEAD that an HTTP cache could give in
// place of an error (RFC 9111, RFC 5861), up to a size, and only what was asked for
// twice. An answer that was copied is left alone for the refresh time, then copied
// again when it is asked for next.
//
// # Invariants
//
//   - What is kept never exceeds the limit of the memory, its own overhead included.
//   - A store gives up its own answers once it holds more than its share, so that it
//     cannot evict those of the others.
//   - An answer to a request that was admitted before a purge is never kept after it.
//   - A memory holds no lock while it writes an answer to a client.
package stale
