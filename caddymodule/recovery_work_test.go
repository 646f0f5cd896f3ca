package caddymodule_test

import (
	"fmt"
	"strings"
	"testing"
)

// TestRecoveryWork takes a store that cannot be repaired through the work list,
// and looks for the figures in the incident of its zone.
func TestRecoveryWork(t *testing.T) {
	api := newCheckedAPI(t, "b")
	repair := fmt.Sprintf("\nrepair POST /repairs?store={store} {\n\tto %s\n\theader Authorization {env.CHECK_TOKEN}\n}\n", strings.TrimPrefix(api.URL, "http://"))
	s := startSidecar(t, api.app("")+repair, "handle /metrics {\nmetrics\n}\n"+maintenanceSite)
	s.mustSend(t, 201, "PUT", "/firebreak/maintenance/zones/z1", "")
	_, began := s.mustSend(t, 201, "POST", "/firebreak/recoveries", `{"zone":"z1","by":"ann"}`)
	id := fmt.Sprint(began["id"])
	if ended := s.recovered(t, id, "done"); ended["work"] != 1.0 || ended["repaired"] != 0.0 {
		t.Errorf("it ended as %v", ended)
	}
	_, list := s.mustSend(t, 200, "GET", "/firebreak/work?zone=z1", "")
	item := list["work"].([]any)[0].(map[string]any)
	if item["store"] != "b" || item["repair"] != "done" || item["state"] != "open" || item["reason"] != "status 500: row damaged; it was repaired before" {
		t.Errorf("the work list has %v", item)
	}
	for _, step := range []struct {
		status       int
		action, body string
	}{
		{400, "claim", `{}`},
		{200, "claim", `{"by":"ann","note":"=1+1"}`},
		{409, "claim", `{"by":"bob"}`},
		{200, "note", `{"by":"bob","note":"row 12"}`},
		{400, "note", `{"by":"bob"}`},
		{200, "handover", `{"by":"bob","to":"carl"}`},
		{409, "done", `{"by":"ann"}`},
		{404, "burn", `{"by":"ann"}`},
	} {
		s.mustSend(t, step.status, "POST", "/firebreak/work/b/"+step.action, step.body)
	}
	s.mustSend(t, 404, "POST", "/firebreak/work/a/claim", `{"by":"ann"}`)
	s.mustSend(t, 400, "GET", "/firebreak/work?format=xml", "")
	_, table := s.ask(t, "GET", "/firebreak/work?format=csv")
	if !strings.HasPrefix(table, "store,zone,state,") || !strings.Contains(table, "\nb,z1,claimed,carl,") {
		t.Errorf("the table is %s", table)
	}
	_, text := s.get(t, "/metrics")
	for _, want := range []string{`caddy_firebreak_recovery_repairs_total{result="done"} 1`, `caddy_firebreak_recovery_work{state="claimed"} 1`} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in the metrics", want)
		}
	}
	api.mu.Lock()
	api.sick = nil
	api.mu.Unlock()
	s.mustSend(t, 200, "POST", "/firebreak/work/b/done", `{"by":"carl","note":"restored"}`)
	if ended := s.recovered(t, id, "done"); ended["manual"] != 1.0 || ended["released"] != 4.0 || ended["work"] != 0.0 {
		t.Errorf("after the work: %v", ended)
	}
	s.wantMaintenance(t, "b", false)
	if _, list := s.mustSend(t, 200, "GET", "/firebreak/maintenance", ""); list["total"] != 0.0 {
		t.Errorf("all stores are back, but switches are left: %v", list)
	}
}

func TestRepairBadConfig(t *testing.T) {
	for block, want := range map[string]string{
		"repair POST":                                                  "needs a method and a path",
		"repair POST /r {\nto localhost:1\n}":                          "neither path nor headers hold {store}",
		"repair POST /r?s={store}":                                     "does not know where to ask",
		"repair POST /r?s={store} {\nto nowhere\n}":                    "is no address",
		"repair POST /r?s={store} {\nto localhost:1\npoll /r\n}":       "hold {store} or {key}",
		"repair post /r?s={store} {\nto localhost:1\n}":                "the method is",
		"repair POST r?s={store} {\nto localhost:1\n}":                 "is not one of a URL",
		"repair POST /r?s={store} {\nto localhost:1\nparallel 0\n}":    "parallel",
		"repair POST /r?s={store} {\nto localhost:1\ntimeuot 5s\n}":    "timeout",
		"repair POST /r?s={store} {\nto localhost:1\nheader {} x\n}":   "header",
		"repair POST /r?s={store} {\nto localhost:1\npoll {key}\n}":    "is not one of a URL",
		"repair POST /r?s={store} {\nto localhost:1\n}\nrepair GET /r": "twice",
	} {
		_, err := adapt("{\n\tfirebreak {\nworkers 4\n" + block + "\n}\n}\n")
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "Caddyfile:") {
			t.Errorf("%s: %v, want an error with %q", block, err, want)
		}
	}
}
