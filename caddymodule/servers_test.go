package caddymodule_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

const perServer = `
		workers 8 per_server
		directory inline {
			zone z1 {
				stores a b c d
			}
			zone z2 {
				stores e f
			}
		}
		zone * {
			timeout 5s
		}`

// TestFreeWorkersDecide wants requests to go where most workers are free.
func TestFreeWorkersDecide(t *testing.T) {
	one, other := startServer(t), startServer(t)
	stuck := newGate(t)
	one.stuck.Store(stuck)
	s := startSidecar(t, perServer, behind("firebreak", one.address, other.address))
	for one.got.Load() == 0 { // until one request is stuck there
		go func() { _, _ = s.do(t.Context(), http.MethodGet, "/?key=a", nil) }()
		time.Sleep(50 * time.Millisecond)
	}
	before := one.got.Load()
	s.ok(t, http.MethodGet, 20)
	if got := one.got.Load() - before; got != 0 {
		t.Errorf("%d of 20 requests went to the server with a busy worker", got)
	}
	stuck.release()
	one.stuck.Store(nil)
	eventuallyOr(t, func() string { return s.wantBooked(t, 0) })
	s.ok(t, http.MethodGet, 40)
	if got := one.got.Load() - before; got < 5 {
		t.Errorf("%d of 40 requests went to the server whose workers are free again", got)
	}
}

// wantBooked says what is wrong if not so many slots are booked on all servers.
func (s *sidecar) wantBooked(t *testing.T, want int) string {
	t.Helper()
	sum := 0
	for _, server := range s.app(t).Guard().Servers() {
		sum += server.Occupied
	}
	if sum != want {
		return fmt.Sprintf("%d slots are booked, want %d", sum, want)
	}
	return ""
}

// TestUnsentByPolicy wants no request to be lost to a server that cannot be
// dialled, whatever the policy and the method, and none to be sent twice.
func TestUnsentByPolicy(t *testing.T) {
	for _, policy := range []string{"firebreak", "random"} {
		t.Run(policy, func(t *testing.T) {
			alive := startServer(t)
			s := startSidecar(t, perServer, behind(policy, freeAddress(t), alive.address, freeAddress(t)))
			s.ok(t, http.MethodPost, 30)
			s.ok(t, http.MethodGet, 30)
			if got := alive.got.Load(); got != 60 {
				t.Errorf("60 requests came as %d", got)
			}
			eventuallyOr(t, func() string { return s.wantBooked(t, 0) })
		})
	}
}

// TestAllUnsent wants a plain 502 if no server can be dialled.
func TestAllUnsent(t *testing.T) {
	s := startSidecar(t, perServer, behind("firebreak", freeAddress(t), freeAddress(t)))
	began := time.Now()
	if res, body := s.get(t, "/?key=a"); res.StatusCode != http.StatusBadGateway && res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("got %s %s", res.Status, body)
	}
	within(t, "the answer", time.Since(began), 0, 2*time.Second)
}

// TestDrain drains a server over the admin API and takes it back.
func TestDrain(t *testing.T) {
	one, other := startServer(t), startServer(t)
	s := startSidecar(t, perServer, behind("firebreak", one.address, other.address))
	path := "/firebreak/servers/" + url.PathEscape(one.address)
	s.mustSend(t, 404, "GET", path+"/drain", "")
	_, answer := s.mustSend(t, 201, "PUT", path+"/drain", `{"reason":"deploy","by":"ann","for":"1h"}`)
	if sw := answer["switch"].(map[string]any); answer["changed"] != true || sw["scope"] != "server" || sw["mode"] != "drain" || sw["until"] == nil {
		t.Errorf("answer is %v", answer)
	}
	s.ok(t, http.MethodGet, 20)
	if one.got.Load() != 0 || other.got.Load() != 20 {
		t.Errorf("the drained server got %d requests, the other %d", one.got.Load(), other.got.Load())
	}
	_, server := s.mustSend(t, 200, "GET", path, "")
	if server["draining"] != true || server["live"] != 0.0 || server["drain"].(map[string]any)["reason"] != "deploy" {
		t.Errorf("the server is %v", server)
	}
	if err := s.load(perServer, behind("firebreak", one.address, other.address)+"\n"); err != nil {
		t.Fatal(err)
	}
	s.ok(t, http.MethodGet, 10)
	if one.got.Load() != 0 {
		t.Error("a reload has ended the drain")
	}
	s.mustSend(t, 201, "PUT", "/firebreak/servers/"+url.PathEscape(other.address)+"/drain", "")
	s.ok(t, http.MethodGet, 5) // with all of them drained requests are served all the same
	_, answer = s.mustSend(t, 200, "DELETE", path+"/drain?by=ann", "")
	if fmt.Sprint(answer["cleared"]) != "[server "+one.address+"]" {
		t.Errorf("answer is %v", answer)
	}
	before := one.got.Load()
	s.ok(t, http.MethodGet, 10)
	if got := one.got.Load() - before; got != 10 {
		t.Errorf("the server that was taken back got %d of 10 requests", got)
	}
	_, answer = s.mustSend(t, 200, "DELETE", path+"/drain", "")
	if answer["changed"] != false {
		t.Errorf("answer is %v", answer)
	}
}

// TestDeclinedByPolicy wants a server that is drained to get no requests under a policy
// that does not know of it, and the requests to be served all the same when all are.
func TestDeclinedByPolicy(t *testing.T) {
	one, other := startServer(t), startServer(t)
	s := startSidecar(t, perServer, behind("round_robin", one.address, other.address))
	s.mustSend(t, 201, "PUT", "/firebreak/servers/"+url.PathEscape(one.address)+"/drain", "")
	s.ok(t, http.MethodPost, 20)
	if one.got.Load() != 0 || other.got.Load() != 20 {
		t.Errorf("the drained server got %d requests, the other %d", one.got.Load(), other.got.Load())
	}
	s.mustSend(t, 201, "PUT", "/firebreak/servers/"+url.PathEscape(other.address)+"/drain", "")
	s.ok(t, http.MethodPost, 20)
	eventuallyOr(t, func() string { return s.wantBooked(t, 0) })
}

func TestServersOfTheAdminAPI(t *testing.T) {
	one, other := startServer(t), startServer(t)
	s := startSidecar(t, perServer, behind("firebreak", one.address, other.address))
	res, text := s.ask(t, "GET", "/firebreak/servers")
	var list []struct {
		Address, State string
		Workers        int
	}
	if err := json.Unmarshal([]byte(text), &list); err != nil || res.StatusCode != 200 || len(list) != 2 || list[0].Workers != 8 || list[0].State != "in_service" {
		t.Errorf("%s: %v: %s", res.Status, err, text)
	}
	for path, want := range map[string]string{
		"/firebreak/servers/127.0.0.1:1":           "no server",
		"/firebreak/servers/unix%2F%2Frun%2Fx":     "no server",
		"/firebreak/servers/unix//run/x":           "nothing at",
		"/firebreak/servers/127.0.0.1:1/drain":     "no server",
		"/firebreak/servers/a%20b/drain":           "spaces or control",
		"/firebreak/servers/" + one.address + "/x": "nothing at",
	} {
		if res, text := s.send(t, "PUT", path, "{}"); res.StatusCode < 400 || res.StatusCode > 405 {
			t.Errorf("PUT %s: %s %s", path, res.Status, text)
		}
		if !strings.HasSuffix(path, "/drain") {
			if res, text := s.ask(t, "GET", path); res.StatusCode != 404 || !strings.Contains(text, want) {
				t.Errorf("GET %s: %s %s, want %q", path, res.Status, text, want)
			}
		}
	}
	for _, body := range []string{`{"message":"x"}`, `{"for":"-1h"}`, `{"for":"1h","until":"2099-01-01T00:00:00Z"}`, `{"until":"2001-01-01T00:00:00Z"}`, `[]`, `{"mode":"full"}`} {
		if res, text := s.send(t, "PUT", "/firebreak/servers/"+one.address+"/drain", body); res.StatusCode != 400 {
			t.Errorf("%s: %s %s", body, res.Status, text)
		}
	}
}
