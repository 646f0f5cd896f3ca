package telemetry

import "github.com/prometheus/client_golang/prometheus"

const metricPrefix = "caddy_firebreak_"

// meter is what a metric is called and means. Names, labels and meanings are
// promises to users who built alerts on them; docs/metrics.md lists them.
type meter struct {
	name, kind, help string
	labels           []string // sorted
	desc             *prometheus.Desc
}

// Kinds of metrics, in the words of Prometheus.
const (
	kindCounter   = "counter"
	kindGauge     = "gauge"
	kindHistogram = "histogram"
)

// allMeters is every metric there is.
var allMeters []*meter

func newMeter(kind, name, help string, labels ...string) *meter {
	m := &meter{name: metricPrefix + name, kind: kind, help: help, labels: labels, desc: prometheus.NewDesc(metricPrefix+name, help, labels, nil)}
	allMeters = append(allMeters, m)
	return m
}

func newCounter(name, help string, labels ...string) *meter {
	return newMeter(kindCounter, name, help, labels...)
}

func newGauge(name, help string, labels ...string) *meter {
	return newMeter(kindGauge, name, help, labels...)
}

func newHistogram(name, help string, labels ...string) *meter {
	return newMeter(kindHistogram, name, help, labels...)
}

// Every zone has these: 20 series, buckets included.
var (
	zoneState       = newGauge("zone_state", "Always 1; the label says what firebreak observes: calm, troubled, open or half_open.", "state", "zone")
	zoneMaintenance = newGauge("zone_maintenance", "What operators desire for the zone as a whole: 0 normal service, 1 read only, 2 maintenance.", "zone")
	zoneSlots       = newGauge("slots", "Slots in use by kind: live and hung. The most troubled zones also have waiting.", "kind", "zone")
	zoneQuarantined = newGauge("quarantined_stores", "Stores in quarantine.", "zone")
	zoneQuarantines = newCounter("quarantines_total", "Times that a store was put into quarantine.", "zone")
	zoneRequests    = newCounter("requests_total", "Admitted requests by outcome; failure includes broken connections, hung includes clients that left late.", "outcome", "zone")
	zoneRefusals    = newCounter("refusals_total", "Refused requests by reason; maintenance is an operator's wish, the others are verdicts.", "reason", "zone")
	zoneWould       = newCounter("would_refuse_total", "Requests that a zone in mode observe would have refused.", "zone")
	zoneFirstByte   = newHistogram("zone_first_byte_seconds", "Time from admission to the first byte of the response.", "zone")
)

// Only the most troubled zones have these.
var (
	zoneLimit   = newGauge("slot_limit", "Workers that the zone may occupy now.", "zone")
	zoneDoubt   = newGauge("in_doubt", "1 while no request of the zone is answered for longer than usual: it gets no more workers than it takes to judge it.", "zone")
	zoneStreams = newGauge("streams", "Open streams.", "zone")
	zoneCheckUp = newGauge("zone_check_up", "1 if the latest check of the zone's own database passed.", "zone")
)

// The pool and its zones as a whole.
var (
	poolWorkers    = newGauge("workers", "Size of the pool; 0 if not known.")
	poolOccupied   = newGauge("occupied_workers", "Workers that are busy: slots live and hung.")
	poolHung       = newGauge("hung_workers", "Workers that are busy for clients that were answered already.")
	poolWaiting    = newGauge("waiting_requests", "Requests that wait for a slot.")
	poolSuspect    = newGauge("pool_suspect", "1 while verdicts are held back because the pool itself seems ill.")
	zonesOpen      = newGauge("open_zones", "Zones that are open or half-open, those that only observe left out.")
	zonesUnmetered = newGauge("unmetered_zones", "Zones with requests that have no series of their own, since a thousand others are in more trouble or busier.")
	zonesMost      = newGauge("max_open_zones", "Zones that may be open at once; one more makes the pool suspect.")

	allAdmissions   = newCounter("admissions_total", "Requests that got a slot.")
	allOutcomes     = newCounter("outcomes_total", "Admitted requests of all zones by outcome.", "outcome")
	allEpisodes     = newCounter("episodes_total", "Times that a zone stopped being calm.")
	allOpenings     = newCounter("zone_openings_total", "Times that a zone opened, reopenings included.")
	allReturned     = newCounter("returned_workers_total", "Hung workers that were seen to be free again.")
	allAbandoned    = newCounter("abandoned_workers_total", "Hung workers that were given up at abandon_after.")
	allPresumed     = newCounter("presumed_workers_total", "Hung workers presumed free after hung_hold, behind a transport that shows no end.")
	allCancelled    = newCounter("cancelled_queries_total", "Queries of hung requests that were cancelled in zones' databases.")
	allChecks       = newCounter("zone_checks_total", "Checks of zones' own databases by result.", "result")
	allNoUpstream   = newCounter("no_upstream_total", "Requests for which no connection to the API server could be made.")
	allUnknown      = newCounter("unknown_store_refusals_total", "Requests refused because their key names no store.")
	allSlowRequests = newCounter("slow_request_refusals_total", "Requests refused because their clients were too slow to send them.")
	allUploads      = newCounter("upload_refusals_total", "Requests with a body refused because too many were being received, in all or from one address.")
	allAmbiguous    = newCounter("ambiguous_key_refusals_total", "Requests refused because API servers may read different keys in them.")
	allFirstByte    = newHistogram("request_duration_seconds", "Time from admission to the first byte of the response, of all zones.")
	allWaits        = newHistogram("queue_wait_seconds", "Time that requests waited for a slot, if they had to; refused ones included.")
	culpritSeconds  = newGauge("culprit_worker_seconds", "Worker time wasted in hung slots by each of the worst stores of this moment, at most ten.", "store", "zone")
)

// API servers: their number by state, and those that are most in trouble.
var (
	serversBy     = newGauge("servers", "API servers by state: in_service, in_doubt, out_of_service and away. Those that are drained are draining instead.", "state")
	serverState   = newGauge("server_state", "Always 1; the label says how the server is: in_service, in_doubt, out_of_service, away, or draining.", "server", "state")
	serverSlots   = newGauge("server_slots", "Slots booked on the server by kind: live and hung.", "kind", "server")
	serversWrong  = newGauge("wrong_workers_servers", "API servers whose number of workers is set wrong, as far as server_status tells.")
	serversUnread = newGauge("unread_status_servers", "API servers whose status cannot be read; see server_status.")
	serverFound   = newGauge("server_found_workers", "Workers that the server was found to have; 0 if nothing is known yet. Only with server_status.", "server")
	serverWorkers = newGauge("server_workers", "Workers of the server; 0 if not known.", "server")
)

// Operators' switches and the backend that keeps them.
var (
	stateSwitches = newGauge("maintenance_switches", "Switches of operators that are in force.", "scope")
	stateStale    = newGauge("state_stale", "1 while the state backend cannot be read; the last known switches are in force.")
	stateAge      = newGauge("state_sync_age_seconds", "Time since the state backend was last read.")
	stateRevision = newGauge("state_revision", "Revision of the switches that this sidecar applies.")
	stateCorrupt  = newGauge("state_corrupt_records", "Records of the state backend that cannot be read and were left out.")
)

// The fleet, if there is one.
var (
	fleetConnected   = newGauge("fleet_connected", "1 while this sidecar hears the fleet's messages in time; otherwise it decides by itself.")
	fleetSidecars    = newGauge("fleet_sidecars", "Sidecars of the fleet that were heard in the last 20 minutes, this one included.")
	fleetMessages    = newCounter("fleet_messages_total", "Messages of the fleet by what became of them: sent, unsent or received. Own ones are received, too.", "result")
	fleetBytes       = newCounter("fleet_bytes_total", "Bytes of the messages that were sent and received.", "direction")
	fleetDropped     = newCounter("fleet_dropped_messages_total", "Received messages that do not count, by reason: introduction, late, overflow, replayed or unreadable.", "reason")
	fleetAgreements  = newCounter("fleet_agreements_total", "Times that enough hosts observed the same zone, store or server to be silent.")
	fleetVetoes      = newCounter("fleet_vetoes_total", "Times that enough hosts did, and another one was answered since.")
	fleetDiscredited = newCounter("fleet_discredited_total", "Times that a host was left out for a while, since others contradicted it.")
	fleetLeases      = newCounter("fleet_leases_total", "Times that this sidecar asked to try a zone, a store or a server for all, by answer: granted, refused or none.", "answer")
)

// Recoveries.
var (
	recoveryJobs    = newGauge("recoveries", "Recoveries that are not finished.", "state")
	recoveryStores  = newGauge("recovery_stores", "Stores of unfinished recoveries, at most five zones; zone is empty for lists of stores.", "state", "zone")
	recoveryRepairs = newCounter("recovery_repairs_total", "Repairs of stores that have ended.", "result")
	recoveryWork    = newGauge("recovery_work", "Stores on the work list.", "state")
	recoveredStores = newCounter("recovered_stores_total", "Stores that recoveries have released.")
)

// The directory of stores.
var (
	directoryStores   = newGauge("directory_stores", "Stores in the directory, if it can list them.")
	directoryZones    = newGauge("directory_zones", "Zones in the directory.")
	directoryLoaded   = newGauge("directory_loaded_timestamp_seconds", "When the directory in force was loaded, in Unix time.")
	directoryReloads  = newCounter("directory_reloads_total", "Times that a changed directory was put in force.")
	directoryFailures = newCounter("directory_reload_failures_total", "Times that a changed directory was refused or could not be read; the old one stays.")
)

// Firebreak itself.
var (
	selfPanics    = newCounter("panics_total", "Failures of firebreak itself; the requests were let through unguarded.")
	selfErrors    = newCounter("internal_errors_total", "Bugs in firebreak's bookkeeping that were survived; see the log.")
	selfDropped   = newCounter("events_dropped_total", "Transitions and changes of switches that were not read in time.")
	selfWebhooks  = newCounter("webhook_events_total", "Events for webhooks by what became of them: delivered, failed or dropped.", "result")
	selfIncidents = newCounter("incident_write_failures_total", "Attempts to keep incidents on disk that failed.")
	selfOthers    = newGauge("other_guards", "Other firebreak processes on this machine that guard the same API servers, or listen at the same addresses.")
	selfBuild     = newGauge("build_info", "Always 1; the labels say what was built.", "caddy_version", "go_version", "version")
)
