package caddymodule_test

import (
	"cmp"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// checkedAPI is an API server whose stores can be ill.
type checkedAPI struct {
	*httptest.Server
	mu     sync.Mutex
	sick   map[string]bool
	checks []string // in order
}

func newCheckedAPI(t *testing.T, sick ...string) *checkedAPI {
	t.Helper()
	t.Setenv("CHECK_TOKEN", "secret")
	api := &checkedAPI{sick: map[string]bool{}}
	for _, store := range sick {
		api.sick[store] = true
	}
	api.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		store := r.URL.Query().Get("key")
		api.mu.Lock()
		defer api.mu.Unlock()
		api.checks = append(api.checks, store)
		if api.sick[store] {
			http.Error(w, "row damaged", http.StatusInternalServerError)
			return
		}
		fmt.Fprintf(w, `{"ok":true,"zone":%q,"token":%q}`, r.Header.Get("X-Zone"), r.Header.Get("X-Token"))
	}))
	t.Cleanup(api.Close)
	return api
}

// recoveryApp is smallApp with a check.
func (api *checkedAPI) app(options string) string {
	return smallApp + fmt.Sprintf(`
		check GET /internal/check?key={store} {
			to %s
			header X-Zone {zone}
			header X-Token {env.CHECK_TOKEN}
			body_contains "\"z1\",\"token\":\"secret\""
			retries 0
			%s
		}`, strings.TrimPrefix(api.URL, "http://"), cmp.Or(options, "every 100ms"))
}

// recovered waits until a recovery has ended, and returns it.
func (s *sidecar) recovered(t *testing.T, id, state string) (answer map[string]any) {
	t.Helper()
	eventuallyOr(t, func() string {
		_, answer = s.mustSend(t, 200, "GET", "/firebreak/recoveries/"+id, "")
		if answer["state"] == state {
			return ""
		}
		return fmt.Sprintf("the recovery is %v, want it to be %s", answer, state)
	})
	return answer
}

func TestRecovery(t *testing.T) {
	api := newCheckedAPI(t, "b")
	s := startSidecar(t, api.app(""), maintenanceSite)
	s.mustSend(t, 409, "POST", "/firebreak/recoveries", `{"zone":"z1"}`)
	s.mustSend(t, 201, "PUT", "/firebreak/maintenance/zones/z1", `{"reason":"disk"}`)
	for range 3 {
		s.wantMaintenance(t, "c", true) // its clients knock
	}
	res, began := s.mustSend(t, 201, "POST", "/firebreak/recoveries", `{"zone":"z1","by":"ann","parallel":1}`)
	id := fmt.Sprint(began["id"])
	if res.Header.Get("Location") != "/firebreak/recoveries/"+id {
		t.Errorf("Location is %q", res.Header.Get("Location"))
	}
	_, problem := s.mustSend(t, 409, "POST", "/firebreak/recoveries", `{"stores":["a"]}`)
	if !strings.Contains(fmt.Sprint(problem["detail"]), id) {
		t.Errorf("a second recovery: %v", problem["detail"])
	}
	ended := s.recovered(t, id, "done")
	if ended["failing"] != 1.0 || ended["released"] != ended["total"].(float64)-1 {
		t.Errorf("it ended as %v", ended)
	}
	failure := ended["failures"].([]any)[0].(map[string]any)
	if failure["store"] != "b" || failure["reason"] != "status 500: row damaged" {
		t.Errorf("failure is %v", failure)
	}
	s.wantMaintenance(t, "a", false)
	s.wantMaintenance(t, "b", true)
	if api.checks[0] != "c" {
		t.Errorf("the first check was for %s, but the clients of c knock", api.checks[0])
	}
	for _, store := range []string{"a", "c"} {
		n := len(slices.DeleteFunc(slices.Clone(api.checks), func(s string) bool { return s != store }))
		if n != 2 {
			t.Errorf("store %s was checked %d times", store, n)
		}
	}
	if _, page := s.mustSend(t, 200, "GET", "/firebreak/recoveries/"+id+"?state=failing&limit=10", ""); len(page["stores"].([]any)) != 1 {
		t.Errorf("failing stores: %v", page["stores"])
	}
	if _, list := s.mustSend(t, 200, "GET", "/firebreak/recoveries", ""); len(list["recoveries"].([]any)) != 1 {
		t.Errorf("list: %v", list)
	}

	api.mu.Lock()
	api.sick = nil
	api.mu.Unlock()
	_, again := s.mustSend(t, 201, "POST", "/firebreak/recoveries", `{"zone":"z1"}`)
	s.recovered(t, fmt.Sprint(again["id"]), "done")
	if _, list := s.mustSend(t, 200, "GET", "/firebreak/maintenance", ""); list["total"] != 0.0 {
		t.Errorf("all stores are back, but switches are left: %v", list)
	}
}

// TestRecoverySurvives reloads the configuration, with other settings, and
// stops all of Caddy in the middle of recoveries.
func TestRecoverySurvives(t *testing.T) {
	api := newCheckedAPI(t)
	s := startSidecar(t, api.app("every 100ms\ntimes 5"), maintenanceSite)
	s.mustSend(t, 201, "PUT", "/firebreak/maintenance/zones/z1", "")
	_, began := s.mustSend(t, 201, "POST", "/firebreak/recoveries", `{"zone":"z1"}`)
	id := fmt.Sprint(began["id"])
	if err := s.load(api.app("every 100ms\nparallel 2"), maintenanceSite); err != nil {
		t.Fatal(err)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	broken := *s
	broken.site = taken.Addr().String()
	if err := broken.load(smallApp, maintenanceSite); err == nil { // one without a check
		t.Fatal("a configuration loads that cannot")
	}
	if ended := s.recovered(t, id, "done"); ended["times"] != 5.0 || ended["released"] != ended["total"] {
		t.Errorf("it ended as %v", ended)
	}
	s.mustSend(t, 201, "PUT", "/firebreak/maintenance/zones/z1", "")
	_, began = s.mustSend(t, 201, "POST", "/firebreak/recoveries", `{"zone":"z1","every":"300ms","by":"ann"}`)
	id = fmt.Sprint(began["id"])
	s.mustSend(t, 200, "POST", "/firebreak/recoveries/"+id+"/pause", `{"by":"bob","reason":"lunch"}`)
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := s.load(api.app(""), maintenanceSite); err != nil {
		t.Fatal(err)
	}
	if paused := s.recovered(t, id, "paused"); paused["paused_why"] != "paused by bob: lunch" || paused["by"] != "ann" {
		t.Errorf("after the restart: %v", paused)
	}
	s.mustSend(t, 200, "POST", "/firebreak/recoveries/"+id+"/resume", "")
	s.recovered(t, id, "done")
	s.wantMaintenance(t, "a", false)
}

func TestRecoveryBadRequests(t *testing.T) {
	api := newCheckedAPI(t)
	s := startSidecar(t, api.app(""), maintenanceSite)
	s.mustSend(t, 201, "PUT", "/firebreak/maintenance/zones/z1", "")
	for _, test := range []struct {
		name, method, path, body string
		status                   int
		want                     string
	}{
		{"nothing", "POST", "", `{}`, 400, `it must name either a "zone" or "stores"`},
		{"both", "POST", "", `{"zone":"z1","stores":["a"]}`, 400, `either a "zone" or "stores"`},
		{"no such zone", "POST", "", `{"zone":"zz1"}`, 404, "did you mean z1?"},
		{"no such store", "POST", "", `{"stores":["a","nobody"]}`, 404, "nobody"},
		{"store that is not in maintenance", "POST", "", `{"stores":["e"]}`, 409, "none of 1 store is in maintenance"},
		{"unknown field", "POST", "", `{"zon":"z1"}`, 400, "did you mean 'zone'?"},
		{"wrong type", "POST", "", `{"zone":"z1","times":"two"}`, 400, "it must be a whole number"},
		{"times", "POST", "", `{"zone":"z1","times":0}`, 400, "times is 0: it must be from 1 to 100"},
		{"watch without batch", "POST", "", `{"zone":"z1","watch":"5s"}`, 400, "give batch too"},
		{"bad duration", "POST", "", `{"zone":"z1","every":"soon"}`, 400, "invalid duration"},
		{"no such recovery", "GET", "/nothing", "", 404, `no recovery "nothing"`},
		{"pausing none", "POST", "/nothing/pause", "", 404, `no recovery "nothing"`},
		{"no such action", "POST", "/nothing/pose", "", 404, "did you mean 'pause'?"},
		{"method", "GET", "/nothing/pause", "", 405, "use POST"},
		{"method of the list", "DELETE", "", "", 405, "use GET, HEAD, POST"},
	} {
		t.Run(test.name, func(t *testing.T) {
			res, body := s.send(t, test.method, "/firebreak/recoveries"+test.path, test.body)
			if res.StatusCode != test.status || !strings.Contains(body, strings.ReplaceAll(test.want, `"`, `\"`)) {
				t.Errorf("got %s %.400s, want %d and %q", res.Status, body, test.status, test.want)
			}
		})
	}
	if len(api.checks) > 0 {
		t.Errorf("stores were checked: %v", api.checks)
	}
	without := startSidecarAgain(t, s)
	without.mustSend(t, 409, "POST", "/firebreak/recoveries", `{"zone":"z1"}`)
}

// startSidecarAgain loads a configuration without a check.
func startSidecarAgain(t *testing.T, s *sidecar) *sidecar {
	t.Helper()
	if err := s.load(smallApp, maintenanceSite); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestRecoveryTold wants every step in the log, as an event and in the metrics.
func TestRecoveryTold(t *testing.T) {
	api := newCheckedAPI(t, "b")
	s := startSidecar(t, api.app(""), maintenanceSite)
	forgetRecorded()
	log := loadLogged(t, s, api.app("every 500ms"), "")
	s.mustSend(t, 201, "PUT", "/firebreak/maintenance/zones/z1", "")
	_, began := s.mustSend(t, 201, "POST", "/firebreak/recoveries", `{"zone":"z1","by":"ann"}`)
	id := fmt.Sprint(began["id"])
	s.mustSend(t, 200, "POST", "/firebreak/recoveries/"+id+"/pause", "")
	s.mustSend(t, 200, "POST", "/firebreak/recoveries/"+id+"/resume", "")
	s.recovered(t, id, "done")
	for kind, line := range map[string]string{
		"started": "recovery begins", "paused": "recovery is paused", "resumed": "recovery goes on", "batch": "stores are released", "done": "recovery is done",
	} {
		eventually(t, kind+" is told", func() bool {
			return len(recordedEvents("firebreak.recovery_"+kind)) == 1 && len(logLines(t, log, line)) == 1
		})
		if data := recordedEvents("firebreak.recovery_" + kind)[0].Data; data["recovery"] != id || data["zone"] != "z1" || data["by"] != "ann" || data["detail"] == "" {
			t.Errorf("the event %s: %v", kind, data)
		}
	}
	if data := recordedEvents("firebreak.recovery_batch")[0].Data; data["count"] != 3 {
		t.Errorf("the event of the batch: %v", data)
	}
	if text := logLines(t, log, "recovery is done")[0]["detail"]; text != "3 stores released, 1 failing, of 4; 1 on the work list; the first that fails: b (status 500: row damaged)" {
		t.Errorf("the end is told as %q", text)
	}
}

func TestRecoveryMetrics(t *testing.T) {
	api := newCheckedAPI(t)
	s := startSidecar(t, api.app("times 50"), "handle /metrics {\nmetrics\n}\n"+maintenanceSite)
	s.mustSend(t, 201, "PUT", "/firebreak/maintenance/zones/z1", "")
	_, began := s.mustSend(t, 201, "POST", "/firebreak/recoveries", `{"zone":"z1"}`)
	_, text := s.get(t, "/metrics")
	for _, want := range []string{
		`caddy_firebreak_recoveries{state="running"} 1`, `caddy_firebreak_recovery_stores{state="remaining",zone="z1"} 4`,
		"caddy_firebreak_recovered_stores_total 0",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in the metrics", want)
		}
	}
	s.mustSend(t, 200, "POST", "/firebreak/recoveries/"+fmt.Sprint(began["id"])+"/cancel", "")
	if _, text := s.get(t, "/metrics"); strings.Contains(text, "caddy_firebreak_recovery_stores") {
		t.Error("a cancelled recovery still has series")
	}
}
