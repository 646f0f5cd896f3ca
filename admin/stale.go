package admin

import (
	"net/http"
	"strings"

	"github.com/firebreak-proxy/firebreak/maintenance"
	"github.com/firebreak-proxy/firebreak/stale"
)

// Answers is the memory of answers, as the admin API needs it.
type Answers struct {
	Memory *stale.Memory
	Given  func() uint64            // requests answered from it
	Of     func(zone string) uint64 // the same of a zone
}

func (m *Answers) of(zone string) uint64 {
	if m.Of == nil {
		return 0
	}
	return m.Of(zone)
}

// staleAnswer is what is known of answers from memory.
type staleAnswer struct {
	stale.Figures
	Given uint64        `json:"given"`         // requests answered from memory since the process began
	Off   *switchAnswer `json:"off,omitempty"` // the switch that keeps answers from being given, or will
}

// staleTarget is the target of the switch that turns answers from memory off.
var staleTarget = maintenance.Target{Scope: maintenance.Stale}

func adminStale(a *API, _ *http.Request) (any, error) {
	answer := staleAnswer{Figures: a.Answers.Memory.Figures(), Given: a.Answers.Given()}
	if sw, ok := a.Board.View().State.Switches[staleTarget]; ok {
		shown := a.shown(sw)
		answer.Off = &shown
	}
	return &answer, nil
}

// adminStaleOff serves /firebreak/stale/off.
func adminStaleOff(w http.ResponseWriter, r *http.Request, a *API) error {
	switch r.Method {
	case http.MethodPut:
		var q drainRequest
		if err := readJSON(w, r, maxBatch, &q); err != nil {
			return err
		}
		wanted := switchRequest{Mode: maintenance.Off, Reason: q.Reason, By: q.By, Ticket: q.Ticket, Until: q.Until, For: q.For}
		return a.storeSwitch(w, r, staleTarget, &wanted)
	case http.MethodDelete:
		return a.deleteSwitch(w, r, staleTarget, "")
	}
	sw, ok := a.Board.View().State.Switches[staleTarget]
	if !ok {
		return apiError(http.StatusNotFound, "answers from memory are not switched off")
	}
	a.setETag(w, &sw)
	writeJSON(w, http.StatusOK, a.shown(sw))
	return nil
}

// purgeRequest is what is to be forgotten: exactly one of these.
type purgeRequest struct {
	All   bool   `json:"all,omitempty"`
	Zone  string `json:"zone,omitempty"`
	Store string `json:"store,omitempty"` // its id, or a key
}

// purgeAnswer is what was forgotten.
type purgeAnswer struct {
	Target string `json:"target"`
	Purged int    `json:"purged"` // answers
}

// adminStalePurge serves /firebreak/stale/purge.
func adminStalePurge(w http.ResponseWriter, r *http.Request, a *API) error {
	var q purgeRequest
	if err := readJSON(w, r, maxRequest, &q); err != nil {
		return err
	}
	target := maintenance.Target{Scope: maintenance.All}
	named := 0
	for _, is := range []bool{q.All, q.Zone != "", q.Store != ""} {
		if is {
			named++
		}
	}
	switch {
	case named != 1:
		return apiError(http.StatusBadRequest, `name one of "zone", "store" and "all": send for example {"zone": "z7"}`)
	case q.Zone != "":
		target = maintenance.Target{Scope: maintenance.Zone, Name: q.Zone}
		if err := a.checkKnownZone(q.Zone); err != nil {
			return err
		}
	case q.Store != "":
		found, _, err := a.target(maintenance.Store, q.Store, false)
		if err != nil {
			return err
		}
		target = found
	}
	purged := 0
	switch target.Scope {
	case maintenance.Zone:
		purged = a.Answers.Memory.PurgeZone(target.Name)
	case maintenance.Store:
		purged = a.Answers.Memory.PurgeStore(strings.Clone(target.Name))
	case maintenance.All, maintenance.Server, maintenance.Stale:
		purged = a.Answers.Memory.PurgeAll()
	}
	writeJSON(w, http.StatusOK, purgeAnswer{target.String(), purged})
	return nil
}
