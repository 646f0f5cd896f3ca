package cli

import (
	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/maintenance"
)

// condition is how a zone is for its clients, the worst first.
type condition int

const (
	isCutOff condition = iota // by its breaker; also while it is tried with one request
	isIsolated
	isComingBack
	isTroubled
	isObserved // it would be cut off, but is in mode observe
	isAdmitted
	isCalm
	isMaintained
)

var (
	conditionWords  = []string{"cut off", "isolated by hand", "coming back", "in trouble", "would be cut off (mode observe)", "admitted by hand", "calm", "in maintenance"}
	conditionColors = []string{red, red, red, yellow, yellow, yellow, green, yellow}
)

func (z *zoneView) condition() condition {
	switch {
	case z.Hold != nil && z.Hold.As == breaker.Open:
		return isIsolated
	case z.Observe && (z.State == breaker.Open || z.State == breaker.HalfOpen):
		return isObserved
	case z.State == breaker.Open || z.State == breaker.HalfOpen && z.Window <= 1:
		return isCutOff
	case z.State == breaker.HalfOpen:
		return isComingBack
	case z.State == breaker.Troubled:
		return isTroubled
	case z.Maintenance != nil:
		return isMaintained
	case z.Hold != nil:
		return isAdmitted
	}
	return isCalm
}

// word is the zone's condition in a table.
func (z *zoneView) word() string {
	word := conditionWords[z.condition()]
	switch z.condition() {
	case isIsolated, isAdmitted:
		word = z.Hold.Word()
	case isMaintained:
		if z.Maintenance.Mode == maintenance.ReadOnly {
			word = "read-only"
		}
	case isCutOff:
		if z.State == breaker.HalfOpen {
			word += ", being tried"
		}
	case isObserved:
		return "would be cut off"
	case isComingBack, isTroubled, isCalm:
	}
	if z.Observe {
		word += " (observe)"
	}
	return word
}

// stateWord is the state of a zone of which no more is known.
func stateWord(state breaker.State) string {
	switch state {
	case breaker.Calm:
		return "calm"
	case breaker.Troubled:
		return "in trouble"
	case breaker.Open:
		return "cut off"
	case breaker.HalfOpen:
		return "being tried"
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
