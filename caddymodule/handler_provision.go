package caddymodule

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/directories"
	"github.com/firebreak-proxy/firebreak/flight"
	"github.com/firebreak-proxy/firebreak/internal/placeholder"
	"github.com/firebreak-proxy/firebreak/maintenance"
	"github.com/firebreak-proxy/firebreak/maintenance/bypass"
	"github.com/firebreak-proxy/firebreak/refusal"
	"github.com/firebreak-proxy/firebreak/routing"
	"github.com/firebreak-proxy/firebreak/stale"
	"github.com/firebreak-proxy/firebreak/telemetry"
)

// Values of Handler fields.
const (
	unknownPass   = "pass"
	unknownRefuse = "refuse"
	refuseRespond = "respond"
	refuseError   = "error"
)

// handlerParts is what a handler works with, made when it is provisioned.
type handlerParts struct {
	log       *zap.Logger
	guard     *breaker.Guard
	directory routing.Directory
	taught    directories.Taught // the directory, if it learns from responses; else nil
	board     *maintenance.Board
	knocks    *knocks
	bypasses  bypass.Rules
	extractor *routing.Extractor // nil: there are no keys
	policy    *config.Policy

	readsBodies bool // keys are looked for in bodies

	observesUnknown bool // zone unknown is in mode observe

	flights  *flight.Runner
	meters   *telemetry.Metrics
	refusals *refusal.Writer
	routes   caddyhttp.Handler // answers refusals; nil if there are no routes

	keeper *atomic.Pointer[stale.Keeper] // of nil: no answers are kept, or the app has not started yet
}

// Provision makes the handler ready to serve; it does not wait for the app to
// be started.
func (h *Handler) Provision(ctx caddy.Context) error {
	h.log, h.keeper = ctx.Logger(), new(atomic.Pointer[stale.Keeper])
	h.flights = &flight.Runner{Log: h.log}
	module, err := ctx.App("firebreak")
	if err != nil {
		return fmt.Errorf("loading the firebreak app: %w", err)
	}
	app := module.(*App)
	app.noteRoutes(ctx)
	h.guard, h.directory, h.board = app.Guard(), app.Directory(), app.Board()
	h.taught, _ = h.directory.(directories.Taught)
	if h.taught != nil && h.taught.Alone() && h.Unknown == unknownRefuse {
		return errors.New("unknown refuse: no store would ever become known, since directory learn learns from answered requests; write unknown pass, or give the directory a fallback")
	}
	h.policy, h.readsBodies = app.Policy(), readsBodies(h.Keys)
	h.knocks = app.recoveries.knocks
	h.observesUnknown = app.policy.Zone(config.UnknownZone).Observe
	if h.bypasses, err = bypass.New(h.Bypass); err != nil {
		return err
	}
	if len(h.Keys) > 0 {
		h.extractor, err = routing.NewExtractor(h.Keys, routing.ExtractorOptions{
			MaxBodyPeek: h.MaxBodyPeek, Placeholder: placeholder.Fill,
		})
		if err != nil {
			return fmt.Errorf("keys: %w", err)
		}
	}
	if h.refusals, err = refusal.NewWriter(h.Bodies, h.Expose); err != nil {
		return err
	}
	if err = h.provisionRoutes(ctx); err != nil {
		return err
	}
	if h.meters, err = telemetry.Register(ctx.GetMetricsRegistry()); err != nil {
		return err
	}
	app.RegisterHandler(h)
	return nil
}

// Validate checks what the Caddyfile cannot get wrong, but JSON can.
func (h *Handler) Validate() error {
	if !slices.Contains([]string{"", unknownPass, unknownRefuse}, h.Unknown) {
		return fmt.Errorf("unknown is %q: it must be pass or refuse", h.Unknown)
	}
	if !slices.Contains([]string{"", refuseRespond, refuseError}, h.RefuseMode) {
		return fmt.Errorf("refuse_mode is %q: it must be respond or error", h.RefuseMode)
	}
	if h.Timeout < 0 || h.MaxBodyPeek < 0 {
		return fmt.Errorf("timeout and max_body_peek must not be negative")
	}
	if h.Stale != nil {
		if err := h.Stale.Check(); err != nil {
			return fmt.Errorf("stale: %w", err)
		}
	}
	for _, name := range h.Expose {
		if name != refusal.ExposeStore && name != refusal.ExposeZone {
			return fmt.Errorf("expose %q: only store and zone can be shown to clients", name)
		}
	}
	return nil
}

// provisionRoutes makes one handler of the refuse routes.
func (h *Handler) provisionRoutes(ctx caddy.Context) error {
	if len(h.RefuseRaw) == 0 {
		return nil
	}
	modules, err := ctx.LoadModule(h, "RefuseRaw")
	if err != nil {
		return fmt.Errorf("loading refuse routes: %w", err)
	}
	h.routes = caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil })
	for _, module := range slices.Backward(modules.([]any)) {
		step, ok := module.(caddyhttp.MiddlewareHandler)
		if !ok {
			return fmt.Errorf("refuse: %T is no HTTP handler", module)
		}
		next := h.routes
		h.routes = caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
			return step.ServeHTTP(w, r, next)
		})
	}
	return nil
}

// Cleanup ends the goroutines that wait for requests. Those that are still on
// their way go on.
func (h *Handler) Cleanup() error {
	if h.flights != nil {
		h.flights.Stop()
	}
	return nil
}

// Interface guards.
var (
	_ caddy.CleanerUpper          = (*Handler)(nil)
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.Validator             = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
