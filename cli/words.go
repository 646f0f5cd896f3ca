package cli

import "github.com/firebreak-proxy/firebreak/breaker"

// zoneWord is a zone's state for people.
func zoneWord(z *breaker.ZoneStatus) string {
	word := stateWord(z.State)
	if z.Hold != nil {
		word = z.Hold.Word()
	}
	if z.Observe {
		word += " (observe)"
	}
	return word
}

func stateWord(state breaker.State) string {
	switch state {
	case breaker.Calm:
		return "calm"
	case breaker.Troubled:
		return "in trouble"
	case breaker.Open:
		return "cut off"
	case breaker.HalfOpen:
		return "in triage"
	}
	return state.String()
}

// storeWord is a store's state for people.
func storeWord(state breaker.State) string {
	switch state {
	case breaker.Open:
		return "in quarantine"
	case breaker.HalfOpen:
		return "being tried"
	case breaker.Calm, breaker.Troubled:
	}
	return stateWord(state)
}

// fleetWord is the state of another sidecar's zone for people.
func fleetWord(name string) string {
	var state breaker.State
	if state.UnmarshalText([]byte(name)) != nil {
		return name // of a later version
	}
	return stateWord(state)
}
