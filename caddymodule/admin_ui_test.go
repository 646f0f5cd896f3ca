package caddymodule_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/firebreak-proxy/firebreak/admin"
)

const uiPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"

func TestUI(t *testing.T) {
	s := startSidecar(t, smallApp, smallSite)
	for path, media := range map[string]string{
		"": "text/html; charset=utf-8", "index.html": "text/html; charset=utf-8", "app.css": "text/css; charset=utf-8",
		"app.js": "text/javascript; charset=utf-8", "vendor/uplot/uPlot.esm.js": "text/javascript; charset=utf-8",
		"vendor/uplot/LICENSE": "text/plain; charset=utf-8",
	} {
		res, body := s.ask(t, http.MethodGet, "/firebreak/ui/"+path)
		if res.StatusCode != http.StatusOK || len(body) < 100 || res.Header.Get("Content-Type") != media {
			t.Errorf("%s: %s, %d bytes of %s", path, res.Status, len(body), res.Header.Get("Content-Type"))
		}
		for name, want := range map[string]string{
			"Content-Security-Policy": uiPolicy, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin",
			"X-Frame-Options": "DENY", "Cross-Origin-Resource-Policy": "same-origin", "Cache-Control": "no-cache",
		} {
			if got := res.Header.Get(name); got != want {
				t.Errorf("%s: %s is %q, want %q", path, name, got, want)
			}
		}
		again, _ := s.send(t, http.MethodGet, "/firebreak/ui/"+path, "", "If-None-Match", res.Header.Get("ETag"))
		if again.StatusCode != http.StatusNotModified {
			t.Errorf("%s: asked for again with its ETag: %s", path, again.Status)
		}
	}
	if res, _ := s.ask(t, http.MethodGet, "/firebreak/ui"); res.Request.URL.Path != "/firebreak/ui/" || res.StatusCode != http.StatusOK {
		t.Errorf("without the slash it ends at %s with %s", res.Request.URL, res.Status)
	}
	for _, path := range []string{"nothing.js", "../ui.go", "%2e%2e/admin_ui.go", "vendor", "vendor/"} {
		if res, body := s.ask(t, http.MethodGet, "/firebreak/ui/"+path); res.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %s: %.80s", path, res.Status, body)
		}
	}
}

// TestUIIsSelfContained wants no address of anybody else, no inline script or
// style, and no way for text to become markup in any file of our own.
func TestUIIsSelfContained(t *testing.T) {
	forbidden := regexp.MustCompile(`(?i)https?://|//[a-z0-9-]+\.[a-z]|innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|DOMParser|srcdoc|\bstyle=|\bon[a-z]+="|javascript:|@import|(?-i:\burl\()`)
	allowed := strings.NewReplacer("http://www.w3.org/2000/svg", "") // names a vocabulary; nobody asks it
	checked := 0
	for name, data := range admin.Files() {
		if strings.HasPrefix(name, "vendor/") {
			continue
		}
		checked++
		for i, line := range strings.Split(allowed.Replace(data), "\n") {
			if found := forbidden.FindString(line); found != "" {
				t.Errorf("%s:%d has %q", name, i+1, found)
			}
		}
	}
	if checked < 15 {
		t.Errorf("only %d files were checked", checked)
	}
	if strings.Contains(admin.Files()["index.html"], "<script>") {
		t.Error("index.html has an inline script")
	}
}

// TestForeignChanges tries to change something from a page of somebody else,
// at every route and with every method that is no mere reading: those of today
// and those to come. Caddy's own checks, which come before, are left out.
func TestForeignChanges(t *testing.T) {
	s := startSidecar(t, smallApp, smallSite)
	mux := http.NewServeMux()
	for _, route := range (admin.Module{}).Routes() {
		mux.HandleFunc(route.Pattern, func(w http.ResponseWriter, r *http.Request) {
			if err := route.Handler.ServeHTTP(w, r); err != nil {
				t.Error(err)
			}
		})
	}
	const browser = "Mozilla/5.0 (X11; Linux x86_64)"
	tests := []struct {
		name   string
		header http.Header
		want   int // 0: it is let in
	}{
		{"a form of another page", http.Header{"Sec-Fetch-Site": {"cross-site"}, "Content-Type": {"application/x-www-form-urlencoded"}}, 403},
		{"a page of the same site", http.Header{"Sec-Fetch-Site": {"same-site"}, "Content-Type": {"application/json"}}, 403},
		{"another origin", http.Header{"Origin": {"http://evil.example"}, "Content-Type": {"application/json"}}, 403},
		{"another port", http.Header{"Origin": {"http://localhost:1"}, "Content-Type": {"application/json"}}, 403},
		{"an opaque origin", http.Header{"Origin": {"null"}}, 403},
		{"no origin, another page", http.Header{"Referer": {"http://evil.example/http://localhost:2019/"}}, 403},
		{"a broken referrer", http.Header{"Referer": {"http://[::1"}}, 403},
		{"an old browser's form", http.Header{"User-Agent": {browser}, "Content-Type": {"text/plain; application/json"}}, 415},
		{"an old browser's empty form", http.Header{"User-Agent": {browser}, "Content-Type": {"application/x-www-form-urlencoded"}}, 415},
		{"an old browser without a type", http.Header{"User-Agent": {browser}}, 415},
		{"the dashboard", http.Header{"Sec-Fetch-Site": {"same-origin"}, "Origin": {"http://localhost:2019"}, "User-Agent": {browser}, "Content-Type": {"application/json"}}, 0},
		{"the dashboard behind a proxy", http.Header{"Sec-Fetch-Site": {"same-origin"}, "User-Agent": {browser}, "Content-Type": {"application/json"}}, 0},
		{"the dashboard in an old browser", http.Header{"Origin": {"http://LOCALHOST:2019"}, "User-Agent": {browser}, "Content-Type": {"application/json"}}, 0},
		{"a program", http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "User-Agent": {"curl/8.0"}}, 0},
	}
	routes := 0
	for pattern, methods := range admin.Endpoints() {
		for _, method := range methods {
			if method == http.MethodGet {
				continue
			}
			routes++
			for _, test := range tests {
				state := s.app(t).Board().View().State
				r := httptest.NewRequestWithContext(t.Context(), method, "http://localhost:2019"+somewhere(pattern), strings.NewReader(`{"reason": "x"}`))
				r.Header = test.header.Clone()
				w := httptest.NewRecorder()
				mux.ServeHTTP(w, r)
				foreign := w.Code == http.StatusForbidden || w.Code == http.StatusUnsupportedMediaType
				if test.want != 0 && w.Code != test.want || test.want == 0 && foreign {
					t.Errorf("%s %s by %s: got %d: %s", method, pattern, test.name, w.Code, w.Body)
				}
				if test.want != 0 && s.app(t).Board().View().State != state {
					t.Errorf("%s %s by %s changed a switch", method, pattern, test.name)
				}
			}
		}
	}
	if routes < 9 {
		t.Errorf("only %d routes change something", routes)
	}
}

// somewhere fills in the names of a pattern.
func somewhere(pattern string) string {
	if strings.Contains(pattern, "/stores/") {
		pattern = strings.Replace(pattern, "{name}", "a", 1)
	}
	return strings.NewReplacer("{zone}", "z1", "{name}", "z1", "{store}", "a", "{action}", "open", "{id}", "1", "{file...}", "app.js").Replace(pattern)
}

// TestCaddyAndBrowsers pins what Caddy's admin endpoint lets browsers do: the
// dashboard and docs/dashboard.md are built on it.
func TestCaddyAndBrowsers(t *testing.T) {
	s := startSidecar(t, smallApp, smallSite)
	own := "http://" + s.admin
	check := func(what string, want int, header ...string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, own+"/firebreak/ui/", nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i+1 < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
			if header[i] == "Host" {
				req.Host = header[i+1]
			}
		}
		eventuallyOr(t, func() string { // after a reload the old endpoint may still answer
			res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
			if err != nil {
				return err.Error()
			}
			res.Body.Close()
			if res.StatusCode != want {
				return fmt.Sprintf("%s: got %s, want %d", what, res.Status, want)
			}
			return ""
		})
	}
	check("a program", 200)
	check("an address typed into a browser", 403, "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Site", "none")
	check("a link on a page of its own", 200, "Sec-Fetch-Mode", "navigate", "Referer", own+"/firebreak/ui/")
	check("a script of a page of its own", 200, "Sec-Fetch-Mode", "cors", "Referer", own+"/firebreak/ui/")
	check("a style sheet without crossorigin", 400, "Sec-Fetch-Mode", "no-cors", "Referer", own+"/firebreak/ui/")
	check("another page", 403, "Sec-Fetch-Mode", "cors", "Origin", "http://evil.example")
	check("another name for this address", 403, "Host", "evil.example")

	config, err := adapt(strings.Replace(s.caddyfile(smallApp, smallSite), "admin "+s.admin, fmt.Sprintf("admin %s {\norigins %s \"\"\n}", s.admin, s.admin), 1))
	if err != nil {
		t.Fatal(err)
	}
	if err := loadJSON(t, config); err != nil {
		t.Fatal(err)
	}
	check("an address typed into a browser", 200, "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Site", "none")
	check("another page", 403, "Sec-Fetch-Mode", "cors", "Origin", "http://evil.example")
	check("a link on another page", 403, "Sec-Fetch-Mode", "navigate", "Referer", "http://evil.example/")
	check("another name for this address", 403, "Host", "evil.example")
}

// TestHostileNames sends names and messages that are made to become markup or
// headers, and wants them inert in every answer.
func TestHostileNames(t *testing.T) {
	hostile := `"><script>alert(1)</script>` + "\u202etxt.exe"
	s := startSidecar(t, smallApp, smallSite)
	for _, path := range []string{
		"/firebreak/stores/" + url.PathEscape(hostile), "/firebreak/zones/" + url.PathEscape(hostile), "/firebreak/ui/" + url.PathEscape(hostile),
		"/firebreak/events?zone=" + url.QueryEscape(hostile+"\r\nSet-Cookie: a=b"), "/firebreak/ui/feed?zone=" + url.QueryEscape(hostile),
		"/firebreak/zones/z1/stores?match=" + url.QueryEscape(hostile), "/firebreak/zones/z1/stores?after=" + url.QueryEscape(hostile),
		"/firebreak/explain?url=" + url.QueryEscape("/?key="+hostile),
	} {
		res, body := s.ask(t, http.MethodGet, path)
		if strings.Contains(body, "<script>") || res.Header.Get("Set-Cookie") != "" {
			t.Errorf("%s: %s", path, body)
		}
		if got := res.Header.Get("X-Content-Type-Options"); got != "nosniff" {
			t.Errorf("%s: X-Content-Type-Options is %q", path, got)
		}
		if got := res.Header.Get("Content-Security-Policy"); !strings.HasPrefix(got, "default-src 'none'") {
			t.Errorf("%s: Content-Security-Policy is %q", path, got)
		}
	}
	s.send(t, http.MethodPut, "/firebreak/maintenance/zones/z1", `{"reason": "\u003cscript\u003e\r\n\r\nevent: pool", "message": "\r\nX-Evil: 1"}`)
	feed := s.listen(t, "/firebreak/ui/feed")
	tiles := feed.next(t, "tiles")
	if strings.Contains(tiles.raw, "<script>") || !strings.Contains(tiles.raw, `\r\n\r\nevent: pool`) {
		t.Errorf("the tiles are %s", tiles.raw)
	}
	if res, _ := s.get(t, "/?key=a"); res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("X-Evil") != "" {
		t.Errorf("the refusal is %s with headers %v", res.Status, res.Header)
	}
}

func TestStores(t *testing.T) {
	s := startSidecar(t, smallApp, smallSite)
	quarantine(t, s.app(t).Guard(), "z1", "b")
	s.send(t, http.MethodPut, "/firebreak/maintenance/stores/c", `{"reason": "x"}`)
	for _, test := range []struct {
		name, path string
		status     int
		want       []string
	}{
		{"all", "/firebreak/zones/z1/stores", 200, []string{`"total": 4`, `"store": "a"`, `"state": "open"`, `"maintenance": true`}},
		{"first page", "/firebreak/zones/z1/stores?limit=2", 200, []string{`"store": "b"`, `"next": "b"`}},
		{"last page", "/firebreak/zones/z1/stores?limit=2&after=b", 200, []string{`"store": "c"`, `"store": "d"`}},
		{"filtered", "/firebreak/zones/z2/stores?match=SLASH", 200, []string{`"store": "slash/store"`, `"total": 2`}},
		{"none", "/firebreak/zones/z2/stores?match=nothing", 200, []string{`"stores": []`}},
		{"gone", "/firebreak/zones/z1/stores?after=e", 410, []string{"begin anew"}},
		{"no such zone", "/firebreak/zones/zz1/stores", 404, []string{"did you mean z1?"}},
		{"bad limit", "/firebreak/zones/z1/stores?limit=0", 400, []string{"limit"}},
		{"fleet", "/firebreak/fleet", 200, []string{`"summary"`, `"instances"`}},
	} {
		t.Run(test.name, func(t *testing.T) {
			res, body := s.ask(t, http.MethodGet, test.path)
			if res.StatusCode != test.status {
				t.Errorf("got %s, want %d", res.Status, test.status)
			}
			for _, want := range test.want {
				if !strings.Contains(body, want) {
					t.Errorf("no %s in %s", want, body)
				}
			}
		})
	}
	if err := s.load("workers 4\ndirectory hash z1 z2", smallSite); err != nil {
		t.Fatal(err)
	}
	if res, body := s.ask(t, http.MethodGet, "/firebreak/zones/z1/stores"); res.StatusCode != http.StatusNotFound {
		t.Errorf("a directory that cannot list: %s: %s", res.Status, body)
	}
}
