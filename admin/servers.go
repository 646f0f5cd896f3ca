package admin

import (
	"cmp"
	"net/http"
	"slices"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/internal/directive"
	"github.com/firebreak-proxy/firebreak/internal/shorten"
	"github.com/firebreak-proxy/firebreak/internal/upstream"
	"github.com/firebreak-proxy/firebreak/maintenance"
)

// serverAnswer is one API server: what is observed, and what is desired.
type serverAnswer struct {
	breaker.ServerStatus
	Drain *switchAnswer `json:"drain,omitempty"` // the switch that drains it, or will
}

func (a *API) serverAnswer(status breaker.ServerStatus) serverAnswer {
	answer := serverAnswer{ServerStatus: status}
	if sw, ok := a.Board.View().State.Switches[serverTarget(status.Address)]; ok {
		shown := a.shown(sw)
		answer.Drain = &shown
	}
	return answer
}

func serverTarget(address string) maintenance.Target {
	return maintenance.Target{Scope: maintenance.Server, Name: address}
}

// adminServers lists the API servers, by address.
func adminServers(a *API, _ *http.Request) (any, error) {
	answers := []serverAnswer{}
	for _, status := range a.Guard.Servers() {
		answers = append(answers, a.serverAnswer(status))
	}
	return answers, nil
}

func adminServer(a *API, r *http.Request) (any, error) {
	status, err := a.server(r.PathValue("address"))
	if err != nil {
		return nil, err
	}
	return a.serverAnswer(status), nil
}

// server finds an API server, by its address in any of the ways it can be written.
func (a *API) server(name string) (breaker.ServerStatus, error) {
	address := canonicalServer(name)
	servers := a.Guard.Servers()
	var known []string
	for _, status := range servers {
		if status.Address == address {
			return status, nil
		}
		known = append(known, status.Address)
	}
	hint := "GET /firebreak/servers lists them"
	switch near := directive.Nearest(address, known); {
	case len(known) == 0:
		hint = "no server is known: servers are the upstreams of a reverse_proxy with transport firebreak or lb_policy firebreak"
	case near != "":
		hint = "did you mean " + near + "? " + hint
	}
	return breaker.ServerStatus{Address: address}, apiError(http.StatusNotFound, "no server %q among the upstreams; %s", name, hint)
}

// canonicalServer is an address as servers are named.
func canonicalServer(name string) string { return cmp.Or(upstream.Address(name), name) }

// drainRequest is why and for how long a server is to be drained.
type drainRequest struct {
	Reason string          `json:"reason,omitempty"`
	By     string          `json:"by,omitempty"`
	Ticket string          `json:"ticket,omitempty"`
	Until  time.Time       `json:"until,omitzero"`
	For    config.Duration `json:"for,omitempty"` // instead of until: from now
}

// adminDrain serves /firebreak/servers/{address}/drain.
func adminDrain(w http.ResponseWriter, r *http.Request, a *API) error {
	target := serverTarget(canonicalServer(r.PathValue("address")))
	if err := target.Check(); err != nil {
		return apiError(http.StatusBadRequest, "%v", err)
	}
	sw, switched := a.Board.View().State.Switches[target]
	switch r.Method {
	case http.MethodPut:
		if _, err := a.server(target.Name); err != nil && !switched {
			return err
		}
		return a.putDrain(w, r, target)
	case http.MethodDelete:
		return a.deleteSwitch(w, r, target, "")
	}
	if !switched {
		return apiError(http.StatusNotFound, "%s is not drained", target)
	}
	a.setETag(w, &sw)
	writeJSON(w, http.StatusOK, a.shown(sw))
	return nil
}

func (a *API) putDrain(w http.ResponseWriter, r *http.Request, target maintenance.Target) error {
	var q drainRequest
	if err := readJSON(w, r, maxBatch, &q); err != nil {
		return err
	}
	wanted := switchRequest{Mode: maintenance.Drain, Reason: q.Reason, By: q.By, Ticket: q.Ticket, Until: q.Until, For: q.For}
	return a.storeSwitch(w, r, target, &wanted)
}

// serverTile is one API server in few numbers, for the dashboard. Times are in
// milliseconds since 1970.
type serverTile struct {
	Address  string              `json:"address"`
	State    breaker.ServerState `json:"state"`
	Draining bool                `json:"draining,omitempty"`
	Since    int64               `json:"since,omitempty"`
	Evidence string              `json:"evidence,omitempty"`
	Check    string              `json:"check,omitempty"`
	Workers  int                 `json:"workers"`
	Live     int                 `json:"live"`
	Hung     int                 `json:"hung"`
	Lost     uint64              `json:"lost,omitempty"`
	Drain    *tileSwitch         `json:"drain,omitempty"`
}

// shownServers bounds how many servers dashboards are sent.
const shownServers = 100

// addServers adds the servers, those in trouble first. One alone is the pool.
func (p *picture) addServers(a *API, all []breaker.ServerStatus) {
	if len(all) < 2 {
		return
	}
	p.pool.Servers = len(all)
	switches := a.Board.View().State.Switches
	for _, s := range all {
		t := serverTile{
			Address: s.Address, State: s.State, Draining: s.Draining, Since: milliseconds(s.Since),
			Workers: s.Workers, Live: s.Live, Hung: s.Hung, Lost: s.Lost, Check: shorten.To(s.Check, tileText),
		}
		if s.State != breaker.InService {
			t.Evidence = shorten.To(s.Evidence, tileText)
		}
		if sw, ok := switches[serverTarget(s.Address)]; ok {
			t.Drain = newTileSwitch(&sw)
		}
		switch {
		case s.Draining:
			p.pool.ServersDrain++
		case s.State == breaker.OutOfService || s.State == breaker.Away:
			p.pool.ServersOut++
		default:
			p.servers = append(p.servers, t)
			continue
		}
		// Its workers are not the pool's, nor is what they are busy with.
		p.pool.Live, p.pool.Hung = max(0, p.pool.Live-s.Live), max(0, p.pool.Hung-s.Hung)
		p.servers = append(p.servers, t)
	}
	slices.SortStableFunc(p.servers, func(a, b serverTile) int {
		return cmp.Or(cmp.Compare(b.rank(), a.rank()), compareNames(a.Address, b.Address))
	})
	p.servers = p.servers[:min(len(p.servers), shownServers)]
}

// rank orders servers, those in trouble highest.
func (t *serverTile) rank() int {
	switch {
	case t.Draining:
		return 1
	case t.State == breaker.InService:
		return 0
	case t.State == breaker.InDoubt:
		return 2
	}
	return 3
}
