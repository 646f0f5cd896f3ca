package caddymodule_test

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/firebreak-proxy/firebreak/routing"
)

// lookupService answers that store a… lives in zone za, and so on; those that
// begin with "no" are unknown. While hanging is set it does not answer.
type lookupService struct {
	*httptest.Server
	asked   atomic.Int32
	hanging atomic.Bool
}

func newLookupService(t *testing.T) *lookupService {
	t.Helper()
	s := new(lookupService)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked.Add(1)
		key := r.URL.Path[1:]
		switch {
		case s.hanging.Load():
			<-r.Context().Done()
		case strings.HasPrefix(key, "no"):
			http.NotFound(w, r)
		case key == "":
			fmt.Fprint(w, `{"stores":[{"store":"a1","zone":"za"},{"store":"b1","zone":"zb"}]}`)
		default:
			fmt.Fprintf(w, `{"store":%q,"zone":"z%c"}`, key, key[0])
		}
	}))
	t.Cleanup(s.Close)
	return s
}

const keyed = "firebreak {\n\tkey query key\n\t%s\n}\nrespond {http.firebreak.zone}"

func httpDirectory(s *lookupService, options string) string {
	return fmt.Sprintf("workers 32\ndirectory http %s/{key} {\n%s\n}", s.URL, options)
}

// TestHTTPDirectory: answers survive a reload, but not a change of the
// settings.
func TestHTTPDirectory(t *testing.T) {
	service := newLookupService(t)
	site := fmt.Sprintf(keyed, "")
	s := startSidecar(t, httpDirectory(service, "snapshot off"), site)
	zoneOf := func(key, want string) {
		t.Helper()
		if _, body := s.get(t, "/?key="+key); body != want {
			t.Errorf("%s: zone %q, want %q", key, body, want)
		}
	}
	zoneOf("a1", "za")
	zoneOf("a1", "za")
	zoneOf("no1", "unknown")
	zoneOf("no1", "unknown")
	if n := service.asked.Load(); n != 2 {
		t.Errorf("asked %d times, want 2", n)
	}
	if zones := s.app(t).Guard().ZoneNames(); !slices.Contains(zones, "za") {
		t.Errorf("the guard knows the zones %v", zones)
	}
	if _, ok := s.app(t).Directory().(routing.Lister); ok {
		t.Error("a directory without a list says that it can list")
	}
	// The admin API asks, too.
	if res, body := s.ask(t, http.MethodGet, "/firebreak/stores/b1"); res.StatusCode != http.StatusOK || !strings.Contains(body, "zb") {
		t.Errorf("%s: %s", res.Status, body)
	}
	asked := service.asked.Load()
	if err := s.load(httpDirectory(service, "snapshot off"), site); err != nil {
		t.Fatal(err)
	}
	zoneOf("a1", "za")
	if n := service.asked.Load(); n != asked {
		t.Errorf("asked %d times more after a reload", n-asked)
	}
	if err := s.load(httpDirectory(service, "snapshot off\nttl 1h"), site); err != nil {
		t.Fatal(err)
	}
	zoneOf("a1", "za")
	if n := service.asked.Load(); n != asked+1 {
		t.Errorf("asked %d times more after other settings, want 1", n-asked)
	}
	if _, metrics := s.ask(t, http.MethodGet, "/metrics"); !strings.Contains(metrics, `caddy_firebreak_directory_lookups_total{result="asked"} 1`) ||
		!strings.Contains(metrics, "\ncaddy_firebreak_directory_down 0\n") {
		t.Error("the metrics do not tell of the directory")
	}
}

// TestHTTPDirectoryList: with a list the directory can list, and its zones are
// known before any request.
func TestHTTPDirectoryList(t *testing.T) {
	service := newLookupService(t)
	s := startSidecar(t, httpDirectory(service, "list "+service.URL+"/"), fmt.Sprintf(keyed, ""))
	lister, ok := s.app(t).Directory().(routing.Lister)
	if !ok {
		t.Fatal("a directory with a list says that it cannot list")
	}
	eventually(t, "the zones are known", func() bool {
		return lister.Len() == 2 && slices.Contains(s.app(t).Guard().ZoneNames(), "zb")
	})
	asked := service.asked.Load()
	if _, body := s.get(t, "/?key=b1"); body != "zb" || service.asked.Load() != asked {
		t.Errorf("zone %q, asked %d times", body, service.asked.Load()-asked)
	}
}

// TestHTTPDirectoryHangs: a hung service costs a new store the timeout, three
// times, and a known one nothing.
func TestHTTPDirectoryHangs(t *testing.T) {
	service := newLookupService(t)
	s := startSidecar(t, httpDirectory(service, "snapshot off\ntimeout 100ms"), fmt.Sprintf(keyed, ""))
	s.get(t, "/?key=a1")
	service.hanging.Store(true)
	for n := range 20 {
		if _, body := s.get(t, fmt.Sprint("/?key=b", n)); body != "unknown" {
			t.Errorf("zone %q of a store that no source can be asked for", body)
		}
		if _, body := s.get(t, "/?key=a1"); body != "za" {
			t.Errorf("zone %q of a known store", body)
		}
	}
	if n := service.asked.Load(); n > 6 {
		t.Errorf("a service that hangs was asked %d times", n)
	}
	service.hanging.Store(false)
	eventually(t, "the service is found to be back", func() bool {
		_, body := s.get(t, "/?key=b99")
		return body == "zb"
	})
}

// TestValidateIsOffline: to validate a configuration opens no connection and
// writes nothing.
func TestValidateIsOffline(t *testing.T) {
	home := t.TempDir()
	t.Setenv("XDG_DATA_HOME", home)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	var calls atomic.Int32
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			calls.Add(1)
			conn.Close()
		}
	}()
	for _, directory := range []string{
		fmt.Sprintf("directory http http://%s/{key} {\nlist http://%[1]s/\n}", listener.Addr()),
		fmt.Sprintf("directory postgres postgres://firebreak@%s/shop {\ntable stores\nnotify stores\n}", listener.Addr()),
	} {
		text, err := adapt("{\nfirebreak {\nworkers 32\n" + directory + "\n}\n}\n:8080 {\nfirebreak {\nkey query key\n}\n}")
		if err != nil {
			t.Fatal(err)
		}
		var cfg caddy.Config
		if err := json.Unmarshal([]byte(text), &cfg); err != nil {
			t.Fatal(err)
		}
		if err := caddy.Validate(&cfg); err != nil {
			t.Error(err)
		}
	}
	time.Sleep(50 * time.Millisecond)
	if n := calls.Load(); n != 0 {
		t.Errorf("%d connections were made", n)
	}
	if found, _ := filepath.Glob(filepath.Join(home, "caddy", "firebreak", "*")); len(found) != 0 {
		t.Errorf("%v was written", found)
	}
}

// TestPostgresDirectoryAway: with the database away the sidecar starts, no
// request waits, and every key is unknown.
func TestPostgresDirectoryAway(t *testing.T) {
	address := freeAddress(t)
	s := startSidecar(t, fmt.Sprintf("workers 32\ndirectory postgres postgres://firebreak@%s/shop {\ntable stores\n}", address), fmt.Sprintf(keyed, ""))
	for range 3 {
		if _, body := s.get(t, "/?key=a1"); body != "unknown" {
			t.Errorf("zone %q", body)
		}
	}
	eventually(t, "the metrics say that the database is down", func() bool {
		_, metrics := s.ask(t, http.MethodGet, "/metrics")
		return strings.Contains(metrics, "\ncaddy_firebreak_directory_down 1\n")
	})
}

// TestUpstreamsByZone: each zone has its own API servers, and a store moves to
// others by a change of the directory alone.
func TestUpstreamsByZone(t *testing.T) {
	server := func(name string) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, name) }))
		t.Cleanup(s.Close)
		return s.Listener.Addr().String()
	}
	one, two, other := server("one"), server("two"), server("other")
	stores := filepath.Join(t.TempDir(), "stores.csv")
	put := func(text string) {
		t.Helper()
		if err := os.WriteFile(stores+".new", []byte("store,zone\n"+text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(stores+".new", stores); err != nil {
			t.Fatal(err)
		}
	}
	put("s1,z1\ns2,z2\ns3,z3\n")
	upstreams := fmt.Sprintf("zone z1 %s\nzone z2 %s\n", one, two)
	site := `
		handle /bare/* {
			reverse_proxy {
				dynamic firebreak {
					` + upstreams + `
				}
			}
		}
		firebreak /api* {
			key query key
		}
		handle /api {
			reverse_proxy {
				dynamic firebreak {
					` + upstreams + `
					default ` + other + `
				}
				transport firebreak
			}
		}
		handle /api/strict {
			reverse_proxy {
				dynamic firebreak {
					` + upstreams + `
				}
			}
		}`
	s := startSidecar(t, "workers 32\ndirectory file "+stores, site)
	wants := func(path, want string) {
		t.Helper()
		res, body := s.get(t, path)
		if got := fmt.Sprint(res.StatusCode, " ", body); strings.TrimSpace(got) != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	for range 3 {
		wants("/api?key=s1", "200 one")
		wants("/api?key=s2", "200 two")
	}
	wants("/api?key=s3", "200 other")
	wants("/api?key=nobody", "200 other")
	wants("/api/strict?key=s1", "200 one")
	wants("/api/strict?key=s3", "503")
	wants("/bare/x?key=s1", "503")
	put("s1,z2\ns2,z2\ns3,z3\n")
	eventually(t, "the store has moved", func() bool {
		_, body := s.get(t, "/api?key=s1")
		return body == "two"
	})
}

// TestSourceEnds: after reloads that change the directory, and after the end,
// nothing of a source is left behind.
func TestSourceEnds(t *testing.T) {
	service := newLookupService(t)
	site := fmt.Sprintf(keyed, "")
	s := startSidecar(t, httpDirectory(service, ""), site)
	for n := range 10 {
		directory := httpDirectory(service, fmt.Sprintf("ttl %dm\nlist %s/", n+1, service.URL))
		database := n%3 == 0
		if database { // one that hangs: the service does not speak its protocol
			directory = fmt.Sprintf("workers 32\ndirectory postgres postgres://u%d@%s/shop {\ntable stores\n}", n, service.Listener.Addr())
		}
		if err := s.load(directory, site); err != nil {
			t.Fatal(err)
		}
		if !database {
			s.get(t, "/?key=a1")
		}
	}
	running := func(packages ...string) (n int) {
		stacks := make([]byte, 1<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		for _, name := range packages {
			n += strings.Count(string(stacks), "firebreak/"+name)
		}
		return n
	}
	eventually(t, "the directory in force runs alone", func() bool {
		return running("routing/lookup.(*Directory).Run(", "routing/sqltable.(*Directory).Run(") == 1
	})
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "nothing runs", func() bool { return running("routing/", "maintenance.") == 0 })
}
