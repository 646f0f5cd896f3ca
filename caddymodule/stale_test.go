package caddymodule_test

import (
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
)

// shop is an API server that says in each answer for whom it is and which version
// of the data it has read.
type shop struct {
	version atomic.Int64
	hangs   atomic.Bool
	stuck   *gate
}

func (s *shop) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.hangs.Load() {
		s.stuck.wait()
	}
	h := w.Header()
	h.Set("Content-Type", "text/plain")
	h.Set("Etag", fmt.Sprintf(`"v%d"`, s.version.Load()))
	switch r.URL.Path {
	case "/cookie":
		h.Set("Set-Cookie", "a=b")
	case "/chunked":
		_, _ = io.WriteString(w, "first ")
		_ = http.NewResponseController(w).Flush()
	case "/cut":
		h.Set("Content-Length", "1000")
	}
	fmt.Fprintf(w, "%s for %s, version %d", r.URL.Path, r.URL.Query().Get("key"), s.version.Load())
}

const staleOption = "stale 10m {\nrefresh 1s\n}"

// startShop starts a shop behind Caddy: site is what comes before reverse_proxy.
func startShop(t *testing.T, handler, site, via string) (*sidecar, *shop) {
	t.Helper()
	api := &shop{stuck: newGate(t)}
	address := newUpstream(t, api.ServeHTTP)
	return startSidecar(t, fmt.Sprintf(fastApp, "hung_hold 2s"), fmt.Sprintf(guarded, handler, fmt.Sprintf("reverse_proxy %s {\n%s\n}\n%s", address, via, site))), api
}

// warm asks for pages twice, so that their answers are copied.
func (s *sidecar) warm(t *testing.T, paths ...string) {
	t.Helper()
	for _, path := range paths {
		for range 2 {
			if res, body := s.get(t, path); res.StatusCode != 200 || res.Header.Get("Cache-Status") != "" {
				t.Fatalf("%s: %s %s, %v", path, res.Status, body, res.Header)
			}
		}
	}
}

// TestStale: while a zone is open its stores get what they got before, with the marks
// of an old answer, and only what was made for them.
func TestStale(t *testing.T) {
	bothWays(t, func(t *testing.T, via string) {
		s, _ := startShop(t, staleOption, "", via)
		s.warm(t, "/page?key=a", "/chunked?key=a", "/page?key=b")
		for _, path := range []string{"/cookie?key=a", "/cookie?key=a", "/once?key=a"} {
			s.get(t, path)
		}
		openZone(t, s.app(t).Guard())
		ok := outcomesOf(s, t)
		for _, path := range []string{"/page?key=a", "/chunked?key=a", "/page?key=b"} {
			res, body := s.get(t, path)
			page, _, _ := strings.Cut(path, "?")
			want := page + " for " + path[len(path)-1:] + ", version 0"
			if res.StatusCode != 200 || !strings.HasSuffix(body, want) {
				t.Errorf("%s: %s %q, want %q", path, res.Status, body, want)
			}
			if h := res.Header; h.Get("Cache-Status") != "firebreak; hit; fwd=stale; detail=zone_open" || h.Get("Firebreak-Refusal") != "zone_open" || h.Get("Age") == "" || h.Get("Retry-After") != "" {
				t.Errorf("%s: header %v", path, h)
			}
		}
		for _, path := range []string{"/page?key=c", "/other?key=a", "/cookie?key=a", "/once?key=a"} {
			if res, body := s.get(t, path); res.StatusCode != 503 {
				t.Errorf("%s: %s %s, want 503", path, res.Status, body)
			}
		}
		if res, body := s.get(t, "/page?key=a", "If-None-Match", `"v0"`); res.StatusCode != 304 || body != "" || res.Header.Get("Etag") != `"v0"` {
			t.Errorf("conditional: %s %q", res.Status, body)
		}
		if res, _ := s.get(t, "/page?key=a", "Range", "bytes=0-1"); res.StatusCode != 503 {
			t.Errorf("Range: %s", res.Status)
		}
		if res, _ := s.get(t, "/page?key=a", "Authorization", "Bearer x"); res.StatusCode != 503 {
			t.Errorf("another credential: %s", res.Status)
		}
		res, err := s.do(t.Context(), http.MethodHead, "/page?key=a", nil)
		if err != nil || res.StatusCode != 200 || res.ContentLength != int64(len("/page for a, version 0")) {
			t.Errorf("HEAD: %v, %v", res, err)
		}
		if res, err := s.do(t.Context(), http.MethodPost, "/page?key=a", strings.NewReader("x")); err != nil || res.StatusCode != 503 {
			t.Errorf("POST: %v, %v", res, err)
		}
		if now := outcomesOf(s, t); now != ok {
			t.Errorf("answers from memory count as outcomes: %v, before %v", now, ok)
		}
		_, body := s.ask(t, "GET", "/metrics")
		for _, line := range []string{
			`caddy_firebreak_stale_entries 3`, `caddy_firebreak_stale_answers_total{reason="zone_open"} `, `caddy_firebreak_zone_stale_answers_total{zone="z1"} `,
			`caddy_firebreak_stale_max_bytes 6.7108864e+07`,
		} {
			if !strings.Contains(body, line) {
				t.Errorf("no %s in the metrics", line)
			}
		}
	})
}

// outcomesOf is what the guard has counted of zone z1.
func outcomesOf(s *sidecar, t *testing.T) [2]uint64 {
	t.Helper()
	for _, z := range s.app(t).Guard().Counters().Zones {
		if z.Zone == "z1" {
			return [2]uint64{z.Outcomes[breaker.OK], z.Outcomes[breaker.Slow]}
		}
	}
	return [2]uint64{}
}

// TestStaleAtDeadline: who would get 504 gets the last good answer; the worker stays
// on the books, and what it answers later is given to nobody.
func TestStaleAtDeadline(t *testing.T) {
	bothWays(t, func(t *testing.T, via string) {
		s, api := startShop(t, staleOption, "", via)
		s.warm(t, "/page?key=a")
		api.hangs.Store(true)
		res, body := s.get(t, "/page?key=a")
		if res.StatusCode != 200 || body != "/page for a, version 0" || res.Header.Get("Cache-Status") != "firebreak; hit; fwd=stale; detail=hung" {
			t.Errorf("%s %q %v", res.Status, body, res.Header)
		}
		if res, body := s.get(t, "/other?key=e"); res.StatusCode != 504 || res.Header.Get("Firebreak-Refusal") != "hung" {
			t.Errorf("%s %s, want 504", res.Status, body)
		}
		if hung := s.app(t).Guard().Status().Hung; hung != 2 {
			t.Errorf("%d workers hang, want 2", hung)
		}
	})
}

// TestStaleSwitches: stale off, purges, maintenance with and without --stale.
func TestStaleSwitches(t *testing.T) {
	s, api := startShop(t, staleOption, "", viaFirebreak)
	given := func(store string) bool {
		res, _ := s.get(t, "/page?key="+store)
		return res.Header.Get("Cache-Status") != ""
	}
	want := func(when string, store string, want bool) {
		t.Helper()
		if given(store) != want {
			t.Errorf("%s: store %s is answered from memory: %t, want %t", when, store, !want, want)
		}
	}
	s.warm(t, "/page?key=a", "/page?key=b", "/page?key=e")
	s.mustSend(t, 201, "PUT", "/firebreak/maintenance/zones/z1", `{"stale":true}`)
	want("maintenance with stale", "a", true)
	s.mustSend(t, 201, "PUT", "/firebreak/stale/off", `{"reason":"wrong prices","by":"ann"}`)
	want("stale off", "a", false)
	_, shown := s.mustSend(t, 200, "GET", "/firebreak/stale", "")
	if off, _ := shown["off"].(map[string]any); off["reason"] != "wrong prices" || shown["answers"] != 3.0 {
		t.Errorf("GET /firebreak/stale: %v", shown)
	}
	s.mustSend(t, 200, "DELETE", "/firebreak/stale/off", "")
	want("stale on", "a", true)

	s.mustSend(t, 200, "PUT", "/firebreak/maintenance/zones/z1", `{}`)
	want("maintenance without stale", "a", false)
	s.mustSend(t, 200, "PUT", "/firebreak/maintenance/zones/z1", `{"stale":true}`)
	want("maintenance with stale again", "a", true)

	// A repair: a store that is released has none of its old answers.
	api.version.Store(1)
	s.mustSend(t, 200, "DELETE", "/firebreak/maintenance/stores/a", "")
	stuck := quarantineOf(t, s, "a")
	defer stuck()
	want("after its release", "a", false)
	want("not released", "b", true)
	s.mustSend(t, 200, "POST", "/firebreak/stale/purge", `{"store":"b"}`)
	want("purged", "b", false)
	s.mustSend(t, 201, "PUT", "/firebreak/maintenance/all", `{"stale":true}`)
	want("another zone", "e", true)
	s.mustSend(t, 200, "POST", "/firebreak/stale/purge", `{"zone":"z2"}`)
	want("zone purged", "e", false)
	for _, body := range []string{`{}`, `{"all":true,"zone":"z1"}`} {
		if res, answer := s.send(t, "POST", "/firebreak/stale/purge", body); res.StatusCode != 400 {
			t.Errorf("purge %s: %s %s", body, res.Status, answer)
		}
	}
}

// quarantineOf isolates a store, as a breaker would.
func quarantineOf(t *testing.T, s *sidecar, store string) (end func()) {
	t.Helper()
	s.mustSend(t, 200, "POST", "/firebreak/stores/"+store+"/isolate", `{"reason":"test"}`)
	return func() { s.mustSend(t, 200, "POST", "/firebreak/stores/"+store+"/auto", `{}`) }
}

// TestStaleReleaseRace: from the moment that a store is released on, nobody gets an
// answer of it from before.
func TestStaleReleaseRace(t *testing.T) {
	s, api := startShop(t, staleOption, "", viaFirebreak)
	s.warm(t, "/page?key=a")
	stop := make(chan struct{})
	var work sync.WaitGroup
	var data sync.RWMutex // write-locked while data is repaired and released
	seen := map[string]int{}
	for range 2 {
		work.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				data.RLock()
				version := api.version.Load()
				res, body := s.get(t, "/page?key=a")
				data.RUnlock()
				if res.StatusCode == 200 && !strings.HasSuffix(body, fmt.Sprint("version ", version)) {
					t.Errorf("after the release with version %d: %q, %v", version, body, res.Header)
					return
				}
				data.Lock()
				seen[res.Header.Get("Cache-Status")]++
				data.Unlock()
			}
		})
	}
	for range 15 {
		s.mustSend(t, 201, "PUT", "/firebreak/maintenance/stores/a", `{"stale":true}`)
		time.Sleep(20 * time.Millisecond)
		data.Lock()
		api.version.Add(1) // the repair
		s.mustSend(t, 200, "DELETE", "/firebreak/maintenance/stores/a", "")
		data.Unlock()
		time.Sleep(20 * time.Millisecond)
	}
	close(stop)
	work.Wait()
	if seen["firebreak; hit; fwd=stale; detail=maintenance"] == 0 || seen[""] == 0 {
		t.Errorf("the test shows nothing: %v", seen)
	}
}

// TestStaleHandleErrors: handle_errors and encode see an answer from memory as any
// other answer.
func TestStaleHandleErrors(t *testing.T) {
	s, _ := startShop(t, "refuse error\n"+staleOption, "encode gzip {\nminimum_length 1\n}\nhandle_errors {\nrespond \"{err.status_code} {http.firebreak.refusal}\"\n}", viaFirebreak)
	s.warm(t, "/page?key=a")
	openZone(t, s.app(t).Guard())
	if res, body := s.get(t, "/page?key=a"); res.StatusCode != 200 || body != "/page for a, version 0" {
		t.Errorf("%s %q", res.Status, body)
	}
	if res, body := s.get(t, "/page?key=b"); res.StatusCode != 503 || body != "503 zone_open" {
		t.Errorf("%s %q", res.Status, body)
	}
	res, _ := s.get(t, "/page?key=a", "Accept-Encoding", "gzip")
	if res.StatusCode != 200 || res.Header.Get("Content-Encoding") != "gzip" || res.Header.Get("Cache-Status") == "" {
		t.Errorf("encoded: %s %v", res.Status, res.Header)
	}
}

// TestStaleEncodedUpstream: what the API server has compressed goes only to those who
// take it.
func TestStaleEncodedUpstream(t *testing.T) {
	address := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.Header.Get("Accept-Encoding"), "zstd") {
			w.Header().Set("Content-Encoding", "zstd")
		}
		_, _ = io.WriteString(w, "(compressed or not)")
	})
	s := startGuarded(t, "", staleOption, fmt.Sprintf("reverse_proxy %s {\n%s\n}", address, viaFirebreak))
	for range 2 {
		s.get(t, "/?key=a", "Accept-Encoding", "zstd")
	}
	openZone(t, s.app(t).Guard())
	if res, _ := s.get(t, "/?key=a", "Accept-Encoding", "gzip, zstd"); res.StatusCode != 200 || res.Header.Get("Content-Encoding") != "zstd" {
		t.Errorf("zstd: %s %v", res.Status, res.Header)
	}
	if res, _ := s.get(t, "/?key=a", "Accept-Encoding", "gzip"); res.StatusCode != 503 {
		t.Errorf("gzip only: %s", res.Status)
	}
}

// TestStaleHTTP2: over TLS and HTTP/2; the scheme is part of the key.
func TestStaleHTTP2(t *testing.T) {
	api := &shop{stuck: newGate(t)}
	s, address, trust := startSecure(t, "key query key\n"+staleOption, fmt.Sprintf("reverse_proxy %s", newUpstream(t, api.ServeHTTP)))
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: trust, ForceAttemptHTTP2: true}, Timeout: 10 * time.Second}
	t.Cleanup(client.CloseIdleConnections)
	get := func() (*http.Response, string) {
		t.Helper()
		res, err := client.Get("https://localhost:" + address[strings.LastIndex(address, ":")+1:] + "/page?key=a")
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, _ := io.ReadAll(res.Body)
		return res, string(body)
	}
	get()
	get()
	openZone(t, s.app(t).Guard())
	if res, body := get(); res.ProtoMajor != 2 || res.StatusCode != 200 || body != "/page for a, version 0" || res.Header.Get("Age") == "" {
		t.Errorf("HTTP/%d %s %q", res.ProtoMajor, res.Status, body)
	}
}

// TestStaleReload: answers outlive a reload; a handler of another place does not give
// them.
func TestStaleReload(t *testing.T) {
	api := &shop{stuck: newGate(t)}
	address := newUpstream(t, api.ServeHTTP)
	app := fmt.Sprintf(fastApp, "hung_hold 2s")
	site := func(handler string) string {
		return fmt.Sprintf(guarded, handler, fmt.Sprintf("reverse_proxy %s", address))
	}
	s := startSidecar(t, app, site(staleOption))
	s.warm(t, "/page?key=a")
	if err := s.load(app, site("expose store\n"+staleOption)); err != nil {
		t.Fatal(err)
	}
	openZone(t, s.app(t).Guard())
	if res, body := s.get(t, "/page?key=a"); res.StatusCode != 200 {
		t.Errorf("after a reload: %s %s", res.Status, body)
	}
	if err := s.load(app, "@other header X-Other *\nfirebreak @other {\nkey query key\n}\n"+site(staleOption)); err != nil {
		t.Fatal(err)
	}
	if res, body := s.get(t, "/page?key=a"); res.StatusCode != 503 {
		t.Errorf("handlers were added before it: %s %s", res.Status, body)
	}
	if err := s.load(app, site("")); err != nil {
		t.Fatal(err)
	}
	if _, shown := s.mustSend(t, 200, "GET", "/firebreak/stale", ""); shown["answers"] != 0.0 || shown["max_bytes"] != 0.0 {
		t.Errorf("without the option: %v", shown)
	}
}

// TestStaleLog: the access log has an outcome of its own for answers from memory.
func TestStaleLog(t *testing.T) {
	log := filepath.Join(t.TempDir(), "access.log")
	s, _ := startShop(t, staleOption, "log {\noutput file "+log+"\n}", viaFirebreak)
	s.warm(t, "/page?key=a")
	openZone(t, s.app(t).Guard())
	s.get(t, "/page?key=a")
	eventually(t, "a line in the access log", func() bool {
		for _, line := range logLines(t, log, "handled request") {
			if line["firebreak_outcome"] == "stale" && line["firebreak_refusal"] == "zone_open" && line["status"] == 200.0 {
				return true
			}
		}
		return false
	})
}

// TestStaleIncomplete: what next says without ending well is not kept.
func TestStaleIncomplete(t *testing.T) {
	var broken atomic.Bool
	s := startNext(t, "", staleOption, func(w http.ResponseWriter, _ *http.Request) error {
		_, _ = io.WriteString(w, "half")
		if broken.Load() {
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}
		return nil
	})
	broken.Store(true)
	for range 3 {
		if res, err := s.do(t.Context(), http.MethodGet, "/?key=a", nil); err == nil {
			_, _ = io.ReadAll(res.Body)
			res.Body.Close()
		}
	}
	broken.Store(false)
	if _, shown := s.mustSend(t, 200, "GET", "/firebreak/stale", ""); shown["answers"] != 0.0 {
		t.Errorf("kept: %v", shown)
	}
}
