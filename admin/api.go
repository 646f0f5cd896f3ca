package admin

import (
	"sync"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/incidents"
	"github.com/firebreak-proxy/firebreak/maintenance"
	"github.com/firebreak-proxy/firebreak/recent"
	"github.com/firebreak-proxy/firebreak/recovery"
	"github.com/firebreak-proxy/firebreak/routing"
)

// Parts are what the admin API shows and changes: the parts of a configuration
// that runs.
type Parts struct {
	Guard     *breaker.Guard
	Policy    *config.Policy
	Directory routing.Directory
	Board     *maintenance.Board
	Jobs      *recovery.Jobs
	Recent    *recent.Activity
	Incidents func() *incidents.Log // nil: none are kept
	Handlers  func() []Handler      // in the order of the configuration
	Warnings  func() []string       // what is wrong beside what the others tell
	Instance  string                // the name of this sidecar, "" if it has none
	Answers   Answers               // the memory of answers

	Ended <-chan struct{} // closed when the configuration ends
}

// Handler is one firebreak directive of the configuration.
type Handler struct {
	Keys          []routing.KeySpec
	Extractor     *routing.Extractor // of the keys; nil: there are none
	RefuseUnknown bool               // a request without a known store is refused
	Timeout       time.Duration      // 0: that of the zone

	ObservesUnknown bool // zone unknown is in mode observe
}

// API answers for one configuration.
type API struct {
	Parts

	mu        sync.Mutex // guards below
	latest    *picture
	latencies latencies
}

// New makes an API of its parts.
func New(parts Parts) *API { return &API{Parts: parts} }
