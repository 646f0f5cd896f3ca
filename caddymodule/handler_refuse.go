package caddymodule

import (
	"context"
	"errors"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/firebreak-proxy/firebreak/refusal"
)

// errRefused is what a refusal is for handle_errors.
var errRefused = errors.New("firebreak: refused")

// refuse answers a request without touching the pool.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, a *admission) error {
	if h.answerFromMemory(w, r, a) {
		return nil
	}
	refused := &refusal.Refusal{
		Reason: a.reason, RetryAfter: a.retryAfter,
		Zone: a.zone, Store: a.store, Known: a.known, Message: a.message,
	}
	if h.routes == nil && h.RefuseMode != refuseError {
		h.refusals.Respond(w, r, refused)
		return nil
	}
	err := caddyhttp.HandlerError{Err: errRefused, StatusCode: refusal.Prepare(w.Header(), r, refused)}
	if h.routes == nil {
		return err
	}
	// As in an error route, the status is what handlers like respond begin with.
	ctx := context.WithValue(r.Context(), caddyhttp.ErrorCtxKey, error(err))
	return h.routes.ServeHTTP(w, r.WithContext(ctx))
}
