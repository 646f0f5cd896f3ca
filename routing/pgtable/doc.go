// Package pgtable is a directory of stores that is read from a table, or with
// a query, of PostgreSQL: as a whole at the start, again on an interval, and
// on a notification of a change.
//
// Invariants:
//
//   - A lookup reads one immutable table in memory. No request waits for the
//     database, but for those of the first seconds of a process that has no
//     snapshot.
//   - A table is replaced whole or not at all: a result with one wrong row, or
//     without any, changes nothing.
//   - While the database is away the last good table stays, and outlives a
//     restart in a snapshot on disk.
//   - Nothing is written to the database: the session is read only.
package pgtable
