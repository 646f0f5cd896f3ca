package admin

import (
	"context"
	"net/http"
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
	Guard     Guard
	Policy    *config.Policy
	Directory routing.Directory
	Board     Board
	Jobs      Jobs
	Events    Events
	History   History
	Incidents func() Incidents // nil: none are kept
	Handlers  func() []Handler // in the order of the configuration
	Warnings  func() []string  // what is wrong beside what the others tell
	Instance  string           // the name of this sidecar, "" if it has none
	Answers   Answers          // the memory of answers

	Ended <-chan struct{} // closed when the configuration ends
}

// Guard is what the API wants of a *breaker.Guard: to look, and to set breakers by
// hand. It cannot admit requests.
type Guard interface {
	zones
	stores
	holds

	Status() breaker.Status
	Counters() breaker.Counters
	Servers() []breaker.ServerStatus
}

type zones interface {
	Zone(name string) (breaker.ZoneStatus, bool)
	Zones() []breaker.ZoneStatus
	ZoneNames() []string
	ZoneCount() int
}

type stores interface {
	Store(zone, store string) breaker.StoreStatus
	Culprits(zone string) []breaker.Culprit
	Explain(zone, store string) *breaker.Refusal // nil: a request would be admitted
}

type holds interface {
	HoldZone(zone string, as breaker.State, d time.Duration, by, reason string) breaker.Hold
	HoldStore(zone, store string, as breaker.State, d time.Duration, by, reason string) breaker.Hold
	ResetZone(zone, by, reason string)
	ResetStore(zone, store, by, reason string)
}

// Board is what the API wants of a *maintenance.Board: the switches.
type Board interface {
	Now() time.Time // as the state backend has it
	View() maintenance.View
	Lookup(zone, store string) *maintenance.Switch
	Fleet(context.Context) (*maintenance.Fleet, error)
	History(ctx context.Context, limit int) ([]maintenance.Change, error)

	Preview(*maintenance.Edit) (*maintenance.State, *maintenance.Change, error)
	Change(context.Context, maintenance.Author, *maintenance.Edit) (*maintenance.State, *maintenance.Change, error)
}

// Jobs is what the API wants of a *recovery.Jobs: recoveries, and the stores that
// people have to repair.
type Jobs interface {
	List() []recovery.View
	Get(id string) (recovery.View, error)
	Stores(id, state, after string, limit int) (page []recovery.StoreView, next string, err error)
	Work() []recovery.WorkItem

	Begin(*recovery.Request) (recovery.View, error)
	Pause(id, by, reason string) (recovery.View, error)
	Resume(id, by, reason string) (recovery.View, error)
	Cancel(id, by, reason string) (recovery.View, error)
	WorkOn(store, action, by, to, note string) (recovery.WorkItem, error)
}

// Events is what the API wants of a *recent.Stream: what was told, and what is told
// from now on.
type Events interface {
	Latest(zone string, n int) []recent.Event
	Since(id, zone string) (events []recent.Event, complete bool)
	IDOf(number uint64) string

	Join(zone string, lossy bool, server *http.Server) (*recent.Listener, bool)
	Leave(*recent.Listener)
}

// History is what the API wants of a *recent.History: the last ten minutes.
type History interface {
	Latest(zone string) recent.Point
	Of(zone string) []recent.Point
	Everything() (points []recent.Point, at time.Time, step int64)
}

// Incidents is what the API wants of an *incidents.Log: its records.
type Incidents interface {
	List(incidents.Query) (list []incidents.Incident, next string, err error)
	Get(id string) (incidents.Incident, error)
	Problem() error
}

// Handler is one firebreak directive of the configuration.
type Handler struct {
	Keys          []routing.KeySpec
	Extractor     *routing.Extractor // of the keys; nil: there are none
	RefuseUnknown bool               // a request without a known store is refused
	Timeout       time.Duration      // 0: that of the zone

	ObservesUnknown bool // zone unknown is in mode observe
}

// Interface guards.
var (
	_ Guard     = (*breaker.Guard)(nil)
	_ Board     = (*maintenance.Board)(nil)
	_ Jobs      = (*recovery.Jobs)(nil)
	_ Events    = (*recent.Stream)(nil)
	_ History   = (*recent.History)(nil)
	_ Incidents = (*incidents.Log)(nil)
)
