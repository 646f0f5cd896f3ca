package caddymodule_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// startRefusing starts Caddy with zone z1 open.
func startRefusing(t *testing.T, handler, site string) *sidecar {
	t.Helper()
	s := startGuarded(t, "", handler, "respond ok\n"+site)
	openZone(t, s.app(t).Guard())
	return s
}

// TestRefusal checks what a refused client gets, by what it asks for.
func TestRefusal(t *testing.T) {
	s := startRefusing(t, "", "")
	for _, c := range []struct{ accept, contentType, begins string }{
		{"", "application/problem+json", `{"type":"about:blank"`},
		{"*/*", "application/problem+json", `{"type":"about:blank"`},
		{"application/json", "application/problem+json", `{"type":"about:blank"`},
		{"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "text/html; charset=utf-8", "<!doctype html>"},
		{"text/plain", "text/plain; charset=utf-8", "This part"},
		{"text/html;q=0.2, application/json;q=0.9", "application/problem+json", `{"type":"about:blank"`},
		{"image/png", "application/problem+json", `{"type":"about:blank"`},
	} {
		res, body := s.get(t, "/?key=a", "Accept", c.accept)
		h := res.Header
		if res.StatusCode != 503 || h.Get("Content-Type") != c.contentType || !strings.HasPrefix(body, c.begins) {
			t.Errorf("Accept %q: %d %s %.40q, want 503 %s %s", c.accept, res.StatusCode, h.Get("Content-Type"), body, c.contentType, c.begins)
		}
		if h.Get("Firebreak-Refusal") != "zone_open" || h.Get("Cache-Control") != "no-store" {
			t.Errorf("header = %v", h)
		}
		if after, err := strconv.Atoi(h.Get("Retry-After")); err != nil || after < 1 || after > 10 {
			t.Errorf("Retry-After = %q, want 1 to 10", h.Get("Retry-After"))
		}
	}
}

// TestProblem: the default body is a problem of RFC 9457, and shows no names
// unless it may.
func TestProblem(t *testing.T) {
	for _, c := range []struct{ expose, zone, store string }{{"", "", ""}, {"expose zone store", "z1", "a"}} {
		s := startRefusing(t, c.expose, "")
		res, body := s.get(t, "/?key=a")
		var problem struct {
			Type, Title, Detail, Zone, Store string
			Status                           int
			RetryAfter                       int `json:"retry_after"`
		}
		if err := json.Unmarshal([]byte(body), &problem); err != nil {
			t.Fatalf("%v in %s", err, body)
		}
		if problem.Status != 503 || problem.Title == "" || problem.Detail == "" || strconv.Itoa(problem.RetryAfter) != res.Header.Get("Retry-After") {
			t.Errorf("problem = %+v", problem)
		}
		if problem.Zone != c.zone || problem.Store != c.store {
			t.Errorf("problem shows zone %q and store %q, want %q and %q", problem.Zone, problem.Store, c.zone, c.store)
		}
	}
}

// TestRefusalHEAD: no body.
func TestRefusalHEAD(t *testing.T) {
	s := startRefusing(t, "", "")
	res, err := s.do(t.Context(), http.MethodHead, "/?key=a", nil)
	if err != nil {
		t.Fatal(err)
	}
	if body, _ := io.ReadAll(res.Body); res.StatusCode != 503 || len(body) > 0 || res.ContentLength <= 0 {
		t.Errorf("status %d, %d bytes, Content-Length %d", res.StatusCode, len(body), res.ContentLength)
	}
}

// TestRefusalGRPC: gRPC clients get a gRPC status.
func TestRefusalGRPC(t *testing.T) {
	s := startRefusing(t, "", "")
	res, _ := s.get(t, "/?key=a", "Content-Type", "application/grpc+proto")
	if res.StatusCode != 200 || res.Header.Get("Grpc-Status") != "14" || res.Header.Get("Content-Type") != "application/grpc" {
		t.Errorf("status %d, header %v; want 200 and Grpc-Status 14", res.StatusCode, res.Header)
	}
}

// TestRefusalCORS: a script of another origin can read the refusal.
func TestRefusalCORS(t *testing.T) {
	s := startRefusing(t, "", "")
	for _, method := range []string{http.MethodGet, http.MethodOptions} {
		res, err := s.do(t.Context(), method, "/?key=a", nil, "Origin", "https://shop.example")
		if err != nil {
			t.Fatal(err)
		}
		h := res.Header
		if h.Get("Access-Control-Allow-Origin") != "https://shop.example" || h.Get("Vary") != "Origin" ||
			!strings.Contains(h.Get("Access-Control-Expose-Headers"), "Retry-After") {
			t.Errorf("%s: header = %v", method, h)
		}
	}
	if res, _ := s.get(t, "/?key=a"); res.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Error("CORS fields without an Origin")
	}
}

// TestHandleErrors: with refuse error, a refusal is Caddy's handle_errors' to
// answer.
func TestHandleErrors(t *testing.T) {
	s := startRefusing(t, "refuse error", "handle_errors {\nrespond \"{err.status_code} {http.firebreak.refusal} {http.firebreak.zone}\"\n}")
	res, body := s.get(t, "/?key=a")
	if res.StatusCode != 503 || body != "503 zone_open z1" || res.Header.Get("Retry-After") == "" {
		t.Errorf("status %d, body %q, header %v", res.StatusCode, body, res.Header)
	}
}

// TestHungHandleErrors: the same for a deadline that passed.
func TestHungHandleErrors(t *testing.T) {
	stuck := newGate(t)
	nextFunc.Lock()
	nextFunc.f = func(http.ResponseWriter, *http.Request) error { stuck.wait(); return nil }
	nextFunc.Unlock()
	s := startGuarded(t, "", "refuse error", "test_next\nhandle_errors {\nrespond \"{err.status_code} {http.firebreak.refusal}\"\n}")
	if res, body := s.get(t, "/?key=a"); res.StatusCode != 504 || body != "504 hung" {
		t.Errorf("status %d, body %q", res.StatusCode, body)
	}
}

// TestRefuseRoutes: any handlers may answer a refusal.
func TestRefuseRoutes(t *testing.T) {
	s := startRefusing(t, "refuse {\nheader X-Kind {http.firebreak.refusal}\nrespond \"come back in {http.firebreak.retry_after}: {http.firebreak.message}\"\n}", "")
	res, body := s.get(t, "/?key=a")
	want := "come back in " + res.Header.Get("Retry-After") + ": This part of the service"
	if res.StatusCode != 503 || !strings.HasPrefix(body, want) || res.Header.Get("X-Kind") != "zone_open" {
		t.Errorf("status %d, body %q, header %v", res.StatusCode, body, res.Header)
	}
}

// TestOwnBodies: bodies by zone and by media type, from text or file.
func TestOwnBodies(t *testing.T) {
	file := filepath.Join(t.TempDir(), "page.html")
	writeFile(t, file, "<style>p {color: red}</style><p>{http.firebreak.store} {http.firebreak.retry_after}</p>")
	s := startRefusing(t, fmt.Sprintf("expose store\nbody z1 application/json `{\"for\":\"z1\",\"again\":{http.firebreak.retry_after}}`\nbody application/json `{}`\nbody_file text/html %s", file), "")
	res, body := s.get(t, "/?key=a")
	if want := `{"for":"z1","again":` + res.Header.Get("Retry-After") + "}"; body != want || res.Header.Get("Content-Type") != "application/json" {
		t.Errorf("body = %s (%s), want %s", body, res.Header.Get("Content-Type"), want)
	}
	res, body = s.get(t, "/?key=a", "Accept", "text/html")
	if want := "<style>p {color: red}</style><p>a " + res.Header.Get("Retry-After") + "</p>"; body != want {
		t.Errorf("body = %s, want %s", body, want)
	}
}

// TestHostileStoreNames: a store's name stays a name, wherever it is shown.
func TestHostileStoreNames(t *testing.T) {
	const store = "\"><script>alert(1)</script>{http.request.host}\r\nSet-Cookie: x=1"
	csv := filepath.Join(t.TempDir(), "stores.csv")
	writeFile(t, csv, "store,zone,key\n\"\"\"><script>alert(1)</script>{http.request.host}\",z1,evil\n")
	app := "workers 32\nzone * {\n max_inflight 4\n}\ndirectory file " + csv
	s := startSidecar(t, app, fmt.Sprintf(guarded, "expose store zone\nbody text/html `<p>{http.firebreak.store}</p>`\nbody text/plain `{http.firebreak.store}`", "respond ok"))
	openZone(t, s.app(t).Guard())
	_, body := s.get(t, "/?key=evil", "Accept", "text/html")
	if strings.Contains(body, "<script>") || !strings.Contains(body, "{http.request.host}") {
		t.Errorf("HTML body = %s", body)
	}
	_, body = s.get(t, "/?key=evil")
	var problem struct{ Store string }
	if err := json.Unmarshal([]byte(body), &problem); err != nil || !strings.HasPrefix(store, problem.Store) || problem.Store == "" {
		t.Errorf("problem = %s, error %v", body, err)
	}
	res, _ := s.get(t, "/?key=evil")
	for name, values := range res.Header {
		if strings.Contains(strings.Join(values, ""), "script") {
			t.Errorf("header %s shows the store: %q", name, values)
		}
	}
}

// TestJSONHandlerErrors: what the Caddyfile cannot get wrong, but JSON can.
func TestJSONHandlerErrors(t *testing.T) {
	for _, c := range []struct{ handler, want string }{
		{`"unknown":"maybe"`, "unknown is"},
		{`"refuse_mode":"shout"`, "refuse_mode is"},
		{`"expose":["everything"]`, "expose"},
		{`"timeout":-1`, "must not be negative"},
		{`"bodies":[{"content_type":"image/png","body":"x"}]`, "content_type"},
		{`"bodies":[{"content_type":"text/html"}]`, "either body or file"},
	} {
		s := &sidecar{admin: freeAddress(t), site: freeAddress(t)}
		config, err := adapt(s.caddyfile(smallApp, fmt.Sprintf(guarded, "", "respond ok")))
		if err != nil {
			t.Fatal(err)
		}
		with := strings.Replace(config, `"handler": "firebreak",`, `"handler": "firebreak",`+c.handler+`,`, 1)
		if with == config {
			t.Fatal("no firebreak handler in", config)
		}
		if err := loadJSON(t, with); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error = %v, want %q", c.handler, err, c.want)
		}
	}
}

// TestRefusedAtOnce: a refusal does not wait for anything.
func TestRefusedAtOnce(t *testing.T) {
	s := startRefusing(t, "", "")
	start := time.Now()
	for range 20 {
		s.get(t, "/?key=a")
	}
	within(t, "20 refusals", time.Since(start), 0, 2*time.Second)
}
