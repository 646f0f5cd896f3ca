package caddymodule

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy/fastcgi"

	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/telemetry"
)

// routesCheck looks through the routes of the HTTP app for what loads without an
// error and protects nothing.
type routesCheck struct {
	log    *zap.Logger
	policy *config.Policy
	server string
	named  map[string]*caddyhttp.Route
	depth  int

	// Proxies with firebreak's transport and no handler before them.
	alone map[*reverseproxy.Handler]bool
}

// maxRouteDepth bounds the nesting of routes, since named routes may invoke each
// other in a circle.
const maxRouteDepth = 32

// handlerExample is the line to write where the handler is missing.
const handlerExample = "firebreak { key header X-API-Key }, with what says in your requests which store they are for"

// httpAppOf is the HTTP app that a module is part of, nil if it is part of none.
func httpAppOf(ctx caddy.Context) *caddyhttp.App {
	for _, module := range ctx.Modules() {
		if app, ok := module.(*caddyhttp.App); ok {
			return app
		}
	}
	return nil
}

// noteRoutes keeps the HTTP app whose routes are checked when all is provisioned.
func (a *App) noteRoutes(ctx caddy.Context) {
	a.live.mu.Lock()
	defer a.live.mu.Unlock()
	if app := httpAppOf(ctx); app != nil {
		a.live.http = app
	}
}

// noteTransport does the same for a transport, which may be in a configuration
// without firebreak's app.
func noteTransport(ctx caddy.Context) {
	module, err := ctx.AppIfConfigured("firebreak")
	if app, ok := module.(*App); ok {
		app.noteRoutes(ctx)
	} else if errors.Is(err, caddy.ErrNotConfigured) {
		ctx.Logger().Warn(telemetry.LogTransportAlone, zap.String(telemetry.FieldNext, "add the global option firebreak { workers 32 } and to the same site: "+handlerExample))
	}
}

// warnRoutes warns of routes that are probably not meant.
func (a *App) warnRoutes() {
	a.live.mu.Lock()
	app, handlers := a.live.http, len(a.live.handlers)
	a.live.mu.Unlock()
	if app == nil {
		if handlers == 0 {
			a.log.Warn(telemetry.LogNoHandler, zap.String(telemetry.FieldNext, "add to the site: "+handlerExample))
		}
		return
	}
	for _, name := range slices.Sorted(maps.Keys(app.Servers)) {
		server := app.Servers[name]
		c := &routesCheck{log: a.log, policy: a.policy, server: name, named: server.NamedRoutes, alone: make(map[*reverseproxy.Handler]bool)}
		c.walk(server.Routes, nil)
		for proxy := range c.alone {
			c.warn(telemetry.LogTransportAlone, proxy, "add to the same site: "+handlerExample)
		}
	}
}

// walk checks routes behind a firebreak handler, or (nil) behind none. It returns
// the handler that stands before what comes after them.
func (c *routesCheck) walk(routes caddyhttp.RouteList, guard *Handler) *Handler {
	if c.depth++; c.depth > maxRouteDepth {
		return guard
	}
	defer func() { c.depth-- }()
	var answers *reverseproxy.Handler // whatever gets there
	for i := range routes {
		route := &routes[i]
		behind, answered := c.route(route, guard, answers)
		if route.Group == "" { // else no other route of the group comes after it
			guard = behind
		}
		if len(route.MatcherSets) == 0 && route.Group == "" {
			answers = answered
		}
	}
	return guard
}

// route checks one route. answers is a proxy before it that lets no request pass.
func (c *routesCheck) route(route *caddyhttp.Route, guard *Handler, answers *reverseproxy.Handler) (*Handler, *reverseproxy.Handler) {
	for _, handler := range route.Handlers {
		switch h := handler.(type) {
		case *Handler:
			if guard = h; answers != nil {
				delete(c.alone, answers)
				c.warn(telemetry.LogHandlerAfterProxy, answers, "write firebreak { ... } above reverse_proxy: within a route block directives run in the order in which they are written")
			}
		case *reverseproxy.Handler:
			if isForwardAuth(h) {
				continue
			}
			c.proxy(h, guard)
			answers = h
		case *caddyhttp.Subroute:
			guard = c.walk(h.Routes, guard)
		case *caddyhttp.Invoke:
			if named := c.named[h.Name]; named != nil {
				guard = c.walk(caddyhttp.RouteList{*named}, guard)
			}
		}
	}
	return guard, answers
}

// proxy checks a reverse_proxy behind a firebreak handler, or (nil) behind none.
func (c *routesCheck) proxy(h *reverseproxy.Handler, guard *Handler) {
	_, ours := h.Transport.(*Transport)
	switch {
	case guard == nil && ours:
		c.alone[h] = true
		return
	case guard == nil:
		return
	case !ours:
		line := "transport firebreak"
		if _, ok := h.Transport.(*fastcgi.Transport); ok {
			line = "transport firebreak fastcgi { root /srv/www }, with the options that transport fastcgi has now (instead of php_fastcgi: see transport in docs/caddyfile.md)"
		}
		c.warn(telemetry.LogNoTransport, h, fmt.Sprintf("add to reverse_proxy %s: %s", upstreamsOf(h), line))
	}
	if h.LoadBalancing == nil {
		return
	}
	if _, best := h.LoadBalancing.SelectionPolicy.(*Selection); !best && (len(h.Upstreams) > 1 || h.DynamicUpstreams != nil) {
		c.warn(telemetry.LogOtherPolicy, h, fmt.Sprintf("add to reverse_proxy %s: lb_policy firebreak (instead of the policy it has)", upstreamsOf(h)))
	}
	timeout := c.shortestTimeout(guard)
	if try := time.Duration(h.LoadBalancing.TryDuration); try >= timeout {
		c.warn(telemetry.LogLongRetry, h, fmt.Sprintf("write a lb_try_duration below %s, for example: lb_try_duration %s", timeout, timeout/2),
			zap.Duration("lb_try_duration", try), zap.Duration("timeout", timeout))
	}
}

func (c *routesCheck) shortestTimeout(guard *Handler) time.Duration {
	if guard.Timeout > 0 {
		return time.Duration(guard.Timeout)
	}
	shortest := c.policy.Default.Timeout
	for _, zone := range c.policy.Zones {
		shortest = min(shortest, zone.Timeout)
	}
	return shortest
}

func (c *routesCheck) warn(message string, proxy *reverseproxy.Handler, next string, more ...zap.Field) {
	fields := append([]zap.Field{zap.String("server", c.server), zap.String("upstreams", upstreamsOf(proxy))}, more...)
	c.log.Warn(message, append(fields, zap.String(telemetry.FieldNext, next))...)
}

func upstreamsOf(h *reverseproxy.Handler) string {
	var names []string
	for _, upstream := range h.Upstreams {
		names = append(names, upstream.Dial)
	}
	if len(names) == 0 {
		return "dynamic"
	}
	return strings.Join(names, " ")
}

// isForwardAuth reports whether a proxy asks another server whether a request may
// pass, as the directive forward_auth does: requests go on behind it.
func isForwardAuth(h *reverseproxy.Handler) bool {
	for _, handle := range h.HandleResponse {
		if handle.Match != nil && slices.Contains(handle.Match.StatusCode, 2) {
			return true
		}
	}
	return false
}
