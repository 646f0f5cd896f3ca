package breaker

import (
	"fmt"
	"time"
)

// Reason says why a request was refused, in the words of the
// Firebreak-Refusal header.
type Reason string

// The reasons of the guard.
const (
	ReasonZoneOpen   Reason = "zone_open"  // the zone's breaker is open, or half-open and being tried
	ReasonQuarantine Reason = "quarantine" // the store's breaker is open
	ReasonBusy       Reason = "busy"       // no worker came free in time
	ReasonGone       Reason = "gone"       // the client left while it waited for a slot
)

// Refusal is an answer given without touching the pool. It is an error, so that
// callers can wrap it and find it again with [errors.As].
type Refusal struct {
	Reason Reason
	// RetryAfter is the time until a new try makes sense: what is left of the
	// open time for an open breaker, without jitter.
	RetryAfter time.Duration
	// Since is when the breaker opened; zero for ReasonBusy and ReasonGone.
	Since time.Time
	// Detail says in words what happened, for operators (never for clients).
	Detail string
}

// Error is the reason, and in words what happened, for operators.
func (r *Refusal) Error() string {
	if r.Detail == "" {
		return fmt.Sprintf("refused: %s", r.Reason)
	}
	return fmt.Sprintf("refused: %s: %s", r.Reason, r.Detail)
}
