package caddymodule

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/incidents"
	"github.com/firebreak-proxy/firebreak/maintenance"
)

const metricPrefix = "caddy_firebreak_"

// meters are firebreak's metrics. They exist once in the process and are
// registered with every configuration, so that counters survive reloads.
type meters struct {
	guard         atomic.Pointer[breaker.Guard]
	board         atomic.Pointer[maintenance.Board]
	incidents     atomic.Pointer[incidents.Log]
	inMaintenance sync.Map // zone → *atomic.Uint64: requests refused
	panics        prometheus.Counter
	unknownStores prometheus.Counter
	duration      prometheus.Histogram
}

var theMeters = sync.OnceValue(func() *meters {
	return &meters{
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: metricPrefix + "panics_total",
			Help: "Failures of firebreak itself; the requests were let through unguarded.",
		}),
		unknownStores: prometheus.NewCounter(prometheus.CounterOpts{
			Name: metricPrefix + "unknown_store_refusals_total",
			Help: "Requests refused because their key names no store.",
		}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    metricPrefix + "request_duration_seconds",
			Help:    "Time from admission to the first byte of the response, of all zones.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}),
	}
})

// registerMeters adds the metrics to a configuration's registry, unless
// another handler has done so.
func registerMeters(registry *prometheus.Registry, guard *breaker.Guard, board *maintenance.Board) (*meters, error) {
	m := theMeters()
	m.guard.Store(guard)
	m.board.Store(board)
	for _, collector := range []prometheus.Collector{m, m.panics, m.unknownStores, m.duration} {
		err := registry.Register(collector)
		var already prometheus.AlreadyRegisteredError
		if err != nil && !errors.As(err, &already) {
			return nil, fmt.Errorf("registering metrics: %w", err)
		}
	}
	return m, nil
}

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(metricPrefix+name, help, labels, nil)
}

// What is read from the guard at every scrape. Labels are zones, never stores.
var (
	descRequests    = describe("requests_total", "Admitted requests by outcome.", "zone", "outcome")
	descRefusals    = describe("refusals_total", "Refused requests by reason.", "zone", "reason")
	descWould       = describe("would_refuse_total", "Requests that a zone in mode observe would have refused.", "zone")
	descState       = describe("zone_state", "Always 1; the label says the zone's state.", "zone", "state")
	descSlots       = describe("slots", "Slots in use, and requests that wait for one.", "zone", "kind")
	descStreams     = describe("streams", "Open streams.", "zone")
	descQuarantined = describe("quarantined_stores", "Stores in quarantine.", "zone")
	descAbandoned   = describe("abandoned_workers_total", "Workers taken for dead.", "zone")
	descOccupied    = describe("occupied_workers", "Workers that are busy: slots live and hung.")
	descWorkers     = describe("workers", "Size of the pool; 0 if not known.")
	descSuspect     = describe("pool_suspect", "1 while verdicts are held back because the pool itself seems ill.")
	descNoUpstream  = describe("no_upstream_total", "Requests for which no connection to the API server could be made.")
	descSwitches    = describe("maintenance_switches", "Switches of operators that are in force.", "scope")
	descStateStale  = describe("state_stale", "1 while the state backend cannot be read; the last known switches are in force.")
	descStateAge    = describe("state_sync_age_seconds", "Time since the state backend was last read.")

	descStateRevision = describe("state_revision", "Revision of the switches that this sidecar applies.")
	descStateCorrupt  = describe("state_corrupt_records", "Records of the state backend that cannot be read and were left out.")

	descIncidentLosses = describe("incident_write_failures_total", "Attempts to keep incidents on disk that failed.")

	descDropped = describe("events_dropped_total", "Transitions that nobody read in time.")
)

// Describe sends the descriptions of what Collect sends.
func (m *meters) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		descRequests, descRefusals, descWould, descState, descSlots, descStreams, descQuarantined, descAbandoned,
		descOccupied, descWorkers, descSuspect, descNoUpstream, descDropped,
		descSwitches, descStateStale, descStateAge, descStateRevision, descStateCorrupt, descIncidentLosses,
	} {
		ch <- d
	}
}

// Collect sends the state of the pool and of every zone.
func (m *meters) Collect(ch chan<- prometheus.Metric) {
	guard := m.guard.Load()
	if guard == nil {
		return
	}
	gauge, counter := prometheus.GaugeValue, prometheus.CounterValue
	status := guard.Status()
	suspect := 0.0
	if status.PoolSuspect {
		suspect = 1
	}
	send := func(d *prometheus.Desc, kind prometheus.ValueType, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, kind, value, labels...)
	}
	send(descOccupied, gauge, float64(status.Occupied))
	send(descWorkers, gauge, float64(status.Workers))
	send(descSuspect, gauge, suspect)
	send(descNoUpstream, counter, float64(status.NoUpstream))
	send(descDropped, counter, float64(status.EventsDropped))
	if board := m.board.Load(); board != nil {
		collectBoard(send, board)
	}
	if log := m.incidents.Load(); log != nil {
		send(descIncidentLosses, counter, float64(log.Counts().Failures))
	}
	for i := range status.Zones {
		collectZone(send, &status.Zones[i])
	}
	m.inMaintenance.Range(func(zone, n any) bool {
		send(descRefusals, counter, float64(n.(*atomic.Uint64).Load()), zone.(string), string(reasonMaintenance))
		return true
	})
}

// noteMaintenance counts a request that maintenance refused.
func (m *meters) noteMaintenance(zone string) {
	n, ok := m.inMaintenance.Load(zone)
	if !ok {
		n, _ = m.inMaintenance.LoadOrStore(strings.Clone(zone), new(atomic.Uint64))
	}
	n.(*atomic.Uint64).Add(1)
}

// collectBoard sends what the operators' switches are like.
func collectBoard(send func(*prometheus.Desc, prometheus.ValueType, float64, ...string), board *maintenance.Board) {
	gauge := prometheus.GaugeValue
	view, now := board.View(), board.Now()
	inForce := map[maintenance.Scope]int{maintenance.All: 0, maintenance.Zone: 0, maintenance.Store: 0}
	for _, sw := range view.State.Switches {
		if sw.Phase(now) == maintenance.InForce {
			inForce[sw.Scope]++
		}
	}
	for scope, n := range inForce {
		send(descSwitches, gauge, float64(n), string(scope))
	}
	stale := 0.0
	if view.Stale {
		stale = 1
	}
	send(descStateStale, gauge, stale)
	if !view.Synced.IsZero() {
		send(descStateAge, gauge, time.Since(view.Synced).Seconds())
	}
	send(descStateRevision, gauge, float64(view.State.Revision))
	send(descStateCorrupt, gauge, float64(len(view.Corrupt)))
}

// collectZone sends at most 19 series. With the refusals of maintenance a zone
// has 20, as many as it may have.
func collectZone(send func(*prometheus.Desc, prometheus.ValueType, float64, ...string), z *breaker.ZoneStatus) {
	gauge, counter := prometheus.GaugeValue, prometheus.CounterValue
	for _, outcome := range breaker.Outcomes() {
		if outcome == breaker.Abandoned {
			continue // no request ends so; see descAbandoned
		}
		name := outcome.String()
		send(descRequests, counter, float64(z.Outcomes[name]), z.Zone, name)
	}
	if z.Observe { // refuses nothing
		var would uint64
		for _, n := range z.WouldRefuse {
			would += n
		}
		send(descWould, counter, float64(would), z.Zone)
	} else {
		for _, reason := range []breaker.Reason{breaker.ReasonZoneOpen, breaker.ReasonQuarantine, breaker.ReasonBusy} {
			send(descRefusals, counter, float64(z.Refusals[string(reason)]), z.Zone, string(reason))
		}
	}
	send(descState, gauge, 1, z.Zone, z.State.String())
	send(descSlots, gauge, float64(z.Live), z.Zone, "live")
	send(descSlots, gauge, float64(z.Hung), z.Zone, "hung")
	send(descSlots, gauge, float64(z.Waiting), z.Zone, "waiting")
	send(descStreams, gauge, float64(z.Streams), z.Zone)
	send(descQuarantined, gauge, float64(z.QuarantinedCount), z.Zone)
	send(descAbandoned, counter, float64(z.Abandoned), z.Zone)
}

var _ prometheus.Collector = (*meters)(nil)
