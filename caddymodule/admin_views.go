package caddymodule

import (
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/routing"
)

// statusAnswer is the whole picture.
type statusAnswer struct {
	breaker.Status
	Stores   int `json:"stores,omitempty"` // the directory lists, 0 if it cannot
	Handlers int `json:"handlers"`         // firebreak directives in the configuration
}

func adminStatus(a *App, _ *http.Request) (any, error) {
	answer := statusAnswer{Status: a.Guard().Status(), Handlers: len(a.registeredHandlers())}
	answer.Zones = orEmpty(answer.Zones)
	if lister, ok := a.directory.(routing.Lister); ok {
		answer.Stores = lister.Len()
	}
	return answer, nil
}

func adminZones(a *App, _ *http.Request) (any, error) {
	return orEmpty(a.Guard().Zones()), nil
}

func adminZone(a *App, r *http.Request) (any, error) {
	name := r.PathValue("zone")
	if err := a.checkKnownZone(name); err != nil {
		return nil, err
	}
	return a.zoneStatus(name), nil
}

func adminCulprits(a *App, r *http.Request) (any, error) {
	name := r.URL.Query().Get("zone")
	if name != "" {
		if err := a.checkKnownZone(name); err != nil {
			return nil, err
		}
	}
	return orEmpty(a.Guard().Culprits(name)), nil
}

// storeAnswer is one store: where it lives, and how it is.
type storeAnswer struct {
	breaker.StoreStatus
	Found     string        `json:"found"` // "store" or "key": what the name in the URL is
	ZoneState breaker.State `json:"zone_state"`
	verdict
}

func adminStore(a *App, r *http.Request) (any, error) {
	name := r.PathValue("store")
	route, ok := a.directory.Lookup(name)
	if !ok {
		return nil, apiError(http.StatusNotFound, "no store and no key %q in the directory; requests with it go to zone %s, unless the handler says unknown refuse", name, config.UnknownZone)
	}
	route = routing.Route{Store: strings.Clone(route.Store), Zone: strings.Clone(route.Zone)}
	answer := storeAnswer{
		StoreStatus: a.Guard().Store(route.Zone, route.Store),
		Found:       "store",
		ZoneState:   a.zoneStatus(route.Zone).State,
		verdict:     a.verdict(route),
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

func (a *App) verdict(route routing.Route) verdict {
	refusal := a.Guard().Explain(route.Zone, route.Store)
	if refusal == nil {
		return verdict{Verdict: "admitted", Why: "nothing stands against it"}
	}
	zone := a.policy.Zone(route.Zone)
	v := verdict{Verdict: "refused", Reason: refusal.Reason, RefusedForMS: refusal.RetryAfter.Milliseconds(), Why: refusal.Detail}
	if zone.Observe {
		v.Verdict = "admitted"
		v.Why = "would be refused, but the zone is in mode observe: " + v.Why
	}
	return v
}

// zoneStatus is how a zone is. A zone nobody has asked for yet is calm.
func (a *App) zoneStatus(name string) breaker.ZoneStatus {
	status, ok := a.Guard().Zone(name)
	if !ok {
		p := a.policy.Zone(name)
		status = breaker.ZoneStatus{
			Zone: name, Observe: p.Observe,
			MaxInflight: p.MaxInflight, MaxHung: p.MaxHung, ProbeSlots: p.ProbeSlots,
			Outcomes: map[string]uint64{}, Refusals: map[string]uint64{},
		}
	}
	status.Quarantined = orEmpty(status.Quarantined)
	status.Culprits = orEmpty(status.Culprits)
	return status
}

// checkKnownZone says what there is if a zone is not known to anybody.
func (a *App) checkKnownZone(name string) error {
	if _, ok := a.Guard().Zone(name); ok || name == config.UnknownZone {
		return nil
	}
	known := append(a.directory.Zones(), slices.Collect(maps.Keys(a.policy.Zones))...)
	if slices.Contains(known, name) {
		return nil
	}
	slices.Sort(known)
	known = slices.Compact(known)
	hint := "GET /firebreak/zones lists them"
	if near := nearest(name, known); near != "" {
		hint = "did you mean " + near + "? " + hint
	}
	return apiError(http.StatusNotFound, "no zone %q; %s", name, hint)
}

// orEmpty turns nil into an empty list, which JSON writes as [].
func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
