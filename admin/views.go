package admin

import (
	"context"
	"fmt"
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/internal/directive"
	"github.com/firebreak-proxy/firebreak/internal/version"
	"github.com/firebreak-proxy/firebreak/maintenance"
	"github.com/firebreak-proxy/firebreak/refusal"
	"github.com/firebreak-proxy/firebreak/routing"
)

// statusAnswer is the whole picture.
type statusAnswer struct {
	breaker.Status
	Version     string             `json:"version"`          // of firebreak
	Zones       []zoneAnswer       `json:"zones"`            // instead of Status's: with the switches that hold for them; at most limit of them
	ZoneCount   int                `json:"zone_count"`       // all there are; calm if they are not listed, unless limit left them out
	Stores      int                `json:"stores,omitempty"` // the directory lists, 0 if it cannot
	Handlers    int                `json:"handlers"`         // firebreak directives in the configuration
	Maintenance maintenanceSummary `json:"maintenance"`
	Fleet       *fleetAnswer       `json:"fleet,omitempty"`
	Warnings    []string           `json:"warnings,omitempty"` // what is set wrong, or cannot be checked
}

// maintenanceSummary is what operators have switched, in numbers.
type maintenanceSummary struct {
	Revision uint64 `json:"revision"`
	Stale    bool   `json:"stale"` // the state backend cannot be read; the last known switches are in force
	Problem  string `json:"problem,omitempty"`
	Synced   string `json:"synced,omitempty"` // when it was last read
	InForce  int    `json:"in_force"`         // of everything, zones and stores
	Ahead    int    `json:"ahead"`            // set for later
	Draining int    `json:"draining"`         // servers that are drained
	StaleOff bool   `json:"stale_off"`        // no answers are given from memory
	Corrupt  int    `json:"corrupt"`

	SnapshotProblem string `json:"snapshot_problem,omitempty"` // why a restart could lose the switches while the backend is away
}

func (a *API) maintenanceSummary() maintenanceSummary {
	view, now := a.Board.View(), a.Board.Now()
	m := maintenanceSummary{Revision: view.State.Revision, Stale: view.Stale, Corrupt: len(view.Corrupt)}
	if view.Problem != nil {
		m.Problem = view.Problem.Error()
	}
	if view.SnapshotProblem != nil {
		m.SnapshotProblem = view.SnapshotProblem.Error()
	}
	if !view.Synced.IsZero() {
		m.Synced = view.Synced.UTC().Format(timeFormat)
	}
	for _, sw := range view.State.Switches {
		switch phase := sw.Phase(now); {
		case phase == maintenance.Ahead:
			m.Ahead++
		case phase == maintenance.InForce && sw.Scope == maintenance.Server:
			m.Draining++
		case phase == maintenance.InForce && sw.Scope == maintenance.Stale:
			m.StaleOff = true
		case phase == maintenance.InForce:
			m.InForce++
		}
	}
	return m
}

// fleetAnswer is all sidecars that share the state.
type fleetAnswer struct {
	*maintenance.Fleet
	Summary string `json:"summary"`           // in words
	Problem string `json:"problem,omitempty"` // why only this sidecar is shown
}

func (a *API) fleet(ctx context.Context) *fleetAnswer {
	fleet, err := a.Board.Fleet(ctx)
	answer := &fleetAnswer{Fleet: fleet, Summary: fleet.Summary()}
	if err != nil {
		answer.Problem = fmt.Sprintf("the state backend cannot be read: %v", err)
	}
	return answer
}

func adminStatus(a *API, r *http.Request) (any, error) {
	answer := statusAnswer{Status: a.Guard.Status(), Version: version.Firebreak(), Handlers: len(a.Handlers()), Maintenance: a.maintenanceSummary(), Warnings: a.warnings()}
	if wanted := r.URL.Query().Get("fleet"); wanted != "" && wanted != "0" {
		answer.Fleet = a.fleet(r.Context())
	}
	limit, err := zoneLimit(r)
	if err != nil {
		return nil, err
	}
	answer.Zones, answer.ZoneCount = a.zoneAnswers(answer.Status.Zones, limit), a.Guard.ZoneCount()
	if lister, ok := a.Directory.(routing.Lister); ok {
		answer.Stores = lister.Len()
	}
	return answer, nil
}

// zoneAnswer is one zone: what is observed, and what is desired.
type zoneAnswer struct {
	breaker.ZoneStatus
	Maintenance *switchAnswer `json:"maintenance,omitempty"` // the switch that holds for it
	FromMemory  uint64        `json:"from_memory,omitempty"` // requests answered from memory
}

func (a *API) zoneAnswer(status breaker.ZoneStatus) zoneAnswer {
	status.Quarantined, status.Culprits = orEmpty(status.Quarantined), orEmpty(status.Culprits)
	return zoneAnswer{status, a.maintenanceOf(status.Zone, ""), a.Answers.of(status.Zone)}
}

// zonePage is a zone for its page of the dashboard.
type zonePage struct {
	zoneAnswer
	Condition condition `json:"condition"`
	latency
}

func (a *API) zonePage(name string) zonePage {
	page := zonePage{zoneAnswer: a.zoneAnswer(a.zoneStatus(name))}
	page.Condition = conditionOf(&page.ZoneStatus, a.Board.Lookup(name, ""))
	a.mu.Lock()
	defer a.mu.Unlock()
	page.latency = a.latencies.lately[name]
	return page
}

// maintenanceOf is the switch that holds for a store or ("") a whole zone.
func (a *API) maintenanceOf(zone, store string) *switchAnswer {
	sw := a.Board.Lookup(zone, store)
	if sw == nil {
		return nil
	}
	shown := a.shown(*sw)
	shown.Except = nil // may be many; the list of switches has them
	return &shown
}

func adminZones(a *API, r *http.Request) (any, error) {
	limit, err := zoneLimit(r)
	if err != nil {
		return nil, err
	}
	return a.zoneAnswers(a.Guard.Zones(), limit), nil
}

// listedZones is how many zones are listed unless a limit is given.
const listedZones = 1000

// zoneLimit is how many zones a client wants to be listed.
func zoneLimit(r *http.Request) (int, error) {
	text := r.URL.Query().Get("limit")
	if text == "" {
		return listedZones, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0, apiError(http.StatusBadRequest, "limit=%q: the number of zones to list, the most troubled first, or 0 for all", text)
	}
	if n == 0 {
		n = math.MaxInt
	}
	return n, nil
}

// zoneAnswers are the first zones, up to the limit.
func (a *API) zoneAnswers(zones []breaker.ZoneStatus, limit int) []zoneAnswer {
	answers := make([]zoneAnswer, min(limit, len(zones)))
	for i := range answers {
		answers[i] = a.zoneAnswer(zones[i])
	}
	return answers
}

func adminZone(a *API, r *http.Request) (any, error) {
	name := r.PathValue("zone")
	if err := a.checkKnownZone(name); err != nil {
		return nil, err
	}
	return a.zoneAnswer(a.zoneStatus(name)), nil
}

func adminCulprits(a *API, r *http.Request) (any, error) {
	name := r.URL.Query().Get("zone")
	if name != "" {
		if err := a.checkKnownZone(name); err != nil {
			return nil, err
		}
	}
	return orEmpty(a.Guard.Culprits(name)), nil
}

// storeAnswer is one store: where it lives, and how it is.
type storeAnswer struct {
	breaker.StoreStatus
	Found     string        `json:"found"` // "store" or "key": what the name in the URL is
	ZoneState breaker.State `json:"zone_state"`

	Maintenance *switchAnswer `json:"maintenance,omitempty"` // the switch that holds for it
	verdict
}

func adminStore(a *API, r *http.Request) (any, error) {
	name := r.PathValue("store")
	route, ok := routing.Locate(r.Context(), a.Directory, name)
	if !ok {
		return nil, apiError(http.StatusNotFound, "no store and no key %q in the directory; requests with it go to zone %s, unless the handler says unknown refuse", name, config.UnknownZone)
	}
	route = routing.Route{Store: strings.Clone(route.Store), Zone: strings.Clone(route.Zone)}
	answer := storeAnswer{
		StoreStatus: a.Guard.Store(route.Zone, route.Store),
		Found:       "store",
		ZoneState:   a.zoneStatus(route.Zone).State,
		Maintenance: a.maintenanceOf(route.Zone, route.Store),
		verdict:     a.verdict(route, http.MethodPost),
	}
	if route.Store != name {
		answer.Found = "key"
	}
	answer.Zone, answer.StoreStatus.Store = route.Zone, route.Store
	answer.Recent = orEmpty(answer.Recent)
	return answer, nil
}

// verdict is what would happen to a request now.
type verdict struct {
	Verdict      string         `json:"verdict"` // "admitted", "refused", or "unknown" if no key was found to judge by
	Reason       breaker.Reason `json:"reason,omitempty"`
	RefusedForMS int64          `json:"refused_for_ms,omitempty"` // until a new try makes sense
	Why          string         `json:"why"`
}

func (a *API) verdict(route routing.Route, method string) verdict {
	if sw := a.Board.Lookup(route.Zone, route.Store); sw != nil && sw.Refuses(method) {
		v := verdict{Verdict: "refused", Reason: refusal.ReasonMaintenance, Why: switchInWords(sw)}
		if !sw.Until.IsZero() {
			v.RefusedForMS = max(0, sw.Until.Sub(a.Board.Now()).Milliseconds())
		}
		return v
	}
	refusal := a.Guard.Explain(route.Zone, route.Store)
	if refusal == nil {
		return verdict{Verdict: "admitted", Why: "nothing stands against it"}
	}
	zone := a.Policy.Zone(route.Zone)
	v := verdict{Verdict: "refused", Reason: refusal.Reason, RefusedForMS: refusal.RetryAfter.Milliseconds(), Why: refusal.Detail}
	if zone.Observe {
		v.Verdict = "admitted"
		v.Why = "would be refused, but the zone is in mode observe: " + v.Why
	}
	return v
}

// switchInWords describes a switch: its author, its beginning and its reason.
func switchInWords(sw *maintenance.Switch) string {
	text := fmt.Sprintf("%s is in maintenance since %s", sw.Target, sw.Since.UTC().Format(time.RFC3339))
	if sw.Mode == maintenance.ReadOnly {
		text = fmt.Sprintf("%s is read-only since %s", sw.Target, sw.Since.UTC().Format(time.RFC3339))
	}
	if sw.By != "" {
		text += ", set by " + sw.By
	}
	if sw.Reason != "" {
		text += ": " + sw.Reason
	}
	return text
}

// zoneStatus is the status of a zone. A zone without requests so far is calm.
func (a *API) zoneStatus(name string) breaker.ZoneStatus {
	status, ok := a.Guard.Zone(name)
	if !ok {
		p := a.Policy.Zone(name)
		status = breaker.ZoneStatus{
			Zone: name, Observe: p.Observe,
			MaxInflight: p.MaxInflight,
			Outcomes:    map[string]uint64{}, Refusals: map[string]uint64{},
		}
	}
	status.Quarantined = orEmpty(status.Quarantined)
	status.Culprits = orEmpty(status.Culprits)
	return status
}

// checkKnownZone says what there is if a zone is not known to anybody.
func (a *API) checkKnownZone(name string) error {
	if _, ok := a.Guard.Zone(name); ok || name == config.UnknownZone {
		return nil
	}
	known := a.knownZones()
	if slices.Contains(known, name) {
		return nil
	}
	hint := "GET /firebreak/zones lists them"
	if near := directive.Nearest(name, known); near != "" {
		hint = "did you mean " + near + "? " + hint
	}
	return apiError(http.StatusNotFound, "no zone %q; %s", name, hint)
}

// knownZones lists every zone that is known to anybody, sorted.
func (a *API) knownZones() []string {
	known := append(a.Directory.Zones(), slices.Collect(maps.Keys(a.Policy.Zones))...)
	known = append(known, a.Guard.ZoneNames()...)
	for i := range known {
		known[i] = strings.Clone(known[i])
	}
	slices.Sort(known)
	return slices.Compact(known)
}

// orEmpty turns nil into an empty list, which JSON writes as [].
func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
