package caddymodule_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

func TestAdmin(t *testing.T) {
	s := startSidecar(t, smallApp+"\nzone z9 {\n\tmode observe\n}", smallSite)
	openZone(t, s.app(t).Guard())
	explain := func(target string) string { return "/firebreak/explain?url=" + url.QueryEscape(target) }
	for _, test := range []struct {
		name, method, path string
		status             int
		want               []string // in the body
	}{
		{"status", "GET", "/firebreak/status", 200, []string{`"workers": 32`, `"zone": "z1"`, `"stores": 6`, `"handlers": 1`}},
		{"zones", "GET", "/firebreak/zones", 200, []string{`"zone": "z1"`, `"state": "open"`, `"zone": "z2"`}},
		{"zone", "GET", "/firebreak/zones/z1", 200, []string{`"state": "open"`, `"retry_after_ms"`, `"evidence"`}},
		{"zone without requests", "GET", "/firebreak/zones/z2", 200, []string{`"state": "calm"`, `"quarantined": []`, `"culprits": []`}},
		{"zone with settings only", "GET", "/firebreak/zones/z9", 200, []string{`"state": "calm"`, `"observe": true`}},
		{"zone unknown", "GET", "/firebreak/zones/unknown", 200, []string{`"zone": "unknown"`, `"state": "calm"`}},
		{"no such zone", "GET", "/firebreak/zones/zz1", 404, []string{"did you mean z1?"}},
		{"head", "HEAD", "/firebreak/zones", 200, nil},
		{"store", "GET", "/firebreak/stores/a", 200, []string{`"zone": "z1"`, `"zone_state": "open"`, `"verdict": "refused"`, `"reason": "zone_open"`, `"found": "store"`}},
		{"store with a slash", "GET", "/firebreak/stores/slash%2Fstore", 200, []string{`"store": "slash/store"`, `"verdict": "admitted"`, `"recent": []`}},
		{"store with a slash, not escaped", "GET", "/firebreak/stores/slash/store", 404, []string{"%2F"}},
		{"no such store", "GET", "/firebreak/stores/nobody", 404, []string{"nobody", "zone unknown"}},
		{"culprits", "GET", "/firebreak/culprits", 200, nil},
		{"culprits of a zone", "GET", "/firebreak/culprits?zone=z2", 200, []string{"[]"}},
		{"culprits of no zone", "GET", "/firebreak/culprits?zone=zz", 404, []string{"no zone"}},
		{"explain refused", "GET", explain("/search?key=a"), 200, []string{`"key": "a"`, `"store": "a"`, `"zone": "z1"`, `"verdict": "refused"`, `"found_by": "query key"`}},
		{"explain admitted", "GET", explain("https://api.example.com/search?key=e"), 200, []string{`"zone": "z2"`, `"verdict": "admitted"`, `"timeout": "5s"`}},
		{"explain header", "GET", explain("/search") + "&method=post&header=X-Key:e", 200, []string{`"method": "POST"`, `"store": "e"`}},
		{"explain body", "GET", explain("/search") + "&method=POST&header=Content-Type:application/json&body=" + url.QueryEscape(`{"key":"e"}`), 200, []string{`"store": "e"`, `"found_by": "json key"`}},
		{"explain unknown key", "GET", explain("/search?key=who"), 200, []string{`no store has the key`, `"zone": "unknown"`}},
		{"explain no key", "GET", explain("/search"), 200, []string{`no key in the request`}},
		{"explain without url", "GET", "/firebreak/explain", 400, []string{"url is missing"}},
		{"explain bad header", "GET", explain("/") + "&header=nocolon", 400, []string{"no colon"}},
		{"explain bad method", "GET", explain("/") + "&method=A%20B", 400, []string{"no such request"}},
		{"wrong method", "POST", "/firebreak/status", 405, []string{"use GET"}},
		{"wrong method on a zone", "DELETE", "/firebreak/zones/z1", 405, []string{"use GET"}},
		{"no such path", "GET", "/firebreak/statsu", 404, []string{"did you mean /firebreak/status?"}},
		{"root", "GET", "/firebreak/", 404, []string{"/firebreak/status"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			resp, body := s.ask(t, test.method, test.path)
			if resp.StatusCode != test.status {
				t.Errorf("got %s, want %d: %s", resp.Status, test.status, body)
			}
			want := "application/json"
			if test.status >= 400 {
				want = "application/problem+json"
			}
			if got := resp.Header.Get("Content-Type"); got != want {
				t.Errorf("Content-Type is %q, want %q", got, want)
			}
			if got := resp.Header.Get("Cache-Control"); got != "no-store" {
				t.Errorf("Cache-Control is %q", got)
			}
			if got := resp.Header.Get("Allow"); (got != "") != (test.status == http.StatusMethodNotAllowed) {
				t.Errorf("Allow is %q", got)
			}
			if test.method != http.MethodHead && !json.Valid([]byte(body)) {
				t.Errorf("no JSON: %s", body)
			}
			for _, want := range test.want {
				if !strings.Contains(body, want) {
					t.Errorf("no %s in %s", want, body)
				}
			}
		})
	}
}

func TestAdminExplainUnknownRefused(t *testing.T) {
	s := startSidecar(t, smallApp, "firebreak {\n\tkey query key\n\tunknown refuse\n\ttimeout 2s\n}")
	_, body := s.ask(t, http.MethodGet, "/firebreak/explain?url=%2F%3Fkey%3Dwho")
	for _, want := range []string{`"verdict": "refused"`, `"reason": "unknown_store"`} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s in %s", want, body)
		}
	}
	_, body = s.ask(t, http.MethodGet, "/firebreak/explain?url=%2F%3Fkey%3Da")
	if !strings.Contains(body, `"timeout": "2s"`) {
		t.Errorf("the handler's timeout is not in %s", body)
	}
}

func TestAdminExplainAmbiguous(t *testing.T) {
	const target = "/firebreak/explain?url=%2F%3Fkey%3Da%26key%3Db"
	for option, want := range map[string][]string{
		"": {
			`"verdict": "refused"`, `"reason": "ambiguous_key"`, `"found_by": "query key"`,
			`"why": "the request carries two different values for query key: a, b"`,
		},
		"ambiguous unknown": {
			`"verdict": "admitted"`, `"zone": "unknown"`,
			`"why": "the request carries two different values for query key: a, b; it shares the limits of zone unknown`,
		},
		"ambiguous last": {`"verdict": "admitted"`, `"key": "b"`, `"found_by": "query key"`},
	} {
		s := startSidecar(t, smallApp, "firebreak {\n\tkey header X-API-Key\n\tkey query key "+option+"\n}")
		_, body := s.ask(t, http.MethodGet, target)
		for _, want := range want {
			if !strings.Contains(body, want) {
				t.Errorf("%s: no %s in %s", option, want, body)
			}
		}
	}
}

func TestAdminWithoutFirebreak(t *testing.T) {
	s := &sidecar{admin: freeAddress(t)}
	config := fmt.Sprintf(`{"admin":{"listen":%q,"config":{"persist":false}}}`, s.admin)
	if err := caddy.Load([]byte(config), true); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
	})
	resp, body := s.ask(t, http.MethodGet, "/firebreak/status")
	if resp.StatusCode != http.StatusServiceUnavailable || !strings.Contains(body, "workers N") {
		t.Errorf("got %s %s, want 503 and what to add", resp.Status, body)
	}
}
