package replay

import (
	"cmp"
	"slices"
	"time"

	"github.com/firebreak-proxy/firebreak/config"
)

// Log is the requests of an access log, in the order in which they began. It
// takes about 40 bytes of memory a request and 100 a store.
type Log struct {
	Requests []Request
	Stores   []Store

	Lines    int      // read, empty ones included
	Bad      int      // lines that could not be read
	BadLines []string // what was wrong with the first of them, with their numbers
	Other    int      // lines of other logs than the access log
	Streams  int      // streams, and connections that were switched to another protocol: left out
	Bypassed int      // requests that operators sent around firebreak: left out
	Unknown  int      // requests whose key names no store

	byName map[Store]uint32
}

// Store is a store and its zone.
type Store struct{ Zone, Name string }

// Request is one line of an access log.
type Request struct {
	Begin  int64 // Unix time in nanoseconds
	Took   int64 // for the client
	Worker int64 // how long its worker was busy; see Infer
	Store  uint32
	Line   uint32
	Status uint16
	flags
}

// flags says more about a request.
type flags uint8

const (
	refusedByUs flags = 1 << iota // firebreak refused it
	unanswered                    // the client left, or the proxy gave up
	noUpstream                    // the API server could not be dialled
	brokenOff                     // the connection to it broke
	guessed                       // Worker is not from this line but from others of its store or zone
	guessedHung                   // and its worker hangs
	lost                          // its worker is never seen to answer
)

func (f flags) has(f1 flags) bool { return f&f1 != 0 }

// End is when the client had its answer, or was gone.
func (r *Request) End() int64 { return r.Begin + r.Took }

// store is the index of a store, entered if it is new.
func (l *Log) store(s Store) uint32 {
	i, ok := l.byName[s]
	if !ok {
		if l.byName == nil {
			l.byName = make(map[Store]uint32)
		}
		i = uint32(len(l.Stores))
		l.Stores = append(l.Stores, s)
		l.byName[s] = i
	}
	return i
}

// sort puts the requests in the order in which they began. A log is written in
// the order in which they ended.
func (l *Log) sort() {
	slices.SortFunc(l.Requests, func(a, b Request) int {
		return cmp.Or(cmp.Compare(a.Begin, b.Begin), cmp.Compare(a.Line, b.Line))
	})
}

// Span is when the log's first request began and its last ended.
func (l *Log) Span() (from, to time.Time) {
	if len(l.Requests) == 0 {
		return from, to
	}
	last := int64(0)
	for i := range l.Requests {
		last = max(last, l.Requests[i].End())
	}
	return time.Unix(0, l.Requests[0].Begin).UTC(), time.Unix(0, last).UTC()
}

// Zones are the zones of the log's requests, sorted, the bucket of unknown keys
// left out.
func (l *Log) Zones() []string {
	var zones []string
	for _, s := range l.Stores {
		if s.Zone != config.UnknownZone {
			zones = append(zones, s.Zone)
		}
	}
	slices.Sort(zones)
	return slices.Compact(zones)
}
