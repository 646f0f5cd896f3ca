// Package load is an open-loop load generator: requests leave at a constant
// rate, whatever the answers do, as the clients of a public API do.
//
// A generator that waits for answers before it sends the next request slows
// down exactly when the server is in trouble and then reports a healthy
// latency ("coordinated omission"). Here the n-th request is due at n/Rate
// after the start, its latency counts from that moment, and nothing ever waits
// for an answer.
package load

import (
	"net/http"
	"time"
)

const (
	defaultTimeout = 30 * time.Second
	defaultMaxOpen = 20000
)

// Plan says what to send, how fast and for how long.
type Plan struct {
	// Rate is the number of requests per second, bursts included.
	Rate float64
	// Duration is how long requests are sent; answers are awaited after it.
	Duration time.Duration
	// Burst is the number of requests sent at the same instant for the same
	// store, as a page view does. 0 and 1 mean none. Rate stays the total rate.
	Burst int
	// Timeout is how long a client waits for an answer, body included,
	// counted from the moment the request was due. Default: 30s.
	Timeout time.Duration
	// Retries is how often a client asks again, at once, after a client side
	// error or a 5xx. Default: 0.
	Retries int
	// Pick returns the target of the n-th arrival (a burst is one arrival). It
	// is called in order from one goroutine and must be cheap.
	Pick func(n int) Target
	// MaxOpen caps the requests open at once, to protect this machine. A
	// request beyond it is not sent and reported with Err = ErrMaxOpen.
	// Default: 20000.
	MaxOpen int
}

// Target is one request to be sent. Zone and Store are only carried over into
// the results.
type Target struct {
	Zone, Store string
	URL         string
	Method      string // default: GET
	Body        []byte
	Header      http.Header
}

// ErrMaxOpen is the Err of a request that was not sent because MaxOpen
// requests were open; ErrTimeout that of a client which gave up waiting;
// ErrCanceled that of a request cut off because Run was told to stop.
const (
	ErrMaxOpen  = "not sent: too many requests open"
	ErrTimeout  = "client timeout"
	ErrCanceled = "canceled"
)

// Result is the fate of one request. A retry is a result of its own.
type Result struct {
	// At is when the request was due, as an offset from the start of the run.
	// A retry is due at the moment the attempt before it ended.
	At          time.Duration
	Zone, Store string
	// Status is the HTTP status, 0 for a client side error.
	Status int
	// Latency is the time from At to the last byte of the answer or to the
	// error. A request that was not sent counts with the client timeout.
	Latency time.Duration
	// Err is empty when a whole answer arrived.
	Err string
	// Refusal is the Firebreak-Refusal header of the answer.
	Refusal string
	// Worker is the X-Worker header of the answer: the pid of the worker that
	// gave it, where the API server tells.
	Worker string
	// Retry is 0 for the first attempt, 1 for the first retry and so on.
	Retry int

	sent time.Duration // when the request really left
}

// OK tells whether a whole answer with a 2xx status arrived.
func (r Result) OK() bool {
	return r.Err == "" && r.Status >= 200 && r.Status < 300
}
