package admin

import (
	"cmp"
	"net/http"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/internal/directive"
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
