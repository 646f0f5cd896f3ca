package caddymodule_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

const (
	maintenanceSite = `
		firebreak {
			key query key
			bypass client_ip 192.0.2.0/24
			bypass header Proxy-Authorization 0123456789abcdef
			bypass client_ip 127.0.0.0/8 header Proxy-Authorization fedcba9876543210
		}
		respond "ok {header.Proxy-Authorization}"`
	bypassSecret = "0123456789abcdef"
)

// wantMaintenance asks for a store and checks whether maintenance refuses it.
func (s *sidecar) wantMaintenance(t *testing.T, key string, want bool, header ...string) (*http.Response, string) {
	t.Helper()
	res, body := s.get(t, "/?key="+key, header...)
	if got := res.Header.Get("Firebreak-Refusal"); (got == "maintenance") != want {
		t.Errorf("%s: %s %s; in maintenance should be %v", key, res.Status, body, want)
	}
	if want && res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("%s: status %d", key, res.StatusCode)
	}
	return res, body
}

func (s *sidecar) mustSend(t *testing.T, status int, method, path, body string, header ...string) (*http.Response, map[string]any) {
	t.Helper()
	res, text := s.send(t, method, path, body, header...)
	if res.StatusCode != status {
		t.Fatalf("%s %s %s: got %s, want %d: %s", method, path, body, res.Status, status, text)
	}
	var answer map[string]any
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		t.Fatalf("%s %s: %v: %s", method, path, err, text)
	}
	return res, answer
}

func TestMaintenanceOnAndOff(t *testing.T) {
	s := startSidecar(t, smallApp, maintenanceSite)
	s.wantMaintenance(t, "a", false)
	began := time.Now()
	_, answer := s.mustSend(t, 201, "PUT", "/firebreak/maintenance/zones/z1", `{"reason":"disk","by":"ann","message":"Back \"soon\" <b>","ticket":"OPS-1"}`)
	if answer["changed"] != true || answer["revision"] != 1.0 {
		t.Errorf("answer is %v", answer)
	}
	res, body := s.wantMaintenance(t, "a", true)
	t.Logf("from the call to the refusal: %s", time.Since(began))
	if seconds, _ := strconv.Atoi(res.Header.Get("Retry-After")); seconds < 60 || seconds > 72 {
		t.Errorf("Retry-After is %q, want a minute", res.Header.Get("Retry-After"))
	}
	var problem struct{ Detail string }
	if err := json.Unmarshal([]byte(body), &problem); err != nil || problem.Detail != `Back "soon" <b>` {
		t.Errorf("detail %q of %s (%v), want the operator's message", problem.Detail, body, err)
	}
	if strings.Contains(body, "disk") || strings.Contains(body, "ann") || strings.Contains(body, "OPS-1") {
		t.Errorf("reason, person or ticket reach the client: %s", body)
	}
	if _, html := s.wantMaintenance(t, "a", true, "Accept", "text/html"); !strings.Contains(html, "Back &#34;soon&#34; &lt;b&gt;") {
		t.Errorf("HTML without the message, or not escaped: %s", html)
	}
	if _, text := s.wantMaintenance(t, "a", true, "Accept", "text/plain"); !strings.Contains(text, `Back "soon" <b>`) {
		t.Errorf("text without the message: %s", text)
	}
	if res, _ := s.get(t, "/?key=a", "Content-Type", "application/grpc"); res.Header.Get("Grpc-Message") != `Back "soon" <b>` || res.Header.Get("Grpc-Status") != "14" {
		t.Errorf("gRPC: %v", res.Header)
	}
	s.wantMaintenance(t, "e", false)
	_, answer = s.mustSend(t, 200, "DELETE", "/firebreak/maintenance/stores/a?by=ann", "")
	if fmt.Sprint(answer["released_from"]) != "[zone z1]" || answer["still"] != nil {
		t.Errorf("answer is %v", answer)
	}
	s.wantMaintenance(t, "a", false)
	s.wantMaintenance(t, "b", true)
	s.mustSend(t, 200, "DELETE", "/firebreak/maintenance/zones/z1", "")
	s.wantMaintenance(t, "b", false)
	_, history := s.mustSend(t, 200, "GET", "/firebreak/maintenance/history", "")
	if changes := history["changes"].([]any); len(changes) != 3 || fmt.Sprint(changes[2].(map[string]any)["by"]) != "ann" {
		t.Errorf("history is %v", history)
	}
}

func TestMaintenanceOfAllAndUnknown(t *testing.T) {
	s := startSidecar(t, smallApp, maintenanceSite)
	s.mustSend(t, 201, "PUT", "/firebreak/maintenance/all", `{"except":["b"]}`)
	for key, want := range map[string]bool{"a": true, "b": false, "e": true, "nobody": true} {
		s.wantMaintenance(t, key, want)
	}
	s.mustSend(t, 200, "DELETE", "/firebreak/maintenance/all", "")
	s.mustSend(t, 201, "PUT", "/firebreak/maintenance/zones/unknown", "")
	for key, want := range map[string]bool{"a": false, "nobody": true} {
		s.wantMaintenance(t, key, want)
	}
}

func TestMaintenanceReadOnly(t *testing.T) {
	s := startSidecar(t, smallApp, maintenanceSite)
	s.mustSend(t, 201, "PUT", "/firebreak/maintenance/stores/a", `{"mode":"read_only"}`)
	for method, want := range map[string]int{"GET": 200, "HEAD": 200, "OPTIONS": 200, "POST": 503, "PUT": 503, "DELETE": 503, "PATCH": 503} {
		res, err := s.do(t.Context(), method, "/?key=a", nil)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("%s: status %d, want %d", method, res.StatusCode, want)
		}
	}
	s.mustSend(t, 201, "PUT", "/firebreak/maintenance/zones/z1", `{"mode":"full"}`)
	s.wantMaintenance(t, "a", true)
}

func TestMaintenanceTimes(t *testing.T) {
	s := startSidecar(t, smallApp, maintenanceSite)
	from := time.Now().Add(time.Second)
	s.mustSend(t, 201, "PUT", "/firebreak/maintenance/stores/a", fmt.Sprintf(`{"from":%q,"for":"2s"}`, from.Format(time.RFC3339Nano)))
	s.wantMaintenance(t, "a", false)
	time.Sleep(time.Until(from) + 50*time.Millisecond)
	res, _ := s.wantMaintenance(t, "a", true)
	if seconds, _ := strconv.Atoi(res.Header.Get("Retry-After")); seconds < 1 || seconds > 3 {
		t.Errorf("Retry-After is %q with 2 seconds left at most", res.Header.Get("Retry-After"))
	}
	time.Sleep(time.Until(from.Add(2050 * time.Millisecond)))
	s.wantMaintenance(t, "a", false)
	s.mustSend(t, 201, "PUT", "/firebreak/maintenance/stores/b", `{"retry_after":"10m","for":"1h"}`)
	res, _ = s.wantMaintenance(t, "b", true)
	if seconds, _ := strconv.Atoi(res.Header.Get("Retry-After")); seconds < 600 || seconds > 720 {
		t.Errorf("Retry-After is %q, want 10 minutes", res.Header.Get("Retry-After"))
	}
}

func TestMaintenanceBypass(t *testing.T) {
	s := startSidecar(t, smallApp, maintenanceSite)
	s.mustSend(t, 201, "PUT", "/firebreak/maintenance/all", "")
	s.wantMaintenance(t, "a", true)
	s.wantMaintenance(t, "a", true, "Proxy-Authorization", "0123456789abcdeX")
	s.wantMaintenance(t, "a", true, "Proxy-Authorization", "wrong")
	for _, header := range [][2]string{{"Proxy-Authorization", bypassSecret}, {"Proxy-Authorization", "fedcba9876543210"}} {
		if _, body := s.wantMaintenance(t, "a", false, header[0], header[1]); body != "ok " {
			t.Errorf("%s: the upstream got %q; it must not see the secret", header[0], body)
		}
	}
	s.mustSend(t, 200, "DELETE", "/firebreak/maintenance/all", "")
	if _, body := s.wantMaintenance(t, "a", false, "Proxy-Authorization", bypassSecret); body != "ok " {
		t.Errorf("without maintenance the upstream got %q; it must not see the secret", body)
	}
}

func TestMaintenanceSurvives(t *testing.T) {
	s := startSidecar(t, smallApp, maintenanceSite)
	s.mustSend(t, 201, "PUT", "/firebreak/maintenance/stores/a", "")
	if err := s.load(smallApp+"\nmax_open_zones 50%", maintenanceSite); err != nil {
		t.Fatal(err)
	}
	s.wantMaintenance(t, "a", true)
	if err := s.load(smallApp+"\nstate storage {\n\tprefix other\n}", maintenanceSite); err != nil {
		t.Fatal(err)
	}
	s.wantMaintenance(t, "a", false)
	if err := s.load(smallApp, maintenanceSite); err != nil {
		t.Fatal(err)
	}
	s.wantMaintenance(t, "a", true)
}

func TestMaintenancePreconditions(t *testing.T) {
	s := startSidecar(t, smallApp, maintenanceSite)
	const path = "/firebreak/maintenance/stores/a"
	s.mustSend(t, 404, "GET", path, "")
	s.mustSend(t, 412, "PUT", path, "{}", "If-Match", "*")
	res, _ := s.mustSend(t, 201, "PUT", path, `{"reason":"one"}`, "If-None-Match", "*")
	first := res.Header.Get("ETag")
	s.mustSend(t, 412, "PUT", path, `{"reason":"two"}`, "If-None-Match", "*")
	if _, answer := s.mustSend(t, 200, "PUT", path, `{"reason":"one"}`); answer["changed"] != false || answer["revision"] != 1.0 {
		t.Errorf("the same again: %v", answer)
	}
	res, _ = s.mustSend(t, 200, "PUT", path, `{"reason":"two"}`, "If-Match", first)
	if res.Header.Get("ETag") == first {
		t.Error("the ETag has not changed")
	}
	_, problem := s.mustSend(t, 412, "DELETE", path, "", "If-Match", first)
	if problem["title"] != "Precondition Failed" || !strings.Contains(fmt.Sprint(problem["detail"]), "If-Match") {
		t.Errorf("problem is %v", problem)
	}
	got, _ := s.mustSend(t, 200, "GET", path, "")
	s.mustSend(t, 200, "DELETE", path, "", "If-Match", got.Header.Get("ETag"))
	if _, answer := s.mustSend(t, 200, "DELETE", path, ""); answer["changed"] != false {
		t.Errorf("removed twice: %v", answer)
	}
}

func TestMaintenanceBatch(t *testing.T) {
	s := startSidecar(t, "workers 32\ndirectory hash z1 z2 z3", maintenanceSite)
	stores := make([]string, 10000)
	for i := range stores {
		stores[i] = fmt.Sprintf("s%d", i)
	}
	list, _ := json.Marshal(stores)
	body := fmt.Sprintf(`{"action":"on","reason":"move","stores":%s`, list)
	if _, answer := s.mustSend(t, 200, "POST", "/firebreak/maintenance/batch", body+`,"dry_run":true}`); answer["set"] != 10000.0 || answer["changed"] != false || answer["revision"] != 0.0 {
		t.Fatalf("dry run: %v", answer)
	}
	s.wantMaintenance(t, "s77", false)
	began := time.Now()
	s.mustSend(t, 200, "POST", "/firebreak/maintenance/batch", body+"}")
	s.wantMaintenance(t, "s9999", true)
	t.Logf("10,000 stores in force after %s", time.Since(began))
	s.wantMaintenance(t, "s10000", false)
	if _, answer := s.mustSend(t, 200, "POST", "/firebreak/maintenance/batch", body+"}"); answer["unchanged"] != 10000.0 || answer["revision"] != 1.0 {
		t.Errorf("the same again: %v", answer)
	}
	seen, after, pages := map[string]bool{}, "", 0
	for {
		_, page := s.mustSend(t, 200, "GET", "/firebreak/maintenance?limit=3000&after="+after, "")
		for _, sw := range page["switches"].([]any) {
			seen[sw.(map[string]any)["name"].(string)] = true
		}
		pages++
		next, ok := page["next"].(string)
		if !ok {
			break
		}
		after = next
	}
	if len(seen) != 10000 || pages != 4 {
		t.Errorf("%d switches on %d pages, want 10000 on 4", len(seen), pages)
	}
	s.mustSend(t, 400, "POST", "/firebreak/maintenance/batch", `{"action":"on","zones":["z1"],"stores":`+string(list)+`}`)
	s.mustSend(t, 200, "POST", "/firebreak/maintenance/batch", `{"action":"off","stores":`+string(list)+`}`)
	s.wantMaintenance(t, "s77", false)
}

func TestMaintenanceBadRequests(t *testing.T) {
	s := startSidecar(t, smallApp, maintenanceSite)
	for _, test := range []struct {
		name, method, path, body string
		status                   int
		want                     string
	}{
		{"unknown field", "PUT", "zones/z1", `{"reasn":"x"}`, 400, "did you mean 'reason'?"},
		{"wrong type", "PUT", "zones/z1", `{"reason":7}`, 400, `the field "reason" is a JSON number; it must be a string`},
		{"no object", "PUT", "zones/z1", `[]`, 400, "send an object"},
		{"broken", "PUT", "zones/z1", `{"reason":`, 400, "no JSON"},
		{"two values", "PUT", "zones/z1", `{}{}`, 400, "send one"},
		{"bad mode", "PUT", "zones/z1", `{"mode":"readonly"}`, 400, "it must be full or read_only"},
		{"until and for", "PUT", "zones/z1", `{"until":"2999-01-01T00:00:00Z","for":"1h"}`, 400, "either until or for"},
		{"until in the past", "PUT", "zones/z1", `{"until":"2001-01-01T00:00:00Z"}`, 400, "is in the past"},
		{"until before from", "PUT", "zones/z1", `{"from":"2999-01-02T00:00:00Z","until":"2999-01-01T00:00:00Z"}`, 400, "later than from"},
		{"bad duration", "PUT", "zones/z1", `{"for":"soon"}`, 400, "invalid duration"},
		{"negative", "PUT", "zones/z1", `{"retry_after":"-1s"}`, 400, "must not be negative"},
		{"no such zone", "PUT", "zones/zz1", `{}`, 404, "did you mean z1?"},
		{"no such store", "PUT", "stores/nobody", `{}`, 404, "no store and no key"},
		{"exceptions of a store", "PUT", "stores/a", `{"except":["b"]}`, 400, "no exceptions"},
		{"long reason", "PUT", "zones/z1", fmt.Sprintf(`{"reason":%q}`, strings.Repeat("x", 3000)), 400, "3000 bytes"},
		{"too large", "PUT", "zones/z1", `{"reason":"` + strings.Repeat("x", 9<<20) + `"}`, 413, "split it"},
		{"wrong method", "POST", "zones/z1", `{}`, 405, "use GET, HEAD, PUT, DELETE"},
		{"nothing", "POST", "batch", `{"action":"on"}`, 400, "it names nothing"},
		{"no action", "POST", "batch", `{"zones":["z1"]}`, 400, "it must be on or off"},
		{"one unknown of many", "POST", "batch", `{"action":"on","zones":["z1"],"stores":["a","nobody"]}`, 404, "nothing was changed: no store and no key"},
		{"bad page", "GET", "", "", 200, "switches"},
		{"no such path", "GET", "stroes/a", "", 404, "/firebreak/maintenance/stores/{name}"},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := strings.TrimSuffix("/firebreak/maintenance/"+test.path, "/")
			res, body := s.send(t, test.method, path, test.body)
			if res.StatusCode != test.status || !strings.Contains(body, strings.ReplaceAll(test.want, `"`, `\"`)) {
				t.Errorf("got %s %.300s, want %d and %q", res.Status, body, test.status, test.want)
			}
		})
	}
	if _, list := s.mustSend(t, 200, "GET", "/firebreak/maintenance", ""); list["total"] != 0.0 {
		t.Errorf("something was switched: %v", list)
	}
}

func TestByHand(t *testing.T) {
	s := startSidecar(t, smallApp, smallSite)
	s.mustSend(t, 200, "POST", "/firebreak/zones/z1/isolate", `{"by":"ann","reason":"disk"}`)
	if res, _ := s.get(t, "/?key=a"); res.Header.Get("Firebreak-Refusal") != "zone_open" {
		t.Errorf("isolated, and a request got %s", res.Status)
	}
	_, zone := s.mustSend(t, 200, "GET", "/firebreak/zones/z1", "")
	if hold := fmt.Sprint(zone["hold"]); zone["state"] != "open" || !strings.Contains(hold, "ann") || !strings.Contains(hold, "as:isolated") {
		t.Errorf("zone is %v", zone)
	}
	if _, admitted := s.mustSend(t, 200, "POST", "/firebreak/zones/z1/admit", `{"by":"ann","reason":"slow tonight"}`); !strings.Contains(fmt.Sprint(admitted["hold"]), "as:admitted") {
		t.Errorf("admitted, and the answer is %v", admitted)
	}
	s.mustSend(t, 200, "POST", "/firebreak/zones/z1/auto", "")
	if res, _ := s.get(t, "/?key=a"); res.StatusCode != http.StatusOK {
		t.Errorf("handed back, and a request got %s", res.Status)
	}
	s.mustSend(t, 200, "POST", "/firebreak/stores/a/isolate", `{"for":"300ms","reason":"test"}`)
	if res, _ := s.get(t, "/?key=a"); res.Header.Get("Firebreak-Refusal") != "quarantine" {
		t.Errorf("isolated, and a request got %s", res.Status)
	}
	if res, _ := s.get(t, "/?key=b"); res.StatusCode != http.StatusOK {
		t.Errorf("another store got %s", res.Status)
	}
	time.Sleep(400 * time.Millisecond)
	if res, _ := s.get(t, "/?key=a"); res.StatusCode != http.StatusOK {
		t.Errorf("after its isolation the store got %s", res.Status)
	}
	s.mustSend(t, 404, "POST", "/firebreak/zones/zz/isolate", "")
	s.mustSend(t, 405, "GET", "/firebreak/zones/z1/isolate", "")
	s.mustSend(t, 400, "POST", "/firebreak/zones/z1/isolate", `{"for":"-1s","reason":"test"}`)
	for _, action := range []string{"isolate", "admit"} {
		if _, problem := s.mustSend(t, 400, "POST", "/firebreak/zones/z1/"+action, `{"by":"ann"}`); !strings.Contains(fmt.Sprint(problem["detail"]), "reason is missing") {
			t.Errorf("%s without a reason: %v", action, problem)
		}
	}
	for _, action := range []string{"open", "close", "reset", "isolat"} {
		s.mustSend(t, 404, "POST", "/firebreak/zones/z1/"+action, `{"reason":"test"}`)
		s.mustSend(t, 404, "POST", "/firebreak/stores/a/"+action, `{"reason":"test"}`)
	}
}

func TestStatusShowsMaintenanceAndFleet(t *testing.T) {
	s := startSidecar(t, smallApp+"\ninstance web1", smallSite)
	s.mustSend(t, 201, "PUT", "/firebreak/maintenance/zones/z1", `{"reason":"disk"}`)
	_, status := s.mustSend(t, 200, "GET", "/firebreak/status?fleet=1", "")
	if m := status["maintenance"].(map[string]any); m["in_force"] != 1.0 || m["stale"] != false || m["revision"] != 1.0 {
		t.Errorf("maintenance is %v", m)
	}
	fleet := status["fleet"].(map[string]any)
	if fleet["summary"] != "1 of 1 apply revision 1" || !strings.Contains(fmt.Sprint(fleet["instances"]), "web1:") {
		t.Errorf("fleet is %v", fleet)
	}
	_, store := s.mustSend(t, 200, "GET", "/firebreak/stores/a", "")
	if store["verdict"] != "refused" || store["reason"] != "maintenance" || store["state"] != "calm" {
		t.Errorf("store is %v; desired and observed must not be mixed", store)
	}
	_, zone := s.mustSend(t, 200, "GET", "/firebreak/zones/z1", "")
	if zone["state"] != "calm" || fmt.Sprint(zone["maintenance"].(map[string]any)["reason"]) != "disk" {
		t.Errorf("zone is %v", zone)
	}
}

// TestIsolateInModeObserve: nothing is refused there, and the answer says so.
func TestIsolateInModeObserve(t *testing.T) {
	s := startSidecar(t, smallApp+"\nzone z1 {\nmode observe\n}", smallSite)
	if _, answer := s.mustSend(t, 200, "POST", "/firebreak/zones/z1/isolate", `{"reason":"disk"}`); answer["observe"] != true {
		t.Errorf("the answer is %v", answer)
	}
	if res, _ := s.get(t, "/?key=a"); res.StatusCode != http.StatusOK {
		t.Errorf("in mode observe a request got %s", res.Status)
	}
}
