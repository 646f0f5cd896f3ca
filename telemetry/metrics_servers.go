package telemetry

import (
	"cmp"
	"slices"

	"github.com/firebreak-proxy/firebreak/breaker"
)

// detailedServers bounds the series that are named after servers.
const detailedServers = 16

// stateDraining is the state of a server that is drained, whatever else it is.
const stateDraining = "draining"

// collectServers sends how many servers there are in each state, and up to
// five series for each of those that are most in trouble.
func collectServers(out collection, servers []breaker.ServerStatus) {
	if len(servers) == 0 {
		return
	}
	count := map[string]int{stateDraining: 0}
	for state := breaker.InService; state <= breaker.Away; state++ {
		count[state.String()] = 0
	}
	for i := range servers {
		count[stateOfServer(&servers[i])]++
	}
	collectMeasured(out, servers)
	for state, n := range count {
		out.send(serversBy, float64(n), state)
	}
	slices.SortFunc(servers, func(a, b breaker.ServerStatus) int {
		return cmp.Or(-cmp.Compare(a.State, b.State), -cmp.Compare(a.Hung, b.Hung), cmp.Compare(a.Address, b.Address))
	})
	for i := range servers[:min(len(servers), detailedServers)] {
		s := &servers[i]
		out.send(serverState, 1, s.Address, stateOfServer(s))
		out.send(serverSlots, float64(s.Live), "live", s.Address)
		out.send(serverSlots, float64(s.Hung), "hung", s.Address)
		out.send(serverWorkers, float64(s.Workers), s.Address)
		if s.Measured != nil {
			out.send(serverFound, float64(s.Measured.Workers), s.Address)
		}
	}
}

// collectMeasured sends how many servers are set wrong, and of how many that is not
// known.
func collectMeasured(out collection, servers []breaker.ServerStatus) {
	wrong, unread := 0, 0
	for i := range servers {
		if m := servers[i].Measured; m != nil {
			if m.Wrong != "" {
				wrong++
			}
			if m.Problem != "" {
				unread++
			}
		}
	}
	out.send(serversWrong, float64(wrong))
	out.send(serversUnread, float64(unread))
}

func stateOfServer(s *breaker.ServerStatus) string {
	if s.Draining {
		return stateDraining
	}
	return s.State.String()
}
