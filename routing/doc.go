// Package routing answers two questions about a request: which store does it
// belong to, and in which zone does that store live.
//
// An [Extractor] finds the key in the request (a query parameter, a header, a
// field of a JSON body, ...). A [Directory] maps the key to a [Route].
// Directories in this package are [Table] (built in memory), [File] (a CSV or
// NDJSON file, watched and swapped whole) and [Hash] (computed).
//
// Invariants:
//
//   - A lookup takes no lock, allocates nothing and reads one immutable
//     snapshot.
//   - A table is replaced whole or not at all: a source with one bad line
//     changes nothing.
//   - A request body that was looked at arrives at the next handler byte for
//     byte, with its length, trailers and read error.
//   - Looking for a key ends within a bound of bytes and time.
package routing
