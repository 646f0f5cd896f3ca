package caddymodule_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/firebreak-proxy/firebreak/breaker"
)

func init() {
	caddy.RegisterModule(recorder{})
}

// recorder is an event handler that remembers firebreak's events, and panics
// if it is told to.
type recorder struct {
	PanicOn string `json:"panic_on,omitempty"`
}

// recorded is what all recorders have seen.
var recorded struct {
	mu     sync.Mutex // guards below
	events []caddy.Event
}

func (recorder) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "events.handlers.recorder", New: func() caddy.Module { return new(recorder) }}
}

// Handle implements caddyevents.Handler.
func (r recorder) Handle(_ context.Context, e caddy.Event) error {
	if !strings.HasPrefix(e.Name(), "firebreak.") {
		return nil
	}
	recorded.mu.Lock()
	recorded.events = append(recorded.events, e)
	recorded.mu.Unlock()
	if e.Name() == r.PanicOn {
		panic("a bug in somebody's handler")
	}
	return nil
}

func forgetRecorded() {
	recorded.mu.Lock()
	defer recorded.mu.Unlock()
	recorded.events = nil
}

// recordedEvents are the events of this name.
func recordedEvents(name string) []caddy.Event {
	recorded.mu.Lock()
	defer recorded.mu.Unlock()
	var found []caddy.Event
	for _, e := range recorded.events {
		if e.Name() == name {
			found = append(found, e)
		}
	}
	return found
}

// loadRecorded loads the small configuration with a recorder and a log file,
// and returns the log's path.
func loadRecorded(t *testing.T, s *sidecar, panicOn string) string {
	t.Helper()
	return loadLogged(t, s, smallApp, panicOn)
}

func loadLogged(t *testing.T, s *sidecar, app, panicOn string) string {
	t.Helper()
	raw, err := adapt(s.caddyfile(app, smallSite))
	if err != nil {
		t.Fatal(err)
	}
	var config map[string]any
	if err := json.Unmarshal([]byte(raw), &config); err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(t.TempDir(), "caddy.log")
	handler := map[string]any{"handler": "recorder", "panic_on": panicOn}
	config["apps"].(map[string]any)["events"] = map[string]any{"subscriptions": []any{map[string]any{"handlers": []any{handler}}}}
	config["logging"] = map[string]any{"logs": map[string]any{"default": map[string]any{
		"writer": map[string]any{"output": "file", "filename": log}, "encoder": map[string]any{"format": "json"},
	}}}
	text, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := caddy.Load(text, true); err != nil {
		t.Fatal(err)
	}
	return log
}

// logLines are the lines of a log whose message begins so.
func logLines(t *testing.T, path, message string) []map[string]any {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var lines []map[string]any
	for scanner := bufio.NewScanner(file); scanner.Scan(); {
		var line map[string]any
		if err := json.Unmarshal(scanner.Bytes(), &line); err != nil {
			t.Fatalf("log line %s: %v", scanner.Text(), err)
		}
		if text, _ := line["msg"].(string); strings.HasPrefix(text, message) {
			lines = append(lines, line)
		}
	}
	return lines
}

func TestTransitionsAreTold(t *testing.T) {
	s := startSidecar(t, smallApp, smallSite)
	forgetRecorded()
	log := loadRecorded(t, s, "")
	if lines := logLines(t, log, "guarding the pool"); len(lines) != 1 ||
		!strings.Contains(lines[0]["limits"].(string), "a zone may occupy 4 workers") || lines[0]["stores"] != 6.0 {
		t.Errorf("start-up log: %v", lines)
	}
	openZone(t, s.app(t).Guard())
	eventually(t, "the zone's opening is an event", func() bool { return len(recordedEvents("firebreak.zone_opened")) == 1 })
	data := recordedEvents("firebreak.zone_opened")[0].Data
	if data["zone"] != "z1" || data["to"] != "open" || data["evidence"] == "" || data["turn"] != 1 {
		t.Errorf("event data: %v", data)
	}
	if origin := recordedEvents("firebreak.zone_opened")[0].Origin(); origin == nil || origin.CaddyModule().ID != "firebreak" {
		t.Errorf("the event comes from %v, want the module firebreak", origin)
	}
	lines := logLines(t, log, "zone is cut off")
	if len(lines) != 1 {
		t.Fatalf("log lines of the opening: %v", lines)
	}
	for _, field := range []string{"zone", "from", "to", "evidence", "turn", "for", "live", "hung", "next"} {
		if lines[0][field] == nil {
			t.Errorf("the log line has no %s: %v", field, lines[0])
		}
	}
	if lines[0]["level"] != "warn" || lines[0]["logger"] != "firebreak" {
		t.Errorf("the log line's level and logger: %v", lines[0])
	}
}

func TestStartWarnings(t *testing.T) {
	s := startSidecar(t, smallApp, smallSite)
	for _, test := range []struct{ name, app, message, field, want string }{
		{"long timeout", smallApp + "\nzone z1 {\n\ttimeout 20s\n}", "the timeout is long", "zone", "z1"},
		{"long timeout everywhere", "workers 32\nzone * {\n\ttimeout 20s\n}", "the timeout is long", "zone", "*"},
		{"settings of no zone", smallApp + "\nzone z11 {\n\ttimeout 2s\n}", "a zone has settings", "did_you_mean", "z1"},
		{"no directory", "workers 32", "no directory", "next", "add a directory to the firebreak settings, for example: directory file stores.csv"},
	} {
		t.Run(test.name, func(t *testing.T) {
			lines := logLines(t, loadLogged(t, s, test.app, ""), test.message)
			if len(lines) != 1 || lines[0]["level"] != "warn" || lines[0][test.field] != test.want {
				t.Errorf("got %v, want one warning with %s=%s", lines, test.field, test.want)
			}
		})
	}
	if lines := logLines(t, loadLogged(t, s, smallApp, ""), "a zone has settings"); len(lines) > 0 {
		t.Errorf("warned without a reason: %v", lines)
	}
}

// TestTransitionsOverReloads makes sure that each transition is told once,
// whichever configuration's worker reads it.
func TestTransitionsOverReloads(t *testing.T) {
	s := startSidecar(t, smallApp, smallSite)
	loadRecorded(t, s, "")
	forgetRecorded()
	guard := s.app(t).Guard()
	stores := map[string]string{"a": "z1", "e": "z2", "slash/store": "z2"}
	for store, zone := range stores {
		for _, slot := range quarantine(t, guard, zone, store) {
			slot.End(breaker.Gone) // z2 has four workers
		}
		loadRecorded(t, s, "")
	}
	for store := range stores {
		told := func() (n int) {
			for _, e := range recordedEvents("firebreak.store_quarantined") {
				if e.Data["store"] == store {
					n++
				}
			}
			return n
		}
		eventually(t, "the quarantine of "+store+" is told", func() bool { return told() > 0 })
		if n := told(); n > 1 {
			t.Errorf("the quarantine of store %s was told %d times", store, n)
		}
	}
}

// quarantine lets two requests of a store hang, one after the other, while other
// stores of its zone are answered, and returns their slots.
func quarantine(t *testing.T, g *breaker.Guard, zone, store string) (stuck []*breaker.Slot) {
	t.Helper()
	eventuallyOr(t, func() string {
		if slot, refusal := g.Admit(t.Context(), breaker.Request{Zone: zone, Store: store}); refusal == nil {
			slot.Track()
			stuck = append(stuck, slot)
		}
		for range 10 {
			for _, well := range []string{"well 1", "well 2"} {
				if slot, refusal := g.Admit(t.Context(), breaker.Request{Zone: zone, Store: well}); refusal == nil {
					slot.End(breaker.OK)
				}
			}
			time.Sleep(30 * time.Millisecond)
		}
		if st := g.Store(zone, store); st.State != breaker.Open {
			return fmt.Sprintf("store %s is %s after two requests hung, want open", store, st.State)
		}
		return ""
	})
	for _, slot := range stuck {
		slot.Hang()
	}
	return stuck
}

func TestPanickingEventHandler(t *testing.T) {
	s := startSidecar(t, smallApp, smallSite)
	forgetRecorded()
	log := loadRecorded(t, s, "firebreak.zone_opened")
	guard := s.app(t).Guard()
	openZone(t, guard)
	eventually(t, "the panic is logged", func() bool { return len(logLines(t, log, "an event handler panicked")) == 1 })
	quarantine(t, guard, "z2", "e")
	eventually(t, "the next transition is told", func() bool {
		return len(recordedEvents("firebreak.store_quarantined")) > 0
	})
}

// TestMomentaryQuarantine: a store that is named and cleared within moments pages
// nobody, but is in the log; one that stays is told a second later.
func TestMomentaryQuarantine(t *testing.T) {
	s := startSidecar(t, smallApp, smallSite)
	forgetRecorded()
	log := loadRecorded(t, s, "")
	guard := s.app(t).Guard()
	stream := s.listen(t, "/firebreak/events")
	quarantine(t, guard, "z2", "e")
	guard.ResetStore("z2", "e", "", "")
	quarantine(t, guard, "z1", "a")
	began := guard.Store("z1", "a").Since
	stream.next(t, "store_quarantined")
	if waited := time.Since(began); waited > 500*time.Millisecond {
		t.Errorf("the stream had it after %s", waited)
	}
	eventually(t, "the quarantine that stays is told", func() bool { return len(recordedEvents("firebreak.store_quarantined")) > 0 })
	if waited := time.Since(began); waited < 900*time.Millisecond || waited > 2*time.Second {
		t.Errorf("it was told after %s, want a second", waited)
	}
	for _, name := range []string{"store_quarantined", "store_released"} {
		for _, e := range recordedEvents("firebreak." + name) {
			if e.Data["store"] == "e" {
				t.Errorf("the momentary quarantine was told: %s %v", name, e.Data)
			}
		}
	}
	if lines := logLines(t, log, "store is in quarantine"); len(lines) != 2 {
		t.Errorf("the log has %d quarantines, want both", len(lines))
	}
	eventually(t, "the release is in the log", func() bool { return len(logLines(t, log, "store is released")) == 1 })
}
