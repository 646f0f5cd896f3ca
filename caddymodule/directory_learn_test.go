package caddymodule_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// teacher is an API server that says in its responses where stores live.
type teacher struct {
	*httptest.Server
	mu    sync.Mutex
	zones map[string]string // by store; others are answered without a word
	seen  http.Header       // of the last request
}

func newTeacher(t *testing.T) *teacher {
	t.Helper()
	api := &teacher{zones: map[string]string{"s1": "z1", "s2": "z2"}}
	api.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		api.mu.Lock()
		defer api.mu.Unlock()
		api.seen = r.Header.Clone()
		store := strings.TrimPrefix(r.URL.Query().Get("key"), "key-")
		if zone, ok := api.zones[store]; ok {
			w.Header().Set("X-Firebreak-Zone", zone)
			w.Header().Set("X-Firebreak-Store", store)
		}
		if r.URL.Query().Has("hints") {
			w.WriteHeader(http.StatusEarlyHints)
		}
		if r.URL.Query().Has("broken") {
			w.WriteHeader(http.StatusInternalServerError)
		}
		fmt.Fprint(w, "answer")
	}))
	t.Cleanup(api.Close)
	return api
}

func (api *teacher) move(store, zone string) {
	api.mu.Lock()
	defer api.mu.Unlock()
	api.zones[store] = zone
}

func (api *teacher) site(handler string) string {
	return fmt.Sprintf(guarded, handler, fmt.Sprintf("reverse_proxy %s {\nheader_down X-Seen-Zone {http.firebreak.zone}\n%s\n}", strings.TrimPrefix(api.URL, "http://"), viaFirebreak))
}

// asked sends a request, and wants it counted in this zone and nothing of the
// directory's in the response.
func (s *sidecar) asked(t *testing.T, query, zone string, header ...string) {
	t.Helper()
	res, body := s.get(t, "/?"+query, header...)
	if got := res.Header.Get("X-Seen-Zone"); got != zone || body != "answer" {
		t.Errorf("%s: zone %q, %q; want zone %q", query, got, body, zone)
	}
	for _, name := range []string{"X-Firebreak-Zone", "X-Firebreak-Store"} {
		if value, ok := res.Header[name]; ok {
			t.Errorf("%s: the client got %s: %s", query, name, value)
		}
	}
}

// TestLearnedDirectory: the first response teaches, the next one corrects a move, for
// all keys of the store.
func TestLearnedDirectory(t *testing.T) {
	api := newTeacher(t)
	app := "workers 32\ndirectory learn header x-firebreak-zone X-Firebreak-Store"
	s := startSidecar(t, app, api.site(""))
	s.asked(t, "key=key-s1", "unknown")
	s.asked(t, "key=key-s1", "z1")
	s.asked(t, "key=s1", "z1") // operators name stores by their ids
	s.asked(t, "key=s2&broken&hints", "unknown")
	s.asked(t, "key=s2&hints", "z2")
	s.asked(t, "key=nobody", "unknown")
	s.asked(t, "key=nobody", "unknown")
	api.move("s1", "z3")
	s.asked(t, "key=s1", "z1")
	s.asked(t, "key=key-s1", "z3")
	if zone := s.zone(t, "z3"); zone.Zone != "z3" {
		t.Errorf("the guard does not know z3: %+v", zone)
	}
	if err := s.load(app, api.site("unknown pass")); err != nil {
		t.Fatal(err)
	}
	s.asked(t, "key=key-s1", "z3") // a reload keeps what was learned
}

// TestLearnedNotFromClients: a request's own header teaches nothing, and does not
// reach the API server, which might echo it.
func TestLearnedNotFromClients(t *testing.T) {
	api := newTeacher(t)
	s := startSidecar(t, "workers 32\ndirectory learn header X-Firebreak-Zone X-Firebreak-Store", api.site(""))
	for range 2 {
		s.asked(t, "key=nobody", "unknown", "X-Firebreak-Zone", "z1", "X-Firebreak-Store", "s1")
	}
	api.mu.Lock()
	defer api.mu.Unlock()
	if api.seen.Get("X-Firebreak-Zone") != "" || api.seen.Get("X-Firebreak-Store") != "" {
		t.Errorf("the API server got %v", api.seen)
	}
}

// TestLearnedFallback: a table answers until a response does, and what was learned is
// right.
func TestLearnedFallback(t *testing.T) {
	api := newTeacher(t)
	table := filepath.Join(t.TempDir(), "stores.csv")
	if err := os.WriteFile(table, []byte("store,zone\ns1,old\ns9,z9\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := startSidecar(t, "workers 32\ndirectory learn header X-Firebreak-Zone X-Firebreak-Store {\nfallback file "+table+"\nsnapshot off\n}", api.site("unknown refuse"))
	s.asked(t, "key=s1", "old")
	s.asked(t, "key=s1", "z1")
	s.asked(t, "key=s9", "z9")
	_, body := s.ask(t, http.MethodGet, "/firebreak/zones/old/stores")
	if strings.Contains(body, `"s1"`) {
		t.Errorf("s1 is still listed in zone old: %s", body)
	}
	if _, body := s.ask(t, http.MethodGet, "/firebreak/zones/z1/stores"); !strings.Contains(body, `"s1"`) {
		t.Errorf("s1 is not listed in zone z1: %s", body)
	}
	if _, body := s.ask(t, http.MethodGet, "/firebreak/status"); !strings.Contains(body, `"stores": 2`) {
		t.Errorf("not two stores: %s", body)
	}
}

// TestLearnedRefuse: with unknown refuse alone nothing would ever be learned.
func TestLearnedRefuse(t *testing.T) {
	api := newTeacher(t)
	s := startSidecar(t, "workers 32", "respond ok")
	err := s.load("workers 32\ndirectory learn header X-Firebreak-Zone", api.site("unknown refuse"))
	if err == nil || !strings.Contains(err.Error(), "no store would ever become known") {
		t.Errorf("it loads: %v", err)
	}
}
