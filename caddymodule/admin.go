package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

func init() {
	caddy.RegisterModule(Admin{})
}

// Admin is the part of Caddy's admin API that shows what firebreak sees:
//
//	GET /firebreak/status                  the whole picture
//	GET /firebreak/zones                   all zones, most troubled first
//	GET /firebreak/zones/{zone}            one zone
//	GET /firebreak/stores/{store}          one store, by its id or a key
//	GET /firebreak/culprits[?zone=]        the stores named as causes, worst first
//	GET /firebreak/explain?url=            what would happen to a request, and why
//
// It keeps nothing. Caddy replaces its admin endpoint before a new
// configuration has proven to load, and never puts the old one back, so the
// app is looked up anew for every request.
type Admin struct{}

// CaddyModule returns the Caddy module information.
func (Admin) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "admin.api.firebreak",
		New: func() caddy.Module { return new(Admin) },
	}
}

// Routes returns the admin API's routes. Their patterns name no method, so that
// a wrong one is answered in JSON like every other error.
func (Admin) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{
		{Pattern: "/firebreak/status", Handler: readOnly(adminStatus)},
		{Pattern: "/firebreak/zones", Handler: readOnly(adminZones)},
		{Pattern: "/firebreak/zones/{zone}", Handler: readOnly(adminZone)},
		{Pattern: "/firebreak/stores/{store}", Handler: readOnly(adminStore)},
		{Pattern: "/firebreak/culprits", Handler: readOnly(adminCulprits)},
		{Pattern: "/firebreak/explain", Handler: readOnly(adminExplain)},
		{Pattern: "/firebreak/", Handler: caddy.AdminHandlerFunc(adminNotFound)},
	}
}

// readOnly answers GET requests with what view returns, as JSON.
func readOnly(view func(*App, *http.Request) (any, error)) caddy.AdminHandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		w.Header().Set("Cache-Control", "no-store")
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			return apiError(http.StatusMethodNotAllowed, "%s is not allowed here; use GET", r.Method)
		}
		app, err := activeApp()
		if err != nil {
			return err
		}
		answer, err := view(app, r)
		if err != nil {
			return err
		}
		// Encoded before anything is sent, so that a failure is not cut short
		// behind a 200.
		body, err := json.MarshalIndent(answer, "", "  ")
		if err != nil {
			return apiError(http.StatusInternalServerError, "encoding the answer: %v", err)
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(append(body, '\n'))
		return nil
	}
}

// activeApp is firebreak's app in the configuration that runs now.
func activeApp() (*App, error) {
	module, err := caddy.ActiveContext().AppIfConfigured("firebreak")
	if errors.Is(err, caddy.ErrNotConfigured) {
		return nil, apiError(http.StatusServiceUnavailable,
			"firebreak is not part of the running configuration: add the global option firebreak { workers N } and the directive firebreak to a site")
	}
	if err != nil {
		return nil, apiError(http.StatusServiceUnavailable, "firebreak does not run: %v", err)
	}
	return module.(*App), nil
}

func adminNotFound(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Cache-Control", "no-store")
	known := []string{"culprits", "explain", "status", "stores", "zones"}
	first, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/firebreak/"), "/")
	hint := "there is: /firebreak/status, /firebreak/zones, /firebreak/zones/{zone}, /firebreak/stores/{store}, /firebreak/culprits, /firebreak/explain?url="
	if first == "stores" {
		hint = "write /firebreak/stores/{store}, with a slash in the store's id as %2F"
	} else if near := nearest(first, known); near != "" && near != first {
		hint = fmt.Sprintf("did you mean /firebreak/%s? %s", near, hint)
	}
	return apiError(http.StatusNotFound, "nothing at %s; %s", r.URL.Path, hint)
}

func apiError(status int, format string, args ...any) error {
	return caddy.APIError{HTTPStatus: status, Err: fmt.Errorf(format, args...)}
}

// Interface guards.
var _ caddy.AdminRouter = Admin{}
