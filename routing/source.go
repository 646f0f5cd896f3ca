package routing

import (
	"context"
	"time"
)

// Asker is a Directory that may have to ask somebody else where a store lives.
// Its Lookup answers from what it has and never waits.
type Asker interface {
	Directory

	// Ask is Lookup for a request that can wait a little: never longer than
	// the directory's own small bound, not beyond the end of ctx, and not at
	// all while whoever would be asked is known to be down.
	Ask(ctx context.Context, key string) (Route, bool)
}

// Source is a directory that is fed by a service or a database.
type Source interface {
	Asker

	// Run keeps the directory up to date until ctx is done.
	Run(ctx context.Context)

	// Report says how the directory is.
	Report() SourceReport
}

// SourceReport is how a [Source] is.
type SourceReport struct {
	// Down: the service or database cannot be reached, what is known stays.
	Down bool

	// Since is when what is known was last confirmed as a whole; zero if never.
	Since time.Time

	// Stores is the number of stores known as a whole; 0 if there is no list.
	Stores int

	// Lookups counts lookups by how they were answered, for sources that ask
	// for single keys.
	Lookups map[string]uint64
}

// SourceEventKind tells the events of a [Source] apart.
type SourceEventKind int

// The events of a source.
const (
	SourceLoaded         SourceEventKind = iota // a new table is in force
	SourceRefused                               // a broken table was refused; the old one stays
	SourceLost                                  // the service or database is down; what is known stays
	SourceBack                                  // it is back
	SourceRestored                              // what was known before a restart is in force
	SourceZone                                  // a zone appeared that was not known
	SourceBadAnswer                             // the answer to a single key cannot be used
	SourceSnapshotFailed                        // what is known could not be written to disk, or read
)

// SourceEvent tells what happened to a [Source].
type SourceEvent struct {
	Kind SourceEventKind
	Err  error

	// Stores, Keys (store ids included) and Zones count what is in force.
	Stores, Keys, Zones int

	// Took is the time to read the table.
	Took time.Duration
}

// UsableKey reports whether a key can stand in a directory. Others need not be
// asked for.
func UsableKey(key string) bool { return usableKey(key) }

// CheckRow reports why a store cannot stand in a directory.
func CheckRow(store, zone string, keys []string) error {
	if err := checkName("store", store); err != nil {
		return err
	}
	if err := CheckZoneName(zone); err != nil {
		return err
	}
	for _, key := range keys {
		if err := checkName("key", key); err != nil {
			return err
		}
	}
	return nil
}

// Builder makes a [Table] of rows.
type Builder struct{ b *builder }

// NewBuilder returns an empty Builder.
func NewBuilder() *Builder {
	b := newBuilder()
	b.unit = "in row"
	return &Builder{b}
}

// Add enters a store, its zone and its keys; empty keys are skipped. Row is its
// number in the source, to name it in the error of a later row that does not
// fit; 0 if rows have no numbers. The strings are copied. After an error the
// builder is good for finding more errors, not for a table.
func (b *Builder) Add(row int, store, zone string, keys []string) error {
	return b.b.add(uint32(row), store, zone, keys)
}

// Stores is the number of stores entered.
func (b *Builder) Stores() int { return b.b.stores }

// Table returns what was built. The builder must not be used afterwards.
func (b *Builder) Table() *Table { return b.b.table() }
