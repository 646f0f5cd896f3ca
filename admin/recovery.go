package admin

import (
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/internal/directive"
	"github.com/firebreak-proxy/firebreak/recovery"
)

var (
	readsAndPost    = []string{http.MethodGet, http.MethodHead, http.MethodPost}
	recoveryActions = []string{"cancel", "pause", "resume"}
)

// recoveryRequest is what a client wants recovered.
type recoveryRequest struct {
	Zone   string   `json:"zone,omitempty"`   // a whole zone,
	Stores []string `json:"stores,omitempty"` // or these
	By     string   `json:"by,omitempty"`
	Reason string   `json:"reason,omitempty"`
	DryRun bool     `json:"dry_run,omitempty"`

	// Instead of what the store check says.
	Parallel *int             `json:"parallel,omitempty"`
	Times    *int             `json:"times,omitempty"`
	Every    *config.Duration `json:"every,omitempty"`
	Retries  *int             `json:"retries,omitempty"`
	Batch    *int             `json:"batch,omitempty"`
	Watch    *config.Duration `json:"watch,omitempty"`
}

// recoveriesAnswer is all recoveries, newest first.
type recoveriesAnswer struct {
	Recoveries []recovery.View `json:"recoveries"`
}

// recoveryAnswer is one recovery with a page of its stores.
type recoveryAnswer struct {
	recovery.View
	Stores []recovery.StoreView `json:"stores"`
	Next   string               `json:"next,omitempty"` // pass it as after to get the next page
}

func adminRecoveries(w http.ResponseWriter, r *http.Request, a *API) error {
	if r.Method != http.MethodPost {
		writeJSON(w, http.StatusOK, recoveriesAnswer{a.Jobs.List()})
		return nil
	}
	var q recoveryRequest
	if err := readJSON(w, r, maxBatch, &q); err != nil {
		return err
	}
	if q.Zone != "" {
		if err := a.checkKnownZone(q.Zone); err != nil {
			return err
		}
	}
	v, err := a.Jobs.Begin(&recovery.Request{
		Zone: q.Zone, Stores: q.Stores, By: q.By, Reason: q.Reason, DryRun: q.DryRun, Parallel: q.Parallel, Times: q.Times,
		Every: (*time.Duration)(q.Every), Retries: q.Retries, Batch: q.Batch, Watch: (*time.Duration)(q.Watch),
	})
	if err != nil {
		return recoveryError(err)
	}
	w.Header().Set("Location", "/firebreak/recoveries/"+v.ID)
	writeJSON(w, http.StatusCreated, v)
	return nil
}

func adminRecovery(a *API, r *http.Request) (any, error) {
	v, err := a.Jobs.Get(r.PathValue("id"))
	if err != nil {
		return nil, recoveryError(err)
	}
	query := r.URL.Query()
	limit, err := pageSize(query.Get("limit"), usualPage)
	if err != nil {
		return nil, err
	}
	state := query.Get("state")
	if state != "" && !slices.Contains(recovery.StoreStates, state) {
		return nil, apiError(http.StatusBadRequest, "%s", directive.Unrecognized("state", state, recovery.StoreStates))
	}
	stores, next, err := a.Jobs.Stores(v.ID, state, query.Get("after"), limit)
	if err != nil {
		return nil, recoveryError(err)
	}
	return recoveryAnswer{v, stores, next}, nil
}

// actionRequest is the author of an action on a recovery, and the reason.
type actionRequest struct {
	By     string `json:"by,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// adminRecoveryAction serves /firebreak/recoveries/{id}/{action}. Sent twice it
// does the same as once.
func adminRecoveryAction(w http.ResponseWriter, r *http.Request, a *API) error {
	id, action := r.PathValue("id"), r.PathValue("action")
	switch {
	case !slices.Contains(recoveryActions, action):
		if r.Method != http.MethodPost {
			return adminNotFound(w, r)
		}
		return apiError(http.StatusNotFound, "%s", directive.Unrecognized("action", action, recoveryActions))
	case r.Method != http.MethodPost:
		w.Header().Set("Allow", http.MethodPost)
		return apiError(http.StatusMethodNotAllowed, "%s is not allowed here; use POST", r.Method)
	}
	var q actionRequest
	if err := readJSON(w, r, maxRequest, &q); err != nil {
		return err
	}
	if len(q.By) > maxHoldText || len(q.Reason) > maxHoldText {
		return apiError(http.StatusBadRequest, "by and reason must not be longer than %d bytes", maxHoldText)
	}
	act := map[string]func(id, by, reason string) (recovery.View, error){
		"cancel": a.Jobs.Cancel, "pause": a.Jobs.Pause, "resume": a.Jobs.Resume,
	}[action]
	v, err := act(id, q.By, q.Reason)
	if err != nil {
		return recoveryError(err)
	}
	writeJSON(w, http.StatusOK, v)
	return nil
}

// recoveryError gives an error its HTTP status.
func recoveryError(err error) error {
	for kind, status := range map[error]int{
		recovery.ErrInvalid: http.StatusBadRequest, recovery.ErrNotFound: http.StatusNotFound,
		recovery.ErrConflict: http.StatusConflict, recovery.ErrUnavailable: http.StatusServiceUnavailable,
	} {
		if errors.Is(err, kind) {
			return apiError(status, "%v", err)
		}
	}
	return err
}
