package telemetry

import (
	"strings"
	"testing"

	"github.com/firebreak-proxy/firebreak/breaker"
)

// TestObserveRefusesNothing: no message about a zone in mode observe says that
// requests are refused or let in again.
func TestObserveRefusesNothing(t *testing.T) {
	for kind := range stories {
		s := storyOf(&breaker.Event{Kind: kind, Zone: "z7", Store: "s1", Observe: true})
		for _, wrong := range []string{"are refused", "let in", "is cut off", "is in quarantine"} {
			if strings.Contains(s.message, wrong) {
				t.Errorf("%s in mode observe: %q", kind, s.message)
			}
		}
	}
}
