package telemetry

import (
	"strings"
	"testing"

	"go.uber.org/zap/zapcore"

	"github.com/firebreak-proxy/firebreak/breaker"
)

// TestServersAreTold: the line and the event about a server name it.
func TestServersAreTold(t *testing.T) {
	for kind, want := range map[string]struct {
		level   zapcore.Level
		message string
		next    string
	}{
		breaker.EventServerOut:  {zapcore.WarnLevel, LogServerOut, "look at the API server 10.0.0.5:9000"},
		breaker.EventServerBack: {zapcore.InfoLevel, LogServerBack, ""},
	} {
		e := &breaker.Event{Kind: kind, Server: "10.0.0.5:9000", Evidence: "x"}
		s := storyOf(e)
		if s.level != want.level || s.message != want.message || !strings.HasPrefix(s.next, want.next) || (want.next == "") != (s.next == "") {
			t.Errorf("%s is told as %+v", kind, s)
		}
		if got := eventData(e, s)[FieldServer]; got != "10.0.0.5:9000" {
			t.Errorf("%s: the event's server is %v", kind, got)
		}
		named := false
		for _, f := range logFields(e, s) {
			named = named || f.Key == FieldServer && f.String == "10.0.0.5:9000"
		}
		if !named {
			t.Errorf("%s: the log line does not name the server", kind)
		}
	}
}
