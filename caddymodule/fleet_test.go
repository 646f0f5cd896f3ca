package caddymodule_test

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/telemetry"
)

// TestFleetAcrossReloads: the fleet goes on with a configuration that has the same one,
// gives way to another one, and ends with the last. Its Redis is not there, which keeps
// nothing from loading.
func TestFleetAcrossReloads(t *testing.T) {
	of := func(options string) string {
		return fmt.Sprintf("%s\ninstance host1\nstate redis 127.0.0.1:1 {\n%s\n}", smallApp, options)
	}
	s := startSidecar(t, of("fleet"), smallSite)
	first := s.app(t).Fleet()
	if _, text := s.ask(t, http.MethodGet, "/metrics"); !strings.Contains(text, "\ncaddy_firebreak_fleet_connected 0\n") || !strings.Contains(text, `caddy_firebreak_fleet_messages_total{result="unsent"}`) {
		t.Error("the metrics do not tell of the fleet")
	}
	if err := s.load(strings.Replace(of("fleet"), "open_time 1m", "open_time 2m", 1), smallSite); err != nil {
		t.Fatal(err)
	}
	if s.app(t).Fleet() != first {
		t.Error("another open time begins another fleet")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	taken := "\n}\nhttp://" + listener.Addr().String() + " {\nbind 127.0.0.1"
	for _, options := range []string{"fleet", "fleet observe", ""} {
		if err := s.load(of(options), smallSite+taken); err == nil {
			t.Fatal("loads with an address that is taken")
		}
	}
	if !first.Running() || s.app(t).Fleet() != first {
		t.Error("a configuration that does not load ends the fleet")
	}
	log := loadLogged(t, s, of("fleet observe"), "")
	second := s.app(t).Fleet()
	if second == first || first.Running() || !second.Running() {
		t.Errorf("of the fleets of the old and the new configuration run: %t, %t", first.Running(), second.Running())
	}
	if len(logLines(t, log, telemetry.LogFleetObserving)) != 1 {
		t.Error("the log does not tell of the fleet")
	}
	for end := time.Now().Add(10 * time.Second); len(logLines(t, log, telemetry.LogFleetLost)) != 1; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the log does not tell that the fleet is not there")
		}
	}
	if err := s.load(smallApp, smallSite); err != nil {
		t.Fatal(err)
	}
	if s.app(t).Fleet() != nil || second.Running() {
		t.Error("a fleet goes on without a configuration that has one")
	}
	if _, text := s.ask(t, http.MethodGet, "/metrics"); strings.Contains(text, "caddy_firebreak_fleet_") {
		t.Error("the metrics tell of a fleet that there is not")
	}
}
