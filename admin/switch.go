package admin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/maintenance"
	"github.com/firebreak-proxy/firebreak/routing"
)

// switchRequest is what a client wants a switch to be.
type switchRequest struct {
	Mode       maintenance.Mode `json:"mode,omitempty"` // full (default) or read_only
	Reason     string           `json:"reason,omitempty"`
	By         string           `json:"by,omitempty"`
	Ticket     string           `json:"ticket,omitempty"`
	From       time.Time        `json:"from,omitzero"`
	Until      time.Time        `json:"until,omitzero"`
	For        config.Duration  `json:"for,omitempty"` // instead of until: from now, or from from
	RetryAfter config.Duration  `json:"retry_after,omitempty"`
	Message    string           `json:"message,omitempty"`
	Except     []string         `json:"except,omitempty"`
	Stale      bool             `json:"stale,omitempty"` // answer from memory what it refuses
}

// at makes the switch for a target.
func (q *switchRequest) at(t maintenance.Target, now time.Time) (maintenance.Switch, error) {
	sw := maintenance.Switch{
		Target: t, Mode: cmp.Or(q.Mode, maintenance.Full), Reason: q.Reason, By: q.By, Ticket: q.Ticket,
		From: q.From, Until: q.Until, RetryAfter: q.RetryAfter, Message: q.Message, Except: slices.Clone(q.Except), Stale: q.Stale,
	}
	if q.For != 0 {
		switch {
		case !q.Until.IsZero():
			return sw, errors.New("give either until or for")
		case q.For < 0:
			return sw, errors.New("for must not be negative")
		}
		begin := now
		if q.From.After(now) {
			begin = q.From
		}
		sw.Until = begin.Add(time.Duration(q.For))
	}
	if !sw.Until.IsZero() && !sw.Until.After(now) {
		return sw, fmt.Errorf("until (%s) is in the past: it is %s by the clock of the state backend", sw.Until.Format(time.RFC3339), now.Format(time.RFC3339))
	}
	return sw, sw.Check()
}

// switchAnswer is a switch and where it stands in time.
type switchAnswer struct {
	maintenance.Switch
	Phase maintenance.Phase `json:"phase"`
}

// changeAnswer is what a change did.
type changeAnswer struct {
	Changed  bool          `json:"changed"` // false: it was so already
	Revision uint64        `json:"revision"`
	Head     string        `json:"head"`
	Switch   *switchAnswer `json:"switch,omitempty"`

	// Of a switch that was removed.
	Cleared      []string `json:"cleared,omitempty"`
	ReleasedFrom []string `json:"released_from,omitempty"` // switches that except the store now
	Still        string   `json:"still,omitempty"`         // what holds for it all the same

	// Of a batch.
	DryRun    bool `json:"dry_run,omitempty"`
	Set       *int `json:"set,omitempty"`
	Removed   *int `json:"cleared_count,omitempty"`
	Unchanged *int `json:"unchanged,omitempty"`
}

// adminSwitch serves /firebreak/maintenance/{all|zones/{zone}|stores/{store}}.
func adminSwitch(scope maintenance.Scope) func(http.ResponseWriter, *http.Request, *API) error {
	return func(w http.ResponseWriter, r *http.Request, a *API) error {
		target, zone, err := a.target(scope, r.PathValue("name"), r.Method == http.MethodPut)
		if err != nil {
			return err
		}
		switch r.Method {
		case http.MethodPut:
			return a.putSwitch(w, r, target)
		case http.MethodDelete:
			return a.deleteSwitch(w, r, target, zone)
		}
		sw, ok := a.Board.View().State.Switches[target]
		if !ok {
			return apiError(http.StatusNotFound, "%s is not in maintenance by a switch of its own", target)
		}
		a.setETag(w, &sw)
		writeJSON(w, http.StatusOK, a.shown(sw))
		return nil
	}
}

// target finds out which store or zone is meant, and in which zone it lives.
func (a *API) target(scope maintenance.Scope, name string, mustExist bool) (t maintenance.Target, zone string, err error) {
	t = maintenance.Target{Scope: scope, Name: name}
	if err := t.Check(); err != nil {
		return t, "", apiError(http.StatusBadRequest, "%v", err)
	}
	switch scope {
	case maintenance.Zone:
		if mustExist {
			err = a.checkKnownZone(name)
		}
		return t, name, err
	case maintenance.Store:
		route, ok := routing.Locate(context.Background(), a.Directory, name)
		if ok {
			t.Name = strings.Clone(route.Store)
			return t, strings.Clone(route.Zone), nil
		}
		if _, set := a.Board.View().State.Switches[t]; mustExist || !set {
			return t, "", apiError(http.StatusNotFound, "no store and no key %q in the directory", name)
		}
	case maintenance.All, maintenance.Server, maintenance.Stale:
	}
	return t, "", nil
}

func (a *API) putSwitch(w http.ResponseWriter, r *http.Request, target maintenance.Target) error {
	var q switchRequest
	if err := readJSON(w, r, maxBatch, &q); err != nil {
		return err
	}
	return a.storeSwitch(w, r, target, &q)
}

// storeSwitch sets a switch and answers with it.
func (a *API) storeSwitch(w http.ResponseWriter, r *http.Request, target maintenance.Target, q *switchRequest) error {
	sw, err := q.at(target, a.Board.Now())
	if err != nil {
		return apiError(http.StatusBadRequest, "%v", err)
	}
	existed := false
	edit := &maintenance.Edit{Set: []maintenance.Switch{sw}, If: func(s *maintenance.State) error {
		_, existed = s.Switches[target]
		return checkETags(r, s, target)
	}}
	if q.For != 0 {
		edit.If = a.keepEnd(edit, edit.If, time.Duration(q.For))
	}
	state, change, err := a.change(r, q.By, q.Reason, edit)
	if err != nil {
		return err
	}
	status := http.StatusOK
	if !existed {
		status = http.StatusCreated
	}
	now := state.Switches[target]
	a.setETag(w, &now)
	shown := a.shown(now)
	writeJSON(w, status, changeAnswer{Changed: change != nil, Revision: state.Revision, Head: state.String(), Switch: &shown})
	return nil
}

// keepEnd makes a PUT that is sent again, because its answer was lost, ask for
// the same switch: where only the end differs, by less than retries take, the
// switch is left as it is.
func (a *API) keepEnd(edit *maintenance.Edit, then func(*maintenance.State) error, length time.Duration) func(*maintenance.State) error {
	const retries = 15 * time.Second
	return func(s *maintenance.State) error {
		for i := range edit.Set {
			sw := &edit.Set[i]
			if old, ok := s.Switches[sw.Target]; ok && length > retries && sw.Until.Sub(old.Until).Abs() < retries {
				sw.Until = old.Until
			}
		}
		return then(s)
	}
}

func (a *API) deleteSwitch(w http.ResponseWriter, r *http.Request, target maintenance.Target, zone string) error {
	edit := &maintenance.Edit{If: func(s *maintenance.State) error { return checkETags(r, s, target) }}
	if target.Scope == maintenance.Store {
		edit.Release = []maintenance.Placed{{Store: target.Name, Zone: zone}}
	} else {
		edit.Clear = []maintenance.Target{target}
	}
	query := r.URL.Query()
	state, change, err := a.change(r, query.Get("by"), query.Get("reason"), edit)
	if err != nil {
		return err
	}
	answer := changeAnswer{Changed: change != nil, Revision: state.Revision, Head: state.String()}
	if change != nil {
		for _, t := range change.Clear {
			answer.Cleared = append(answer.Cleared, t.String())
		}
		for _, sw := range change.Set {
			answer.ReleasedFrom = append(answer.ReleasedFrom, sw.Target.String())
		}
	}
	if sw := a.Board.Lookup(zone, storeOf(target)); sw != nil && (target.Scope == maintenance.Zone || target.Scope == maintenance.Store) {
		answer.Still = sw.Target.String()
	}
	writeJSON(w, http.StatusOK, answer)
	return nil
}

func storeOf(t maintenance.Target) string {
	if t.Scope == maintenance.Store {
		return t.Name
	}
	return ""
}

// change makes a change in the name of a request.
func (a *API) change(r *http.Request, by, reason string, edit *maintenance.Edit) (*maintenance.State, *maintenance.Change, error) {
	state, change, err := a.Board.Change(r.Context(), maintenance.Author{By: by, Reason: reason, Remote: r.RemoteAddr}, edit)
	var invalid *maintenance.InvalidError
	switch {
	case err == nil:
		return state, change, nil
	case errors.Is(err, maintenance.ErrPrecondition):
		return nil, nil, apiError(http.StatusPreconditionFailed, "%v; read it again and decide anew", err)
	case errors.As(err, &invalid):
		return nil, nil, apiError(http.StatusBadRequest, "%v", err)
	}
	return nil, nil, apiError(http.StatusServiceUnavailable,
		"%v; the switches that are known stay in force; to refuse a zone on this sidecar alone meanwhile: POST /firebreak/zones/{zone}/isolate", err)
}

func (a *API) shown(sw maintenance.Switch) switchAnswer {
	return switchAnswer{Switch: sw, Phase: sw.Phase(a.Board.Now())}
}

// etag names a state of one switch.
func etag(epoch string, revision uint64) string { return fmt.Sprintf(`"%s-%d"`, epoch, revision) }

func (a *API) setETag(w http.ResponseWriter, sw *maintenance.Switch) {
	w.Header().Set("ETag", etag(a.Board.View().State.Epoch, sw.Revision))
}

// checkETags checks If-Match and If-None-Match against a switch.
func checkETags(r *http.Request, s *maintenance.State, target maintenance.Target) error {
	sw, ok := s.Switches[target]
	current := ""
	if ok {
		current = etag(s.Epoch, sw.Revision)
	}
	return matchETags(r, target.String(), current)
}

// matchETags checks If-Match and If-None-Match against an ETag, "" if there is
// nothing.
func matchETags(r *http.Request, what, current string) error {
	if want := r.Header.Get("If-Match"); want != "" && (current == "" || want != "*" && !hasETag(want, current)) {
		return fmt.Errorf("%s is not as If-Match demands (%s, now %s): %w", what, want, cmp.Or(current, "not there"), maintenance.ErrPrecondition)
	}
	if refuse := r.Header.Get("If-None-Match"); refuse != "" && current != "" && (refuse == "*" || hasETag(refuse, current)) {
		return fmt.Errorf("%s is there already (%s): %w", what, current, maintenance.ErrPrecondition)
	}
	return nil
}

func hasETag(list, tag string) bool {
	for one := range strings.SplitSeq(list, ",") {
		if strings.TrimPrefix(strings.TrimSpace(one), "W/") == tag {
			return true
		}
	}
	return false
}
