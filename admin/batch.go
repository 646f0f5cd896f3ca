package admin

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/firebreak-proxy/firebreak/maintenance"
)

// batchRequest sets or takes away many switches at once, all or none.
type batchRequest struct {
	Action string   `json:"action"` // "on" or "off"
	All    bool     `json:"all,omitempty"`
	Zones  []string `json:"zones,omitempty"`
	Stores []string `json:"stores,omitempty"`
	DryRun bool     `json:"dry_run,omitempty"`

	switchRequest
}

// listedUnknown is how many unknown names an error lists.
const listedUnknown = 10

func adminBatch(w http.ResponseWriter, r *http.Request, a *API) error {
	var q batchRequest
	if err := readJSON(w, r, maxBatch, &q); err != nil {
		return err
	}
	if q.Action != "on" && q.Action != "off" {
		return apiError(http.StatusBadRequest, "action is %q: it must be on or off", q.Action)
	}
	targets, placed, err := a.batchTargets(&q)
	if err != nil {
		return err
	}
	if len(targets) == 0 {
		return apiError(http.StatusBadRequest, `it names nothing: give "zones", "stores" or "all": true`)
	}
	if len(targets) > maintenance.MaxTargets {
		return apiError(http.StatusBadRequest, "%d targets in one call; at most %d are possible: split it", len(targets), maintenance.MaxTargets)
	}
	edit, err := q.edit(a, targets, placed)
	if err != nil {
		return err
	}
	condition := func(s *maintenance.State) error { return matchETags(r, "the state", stateETag(s)) }
	edit.If = condition
	if q.For != 0 {
		edit.If = a.keepEnd(edit, condition, time.Duration(q.For))
	}
	return a.runBatch(w, r, &q, edit, len(targets))
}

func (a *API) runBatch(w http.ResponseWriter, r *http.Request, q *batchRequest, edit *maintenance.Edit, targets int) error {
	var state *maintenance.State
	var change *maintenance.Change
	var err error
	if q.DryRun {
		state, change, err = a.Board.Preview(edit)
	} else {
		state, change, err = a.change(r, q.By, q.Reason, edit)
	}
	if err != nil {
		return err
	}
	set, cleared := 0, 0
	if change != nil {
		set, cleared = len(change.Set), len(change.Clear)
	}
	unchanged := max(0, targets-set-cleared)
	w.Header().Set("ETag", stateETag(state))
	writeJSON(w, http.StatusOK, changeAnswer{
		Changed: change != nil && !q.DryRun, Revision: state.Revision, Head: state.String(), DryRun: q.DryRun,
		Set: &set, Removed: &cleared, Unchanged: &unchanged,
	})
	return nil
}

// batchTargets finds out what is meant; an unknown name refuses the whole batch.
func (a *API) batchTargets(q *batchRequest) (targets []maintenance.Target, placed []maintenance.Placed, err error) {
	if q.All {
		targets = append(targets, maintenance.Target{Scope: maintenance.All})
	}
	var unknown []string
	for _, name := range q.Zones {
		t, _, err := a.target(maintenance.Zone, name, q.Action == "on")
		if err != nil {
			unknown = append(unknown, err.Error())
			continue
		}
		targets = append(targets, t)
	}
	for _, name := range q.Stores {
		t, zone, err := a.target(maintenance.Store, name, q.Action == "on")
		if err != nil {
			unknown = append(unknown, err.Error())
			continue
		}
		targets = append(targets, t)
		placed = append(placed, maintenance.Placed{Store: t.Name, Zone: zone})
	}
	if n := len(unknown); n > 0 {
		more := ""
		if n > listedUnknown {
			more = fmt.Sprintf("; and %d more", n-listedUnknown)
			unknown = unknown[:listedUnknown]
		}
		return nil, nil, apiError(http.StatusNotFound, "nothing was changed: %s%s", strings.Join(unknown, "; "), more)
	}
	return targets, placed, nil
}

// edit is what the batch asks for.
func (q *batchRequest) edit(a *API, targets []maintenance.Target, placed []maintenance.Placed) (*maintenance.Edit, error) {
	if q.Action == "off" {
		edit := &maintenance.Edit{Release: placed}
		for _, t := range targets {
			if t.Scope != maintenance.Store {
				edit.Clear = append(edit.Clear, t)
			}
		}
		return edit, nil
	}
	edit, now := new(maintenance.Edit), a.Board.Now()
	for _, t := range targets {
		one := q.switchRequest
		if t.Scope == maintenance.Store {
			one.Except = nil
		}
		sw, err := one.at(t, now)
		if err != nil {
			return nil, apiError(http.StatusBadRequest, "%s: %v", t, err)
		}
		edit.Set = append(edit.Set, sw)
	}
	return edit, nil
}

func stateETag(s *maintenance.State) string {
	if s.Empty() {
		return `"0"`
	}
	return etag(s.Epoch, s.Revision)
}

// listAnswer is a page of all switches.
type listAnswer struct {
	Head     string                `json:"head"`
	Revision uint64                `json:"revision"`
	Stale    bool                  `json:"stale"` // the backend cannot be read; these are the last known
	Problem  string                `json:"problem,omitempty"`
	Synced   string                `json:"synced,omitempty"`
	Now      string                `json:"now"` // by the clock of the backend
	Total    int                   `json:"total"`
	InForce  int                   `json:"in_force"`
	Corrupt  []maintenance.Corrupt `json:"corrupt,omitempty"`
	Switches []switchAnswer        `json:"switches"`
	Next     string                `json:"next,omitempty"` // pass it as after to get the next page
}

// Sizes of pages.
const (
	usualPage = 1000
	maxPage   = 10000
)

func adminMaintenance(w http.ResponseWriter, r *http.Request, a *API) error {
	query := r.URL.Query()
	limit, err := pageSize(query.Get("limit"), usualPage)
	if err != nil {
		return err
	}
	view, now := a.Board.View(), a.Board.Now()
	answer := listAnswer{
		Head: view.State.String(), Revision: view.State.Revision, Stale: view.Stale, Now: now.Format(timeFormat),
		Total: len(view.State.Switches), Corrupt: view.Corrupt, Switches: []switchAnswer{},
	}
	if view.Problem != nil {
		answer.Problem = view.Problem.Error()
	}
	if !view.Synced.IsZero() {
		answer.Synced = view.Synced.UTC().Format(timeFormat)
	}
	switches := view.State.Sorted()
	for i := range switches {
		if switches[i].Phase(now) == maintenance.InForce {
			answer.InForce++
		}
	}
	if after := query.Get("after"); after != "" {
		target, err := maintenance.ParseKey(after)
		if err != nil {
			return apiError(http.StatusBadRequest, "after is %q: pass what the page before it has as next", after)
		}
		switches = view.State.SortedAfter(target)
	}
	answer.fill(switches, query.Get("scope"), query.Get("name"), limit, now)
	w.Header().Set("ETag", stateETag(view.State))
	writeJSON(w, http.StatusOK, answer)
	return nil
}

// fill puts up to limit of the wanted switches on the page.
func (l *listAnswer) fill(switches []maintenance.Switch, scope, name string, limit int, now time.Time) {
	for i := range switches {
		sw := &switches[i]
		if scope != "" && string(sw.Scope) != scope || name != "" && sw.Name != name {
			continue
		}
		if len(l.Switches) == limit {
			l.Next = l.Switches[limit-1].Key()
			return
		}
		l.Switches = append(l.Switches, switchAnswer{*sw, sw.Phase(now)})
	}
}

const timeFormat = "2006-01-02T15:04:05.000Z07:00"

func pageSize(text string, usual int) (int, error) {
	if text == "" {
		return usual, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > maxPage {
		return 0, apiError(http.StatusBadRequest, "limit is %q: it must be a number from 1 to %d", text, maxPage)
	}
	return n, nil
}

// historyAnswer is the audit log, latest change first.
type historyAnswer struct {
	Changes []historyChange `json:"changes"`
}

type historyChange struct {
	Revision   uint64   `json:"revision"`
	At         string   `json:"at"`
	By         string   `json:"by,omitempty"`
	Reason     string   `json:"reason,omitempty"`
	Instance   string   `json:"instance,omitempty"` // the sidecar it was made through
	Remote     string   `json:"remote,omitempty"`   // the address the call came from
	SetCount   int      `json:"set_count"`
	ClearCount int      `json:"clear_count"`
	Set        []string `json:"set"` // up to 20
	Clear      []string `json:"clear"`
}

const listedTargets = 20

func adminHistory(w http.ResponseWriter, r *http.Request, a *API) error {
	limit, err := pageSize(r.URL.Query().Get("limit"), 50)
	if err != nil {
		return err
	}
	changes, err := a.Board.History(r.Context(), limit)
	if err != nil {
		return apiError(http.StatusServiceUnavailable, "the state backend cannot be read: %v", err)
	}
	answer := historyAnswer{Changes: []historyChange{}}
	for _, c := range changes {
		entry := historyChange{
			Revision: c.Revision, At: c.At.UTC().Format(timeFormat), By: c.By, Reason: c.Reason, Instance: c.Instance, Remote: c.Remote,
			SetCount: max(len(c.Set), c.SetTotal), ClearCount: max(len(c.Clear), c.ClearTotal), Set: []string{}, Clear: []string{},
		}
		for _, sw := range c.Set[:min(len(c.Set), listedTargets)] {
			entry.Set = append(entry.Set, sw.Target.String())
		}
		for _, t := range c.Clear[:min(len(c.Clear), listedTargets)] {
			entry.Clear = append(entry.Clear, t.String())
		}
		answer.Changes = append(answer.Changes, entry)
	}
	writeJSON(w, http.StatusOK, answer)
	return nil
}
