package telemetry

import (
	"errors"
	"fmt"
	"iter"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/fleet"
	"github.com/firebreak-proxy/firebreak/incidents"
	"github.com/firebreak-proxy/firebreak/internal/version"
	"github.com/firebreak-proxy/firebreak/maintenance"
	"github.com/firebreak-proxy/firebreak/recovery"
	"github.com/firebreak-proxy/firebreak/routing"
	"github.com/firebreak-proxy/firebreak/stale"
)

// Metrics are firebreak's metrics. They exist once in the process and are
// registered with every configuration, so that counters survive reloads. Almost
// all of them are read from the guard when somebody scrapes; the request path
// counts only what the guard does not know.
type Metrics struct {
	source        atomic.Pointer[Source]
	incidents     atomic.Pointer[incidents.Log]
	inMaintenance sync.Map // zone → *atomic.Uint64: requests refused
	fromMemory    sync.Map // zone → *atomic.Uint64: requests answered from memory
	staleAnswers  [staleReasons]tally
	StaleMisses   tally // requests that memory had no answer for
	Panics        tally
	UnknownStores tally
	SlowRequests  tally
	AmbiguousKeys tally
	Uploads       tally // refused, because too many were being received

	directoryReloads, directoryFailures tally
	directoryLoaded                     atomic.Int64 // Unix time in nanoseconds; 0: not yet

	delivered, undelivered, dropped tally // events for webhooks

	OtherGuards atomic.Int64 // processes that guard the same API servers

	Exemplars exemplars
}

// Source is what is read at a scrape: that of the configuration in force.
type Source struct {
	Guard     *breaker.Guard
	Board     *maintenance.Board
	Directory routing.Directory
	Jobs      *recovery.Jobs
	Answers   *stale.Memory // nil: none
	Fleet     *fleet.Counts // nil: there is none
}

// tally is a counter that starts at zero with the process.
type tally struct{ n atomic.Uint64 }

// Inc counts one more.
func (t *tally) Inc() { t.n.Add(1) }

func (t *tally) value() float64 { return float64(t.n.Load()) }

// Shared are the metrics of the process, which outlive configurations.
var Shared = sync.OnceValue(func() *Metrics { return new(Metrics) })

// Register adds the metrics to a configuration's registry, unless
// somebody has done so.
func Register(registry *prometheus.Registry) (*Metrics, error) {
	m := Shared()
	err := registry.Register(m)
	var already prometheus.AlreadyRegisteredError
	if err != nil && !errors.As(err, &already) {
		return nil, fmt.Errorf("registering metrics: %w", err)
	}
	return m, nil
}

// Follow makes a configuration the one that is read, and returns the one
// before.
func (m *Metrics) Follow(source *Source) (previous *Source) {
	m.directoryLoaded.Store(time.Now().UnixNano())
	return m.source.Swap(source)
}

// Unfollow puts the one before back, unless another one came meanwhile.
func (m *Metrics) Unfollow(source, previous *Source) {
	m.source.CompareAndSwap(source, previous)
}

// NoteDirectory counts that a directory was read anew, or could not be.
func (m *Metrics) NoteDirectory(err error) {
	if err != nil {
		m.directoryFailures.Inc()
		return
	}
	m.directoryReloads.Inc()
	m.directoryLoaded.Store(time.Now().UnixNano())
}

// RefusedInMaintenance is how many requests of a zone maintenance has refused.
func (m *Metrics) RefusedInMaintenance(zone string) uint64 { return countOf(&m.inMaintenance, zone) }

// InMaintenance is the zones of which maintenance has refused requests.
func (m *Metrics) InMaintenance() iter.Seq[string] {
	return func(yield func(string) bool) {
		m.inMaintenance.Range(func(zone, _ any) bool { return yield(zone.(string)) })
	}
}

// WatchIncidents makes a log of incidents the one that is read; nil: none is
// kept.
func (m *Metrics) WatchIncidents(log *incidents.Log) { m.incidents.Store(log) }

// NoteMaintenance counts a request that maintenance refused.
func (m *Metrics) NoteMaintenance(zone string) {
	countIn(&m.inMaintenance, zone)
}

// countIn counts one more of a zone.
func countIn(zones *sync.Map, zone string) {
	n, ok := zones.Load(zone)
	if !ok {
		n, _ = zones.LoadOrStore(strings.Clone(zone), new(atomic.Uint64))
	}
	n.(*atomic.Uint64).Add(1)
}

// countOf is what was counted of a zone.
func countOf(zones *sync.Map, zone string) uint64 {
	if n, ok := zones.Load(zone); ok {
		return n.(*atomic.Uint64).Load()
	}
	return 0
}

// Describe sends the descriptions of what Collect sends.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, meter := range allMeters {
		ch <- meter.desc
	}
}

// Collect sends the state of the pool and of every zone.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	out := collection{ch}
	m.collectSelf(out)
	source := m.source.Load()
	if source == nil {
		return
	}
	counters := source.Guard.Counters()
	slices.SortFunc(counters.Zones, byTrouble) // before there are pointers into it
	m.forgetZones(counters.Zones)
	metered := min(len(counters.Zones), meteredZones)
	out.send(zonesUnmetered, float64(len(counters.Zones)-metered))
	counters.Zones = counters.Zones[:metered]
	collectPool(out, &counters)
	m.collectHistograms(out, &counters)
	collectCulprits(out, source.Guard)
	m.collectZones(out, source, counters.Zones)
	collectServers(out, source.Guard.Servers())
	collectBoard(out, source.Board)
	dropped := counters.EventsDropped + source.Board.EventsDropped()
	if source.Jobs != nil {
		collectRecoveries(out, source.Jobs)
		dropped += source.Jobs.EventsDropped()
	}
	out.send(selfErrors, float64(counters.InternalErrors))
	out.send(selfDropped, float64(dropped))
	m.collectDirectory(out, source.Directory)
	m.collectStale(out, source.Answers)
	collectFleet(out, source.Fleet)
}

// collectSelf sends what firebreak knows of itself.
func (m *Metrics) collectSelf(out collection) {
	out.send(selfPanics, m.Panics.value())
	out.send(allUnknown, m.UnknownStores.value())
	out.send(allSlowRequests, m.SlowRequests.value())
	out.send(allAmbiguous, m.AmbiguousKeys.value())
	out.send(allUploads, m.Uploads.value())
	if log := m.incidents.Load(); log != nil {
		out.send(selfIncidents, float64(log.Counts().Failures))
	}
	out.send(selfWebhooks, m.delivered.value(), "delivered")
	out.send(selfWebhooks, m.undelivered.value(), "failed")
	out.send(selfWebhooks, m.dropped.value(), "dropped")
	out.send(selfOthers, float64(m.OtherGuards.Load()))
	out.send(selfBuild, 1, version.Caddy(), runtime.Version(), version.Firebreak())
}

// collectPool sends what holds for all zones together.
func collectPool(out collection, c *breaker.Counters) {
	out.send(poolWorkers, float64(c.Workers))
	out.send(poolOccupied, float64(c.Occupied))
	out.send(poolHung, float64(c.Hung))
	out.send(poolWaiting, float64(c.Waiting))
	out.send(poolSuspect, oneIf(c.PoolSuspect))
	out.send(zonesOpen, float64(c.OpenZones))
	out.send(zonesMost, float64(c.MaxOpenZones))
	out.send(allAdmissions, float64(c.Admitted))
	for o, n := range c.Outcomes {
		if outcome := breaker.Outcome(o); outcome != breaker.Abandoned { // no request ends so; see allAbandoned
			out.send(allOutcomes, float64(n), outcome.String())
		}
	}
	out.send(allEpisodes, float64(c.Episodes))
	out.send(allOpenings, float64(c.Openings))
	out.send(allReturned, float64(c.Returned))
	out.send(allAbandoned, float64(c.Abandoned))
	out.send(allPresumed, float64(c.Presumed))
	out.send(allCancelled, float64(c.Cancelled))
	out.send(allChecks, float64(c.ChecksPassed), "passed")
	out.send(allChecks, float64(c.ChecksFailed), "failed")
	out.send(allNoUpstream, float64(c.NoUpstream))
}

// mostCulprits bounds the only series that are named after stores.
const mostCulprits = 10

// collectCulprits names the stores that cause trouble now.
func collectCulprits(out collection, guard *breaker.Guard) {
	sent := 0
	for _, c := range guard.Culprits("") {
		if c.State == breaker.Calm && c.Hung == 0 || c.Zone == config.UnknownZone {
			continue // of the past, or nobody in particular
		}
		if sent++; sent > mostCulprits {
			return
		}
		out.send(culpritSeconds, c.WorkerSeconds, strings.ToValidUTF8(c.Store, "\uFFFD"), c.Zone)
	}
}

// collectBoard sends what the operators' switches are like.
func collectBoard(out collection, board *maintenance.Board) {
	view, now := board.View(), board.Now()
	inForce := map[maintenance.Scope]int{maintenance.All: 0, maintenance.Zone: 0, maintenance.Store: 0, maintenance.Server: 0, maintenance.Stale: 0}
	for _, sw := range view.State.Switches {
		if sw.Phase(now) == maintenance.InForce {
			inForce[sw.Scope]++
		}
	}
	for scope, n := range inForce {
		out.send(stateSwitches, float64(n), string(scope))
	}
	out.send(stateStale, oneIf(view.Stale))
	if !view.Synced.IsZero() {
		out.send(stateAge, time.Since(view.Synced).Seconds())
	}
	out.send(stateRevision, float64(view.State.Revision))
	out.send(stateCorrupt, float64(len(view.Corrupt)))
}

// collectDirectory sends how large and how old the directory is.
func (m *Metrics) collectDirectory(out collection, directory routing.Directory) {
	out.send(directoryReloads, m.directoryReloads.value())
	out.send(directoryFailures, m.directoryFailures.value())
	if loaded := m.directoryLoaded.Load(); loaded != 0 {
		out.send(directoryLoaded, float64(loaded)/1e9)
	}
	if directory == nil {
		return
	}
	out.send(directoryZones, float64(len(directory.Zones())))
	if lister, ok := directory.(routing.Lister); ok {
		out.send(directoryStores, float64(lister.Len()))
	}
	collectSource(out, directory)
}

func oneIf(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

var _ prometheus.Collector = (*Metrics)(nil)
