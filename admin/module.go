package admin

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/firebreak-proxy/firebreak/internal/directive"
	"github.com/firebreak-proxy/firebreak/maintenance"
)

func init() {
	caddy.RegisterModule(Module{})
}

// Module is the part of Caddy's admin API that shows what firebreak sees, and
// takes what operators want:
//
//	GET /firebreak/status[?fleet=1]        the whole picture
//	GET /firebreak/zones                   all zones, most troubled first
//	GET /firebreak/zones/{zone}            one zone
//	GET /firebreak/stores/{store}          one store, by its id or a key
//	GET /firebreak/servers                 all API servers
//	GET /firebreak/servers/{address}       one API server
//	GET|PUT|DELETE /firebreak/servers/{address}/drain   it gets no new requests
//	GET /firebreak/culprits[?zone=]        the stores named as causes, worst first
//	GET /firebreak/explain?url=            what would happen to a request, and why
//	GET /firebreak/zones/{zone}/stores     its stores, by pages
//	GET /firebreak/fleet                   all sidecars that share the state
//	GET /firebreak/events[?zone=]          every event as it happens
//	GET /firebreak/ui/                     the dashboard
//
//	GET /firebreak/incidents[?zone=]       episodes, newest first
//	GET /firebreak/incidents/{id}[?format=markdown|csv]
//
//	GET /firebreak/maintenance             all switches
//	GET|PUT|DELETE /firebreak/maintenance/{all|zones/{zone}|stores/{store}}
//	POST /firebreak/maintenance/batch      many switches at once
//	GET /firebreak/maintenance/history     changes and their authors
//	POST /firebreak/zones/{zone}/{isolate|admit|auto}   by hand
//	POST /firebreak/stores/{store}/{open|close|reset}
//
//	GET /firebreak/stale                   answers from memory: figures and the switch
//	GET|PUT|DELETE /firebreak/stale/off    no answers are given from memory
//	POST /firebreak/stale/purge            forgets answers
//
//	GET|POST /firebreak/recoveries         stores that come back, checked
//	GET /firebreak/recoveries/{id}
//	POST /firebreak/recoveries/{id}/{pause|resume|cancel}
//	GET /firebreak/work[?zone=][&format=csv]   stores that people have to repair
//	POST /firebreak/work/{store}/{claim|note|handover|done}
//
// It keeps nothing. Caddy replaces its admin endpoint before a new
// configuration has proven to load, and never puts the old one back, so the
// app is looked up anew for every request.
type Module struct{}

// CaddyModule returns the Caddy module information.
func (Module) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "admin.api.firebreak",
		New: func() caddy.Module { return new(Module) },
	}
}

// Routes returns the admin API's routes. Their patterns name no method, so that
// a wrong one is answered in JSON like every other error.
func (Module) Routes() []caddy.AdminRoute {
	routes := make([]caddy.AdminRoute, 0, len(adminRoutes())+1)
	for _, route := range adminRoutes() {
		routes = append(routes, caddy.AdminRoute{Pattern: route.pattern, Handler: route.handler()})
	}
	return append(routes, caddy.AdminRoute{Pattern: "/firebreak/", Handler: caddy.AdminHandlerFunc(adminNotFound)})
}

// adminRoute is a path of the admin API and what it allows.
type adminRoute struct {
	pattern string
	methods []string
	serve   func(http.ResponseWriter, *http.Request, *API) error
}

var (
	reads   = []string{http.MethodGet, http.MethodHead}
	writes  = []string{http.MethodGet, http.MethodHead, http.MethodPut, http.MethodDelete}
	actions = []string{http.MethodPost}
	anyOf   = []string{http.MethodGet, http.MethodHead, http.MethodPost} // the action decides
)

// adminRoutes are all paths of the admin API.
func adminRoutes() []adminRoute {
	return []adminRoute{
		{"/firebreak/status", reads, view(adminStatus)},
		{"/firebreak/zones", reads, view(adminZones)},
		{"/firebreak/zones/{zone}", reads, view(adminZone)},
		{"/firebreak/zones/{zone}/stores", reads, view(adminStores)},
		{"/firebreak/zones/{name}/{action}", anyOf, adminHold(false)},
		{"/firebreak/stores/{store}", reads, view(adminStore)},
		{"/firebreak/stores/{name}/{action}", anyOf, adminHold(true)},
		{"/firebreak/servers", reads, view(adminServers)},
		{"/firebreak/servers/{address}", reads, view(adminServer)},
		{"/firebreak/servers/{address}/drain", writes, adminDrain},
		{"/firebreak/culprits", reads, view(adminCulprits)},
		{"/firebreak/explain", reads, view(adminExplain)},
		{"/firebreak/incidents", reads, view(adminIncidents)},
		{"/firebreak/incidents/{id}", reads, adminIncident},
		{"/firebreak/maintenance", reads, adminMaintenance},
		{"/firebreak/maintenance/all", writes, adminSwitch(maintenance.All)},
		{"/firebreak/maintenance/zones/{name}", writes, adminSwitch(maintenance.Zone)},
		{"/firebreak/maintenance/stores/{name}", writes, adminSwitch(maintenance.Store)},
		{"/firebreak/maintenance/batch", actions, adminBatch},
		{"/firebreak/maintenance/history", reads, adminHistory},
		{"/firebreak/stale", reads, view(adminStale)},
		{"/firebreak/stale/off", writes, adminStaleOff},
		{"/firebreak/stale/purge", actions, adminStalePurge},
		{"/firebreak/fleet", reads, view(adminFleet)},
		{"/firebreak/events", reads, adminEvents},
		{"/firebreak/ui/feed", reads, adminFeed},
		{"/firebreak/ui/{file...}", reads, adminUI},
		{"/firebreak/recoveries", readsAndPost, adminRecoveries},
		{"/firebreak/recoveries/{id}", reads, view(adminRecovery)},
		{"/firebreak/recoveries/{id}/{action}", anyOf, adminRecoveryAction},
		{"/firebreak/work", reads, adminWork},
		{"/firebreak/work/{store}/{action}", actions, adminWorkAction},
	}
}

func (route adminRoute) handler() caddy.AdminHandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		w.Header().Set("Cache-Control", "no-store")
		secure(w.Header())
		if err := route.answer(w, r); err != nil {
			writeProblem(w, err)
		}
		return nil
	}
}

func (route adminRoute) answer(w http.ResponseWriter, r *http.Request) error {
	if !slices.Contains(route.methods, r.Method) {
		w.Header().Set("Allow", strings.Join(route.methods, ", "))
		return apiError(http.StatusMethodNotAllowed, "%s is not allowed here; use %s", r.Method, strings.Join(route.methods, ", "))
	}
	if err := refuseForeign(r); err != nil {
		return err
	}
	api, err := activeAPI()
	if err != nil {
		return err
	}
	return route.serve(w, r, api)
}

// view answers with what is seen.
func view(see func(*API, *http.Request) (any, error)) func(http.ResponseWriter, *http.Request, *API) error {
	return func(w http.ResponseWriter, r *http.Request, a *API) error {
		answer, err := see(a, r)
		if err != nil {
			return err
		}
		writeJSON(w, http.StatusOK, answer)
		return nil
	}
}

// provider is what firebreak's app is to its admin API.
type provider interface {
	AdminAPI() *API // nil: not started
}

// activeAPI answers for the configuration that runs now.
func activeAPI() (*API, error) {
	module, err := caddy.ActiveContext().AppIfConfigured("firebreak")
	if errors.Is(err, caddy.ErrNotConfigured) {
		return nil, apiError(http.StatusServiceUnavailable,
			"firebreak is not part of the running configuration: add the global option firebreak { workers N } and the directive firebreak to a site")
	}
	if err != nil {
		return nil, apiError(http.StatusServiceUnavailable, "firebreak does not run: %v", err)
	}
	api := module.(provider).AdminAPI()
	if api == nil {
		return nil, apiError(http.StatusServiceUnavailable, "firebreak does not run yet")
	}
	return api, nil
}

func adminNotFound(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Cache-Control", "no-store")
	secure(w.Header())
	var known, firsts []string // patterns, and the first parts of them
	for _, route := range adminRoutes() {
		known = append(known, route.pattern)
		firsts = append(firsts, strings.Split(route.pattern, "/")[2])
	}
	parts := strings.Split(strings.TrimPrefix(r.URL.Path, "/firebreak/"), "/")
	hint := "there is: " + strings.Join(known, ", ")
	switch near := directive.Nearest(parts[0], firsts); {
	case parts[0] == "servers":
		hint = "write /firebreak/servers/{address}, with slashes in the address as %2F; " + hint
	case parts[0] == "stores", parts[0] == "maintenance" && len(parts) > 2 && parts[1] == "stores":
		hint = "write /firebreak/" + strings.Join(parts[:len(parts)-min(len(parts)-1, 2)], "/") + "/{store}, with a slash in the store's id as %2F; " + hint
	case near != "" && near != parts[0]:
		hint = fmt.Sprintf("did you mean /firebreak/%s? %s", near, hint)
	}
	writeProblem(w, apiError(http.StatusNotFound, "nothing at %s; %s", r.URL.Path, hint))
	return nil
}

// Interface guards.
var _ caddy.AdminRouter = Module{}
