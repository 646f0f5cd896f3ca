package admin

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/internal/directive"
	"github.com/firebreak-proxy/firebreak/routing"
)

// holdRequest is why a zone or store is isolated or admitted by hand, and for
// how long.
type holdRequest struct {
	Reason string          `json:"reason,omitempty"`
	By     string          `json:"by,omitempty"`
	For    config.Duration `json:"for,omitempty"` // default: until it is handed back
}

// holdAnswer is what holds by hand now; null: the breaker decides.
type holdAnswer struct {
	Zone  string        `json:"zone"`
	Store string        `json:"store,omitempty"`
	Hold  *breaker.Hold `json:"hold"`

	Observe bool `json:"observe,omitempty"` // the zone is in mode observe: nothing is refused, whatever holds
}

// adminHold serves /firebreak/zones/{name}/{action} and stores/{name}/{action}.
// Sent twice it does the same as once.
func adminHold(ofStore bool) func(http.ResponseWriter, *http.Request, *API) error {
	return func(w http.ResponseWriter, r *http.Request, a *API) error {
		switch action := r.PathValue("action"); {
		case !slices.Contains(holdActions, action):
			if r.Method != http.MethodPost {
				return adminNotFound(w, r)
			}
			return apiError(http.StatusNotFound, "%s", directive.Unrecognized("action", action, holdActions))
		case r.Method != http.MethodPost:
			w.Header().Set("Allow", http.MethodPost)
			return apiError(http.StatusMethodNotAllowed, "%s is not allowed here; use POST", r.Method)
		}
		answer := holdAnswer{Zone: r.PathValue("name")}
		if ofStore {
			route, ok := routing.Locate(r.Context(), a.Directory, answer.Zone)
			if !ok {
				return apiError(http.StatusNotFound, "no store and no key %q in the directory", answer.Zone)
			}
			answer.Zone, answer.Store = strings.Clone(route.Zone), strings.Clone(route.Store)
		} else if err := a.checkKnownZone(answer.Zone); err != nil {
			return err
		}
		var q holdRequest
		if err := readJSON(w, r, maxRequest, &q); err != nil {
			return err
		}
		if q.For < 0 || len(q.By) > maxHoldText || len(q.Reason) > maxHoldText {
			return apiError(http.StatusBadRequest, "for must not be negative, by and reason must not be longer than %d bytes", maxHoldText)
		}
		if strings.TrimSpace(q.Reason) == "" && r.PathValue("action") != "auto" {
			return apiError(http.StatusBadRequest, `reason is missing: %s needs one, for the log and other operators; send for example {"reason": "restarting its database", "for": "10m"}`, r.PathValue("action"))
		}
		a.hold(&answer, r.PathValue("action"), &q)
		answer.Observe = a.Policy.Zone(answer.Zone).Observe
		writeJSON(w, http.StatusOK, answer)
		return nil
	}
}

const maxHoldText = 2000

var holdActions = []string{"admit", "auto", "isolate"}

func (a *API) hold(answer *holdAnswer, action string, q *holdRequest) {
	guard, zone, store := a.Guard, answer.Zone, answer.Store
	as := breaker.Open
	switch action {
	case "admit":
		as = breaker.Calm
	case "auto":
		if store != "" {
			guard.ResetStore(zone, store, q.By, q.Reason)
		} else {
			guard.ResetZone(zone, q.By, q.Reason)
		}
		return
	}
	var hold breaker.Hold
	if store != "" {
		hold = guard.HoldStore(zone, store, as, time.Duration(q.For), q.By, q.Reason)
	} else {
		hold = guard.HoldZone(zone, as, time.Duration(q.For), q.By, q.Reason)
	}
	answer.Hold = &hold
}
