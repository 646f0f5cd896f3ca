package telemetry

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/episodes"
	"github.com/firebreak-proxy/firebreak/maintenance"
	"github.com/firebreak-proxy/firebreak/recovery"
)

var (
	docsEvent  = regexp.MustCompile("(?m)^\\| `firebreak\\.([a-z_]+)` \\|")
	docsFields = regexp.MustCompile("(?m)^\\| ((?:`[a-z]+`(?:, )?)+) \\|")
)

// TestEventsAreDocumented checks docs/events.md against the code, both ways.
func TestEventsAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../docs/events.md")
	if err != nil {
		t.Fatal(err)
	}
	transitions, rest, ok := strings.Cut(string(page), "\n## Operators' switches\n")
	switches, rest, ok2 := strings.Cut(rest, "\n## Recoveries\n")
	recoveries, rest, ok3 := strings.Cut(rest, "\n## Episodes\n")
	episode, _, ok4 := strings.Cut(rest, "\n## ")
	if !ok || !ok2 || !ok3 || !ok4 {
		t.Fatal("docs/events.md has other sections")
	}
	for _, section := range []struct {
		name, text string
		events     []string
		data       map[string]any
	}{
		{"transitions", transitions, slices.Sorted(maps.Keys(stories)), eventData(&breaker.Event{}, story{})},
		{"switches", switches, slices.Sorted(maps.Keys(switchStories)), switchData(&maintenance.Event{}, "", "")},
		{"recoveries", recoveries, slices.Sorted(maps.Keys(recoveryStories)), recoveryData(&recovery.Event{}, "", "")},
		{"episodes", episode, slices.Sorted(maps.Keys(episodeStories)), episodeData(&episodes.Event{})},
	} {
		t.Run(section.name, func(t *testing.T) {
			var events, fields []string
			for _, row := range docsEvent.FindAllStringSubmatch(section.text, -1) {
				events = append(events, row[1])
			}
			for _, row := range docsFields.FindAllStringSubmatch(section.text, -1) {
				for name := range strings.SplitSeq(row[1], ", ") {
					fields = append(fields, strings.Trim(name, "`"))
				}
			}
			slices.Sort(events)
			slices.Sort(fields)
			if diff := cmp.Diff(section.events, events); diff != "" {
				t.Errorf("events (-code +page):\n%s", diff)
			}
			if diff := cmp.Diff(slices.Sorted(maps.Keys(section.data)), fields); diff != "" {
				t.Errorf("fields (-code +page):\n%s", diff)
			}
			for name, value := range section.data {
				switch value.(type) {
				case string, bool, int, uint64:
				default:
					t.Errorf("%s is a %T: the data is not flat", name, value)
				}
			}
		})
	}
}
