package flight

import (
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/internal/upload"
	"github.com/firebreak-proxy/firebreak/stale"
)

// Runner runs the flights of one handler.
type Runner struct {
	Log *zap.Logger

	handlers pool
}

// Stop ends the goroutines that wait for requests. Flights that are under way go on.
func (x *Runner) Stop() { x.handlers.stop() }

// Request is an admitted request, beside what net/http knows of it.
type Request struct {
	Slot      *breaker.Slot
	Admission Admission
	Ahead     *upload.Body // the body, if its beginning was received ahead; nil: nothing was
}

// Admission is what the handler that admitted a request does for its flight. No two
// of the methods run at the same time, and none after Run has returned.
type Admission interface {
	// Prepare is called first, and makes the request what the API server gets. It
	// reports whether the answer may be kept in memory, and has asked know by which
	// name. The flight owns asked.
	Prepare(r *http.Request, asked *stale.Request, began time.Time) bool

	Directory

	// Began is called when the response begins, took after the request did.
	Began(took time.Duration)

	// Ended is called when the outcome for the client is known.
	Ended(breaker.Outcome)

	// Refuse answers a client that is not waited for any longer. asked is what
	// Prepare has filled; nil: the answer was not to be kept.
	Refuse(w http.ResponseWriter, r *http.Request, reason breaker.Reason, asked *stale.Request) error
}

// Directory is the directory that learns from responses where the request's store
// lives, or does nothing.
type Directory interface {
	// Learn is called with the header of the response, before the client gets it,
	// and removes the fields that are not for clients.
	Learn(response http.Header)

	// Forget removes the same fields from an informational response.
	Forget(informational http.Header)
}
