package telemetry

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/firebreak-proxy/firebreak/episodes"
	"github.com/firebreak-proxy/firebreak/incidents"
	"github.com/firebreak-proxy/firebreak/maintenance"
)

// TestWebhookFormats: what is posted is what the receivers document, whatever the
// names and texts in it are; and what they do not want is not posted.
func TestWebhookFormats(t *testing.T) {
	const key, hostile = "0123456789abcdef0123456789abcdef", "z7 \"<!channel>\\ \x00"
	began := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	parts := make([]incidents.Part, 50)
	for n := range parts {
		parts[n] = incidents.Part{Sidecar: hostile, Began: began, Opened: began.Add(time.Second), Ended: began.Add(time.Minute), Hung: 3, Refused: 200}
	}
	episode := func(kind string, grave int) map[string]any {
		return episodeData(&episodes.Event{
			Kind: kind, At: began.Add(time.Minute), ID: "20260301-120000-z7", Into: "x", Zone: hostile, Grave: grave,
			Evidence: hostile + strings.Repeat("é", 5000), Sum: incidents.SumParts(parts), Sidecars: parts,
		})
	}
	events := []struct {
		name string
		data map[string]any
	}{
		{episodes.EventBegan, episode(episodes.EventBegan, incidents.GraveStores)},
		{episodes.EventWorsened, episode(episodes.EventWorsened, incidents.GraveZone)},
		{episodes.EventMerged, episode(episodes.EventMerged, incidents.GraveZone)},
		{episodes.EventEnded, episode(episodes.EventEnded, incidents.GraveZone)},
		{maintenance.EventSwitchSet, switchData(&maintenance.Event{Kind: maintenance.EventSwitchSet, At: began, Detail: hostile + strings.Repeat("x", 3000)}, LogSwitchSet, "")},
		{"zone_opened", map[string]any{"zone": "z7"}},
	}
	for _, test := range []struct {
		format, key string
		method      string
		schemas     []string // of what is posted, by event; "": nothing is
		says        []string
	}{
		{"pagerduty", key, http.MethodPost, []string{"pagerduty", "pagerduty", "pagerduty", "pagerduty", "pagerduty_change", ""}, []string{`"warning"`, `"critical"`, `"resolve"`, `"dedup_key":"20260301-120000-z7"`, "maintenance is on"}},
		{"alertmanager", "", http.MethodPost, []string{"alertmanager", "alertmanager", "alertmanager", "alertmanager", "", ""}, []string{`"startsAt":"2026-03-01T12:00:00.000Z"`, `"zone"`, `"endsAt":"2026-03-01T12:01:00.000Z"`, `"endsAt":"2026-03-01T12:01:00.000Z"`}},
		{"slack", "", http.MethodPost, []string{"slack", "slack", "slack", "slack", "slack", ""}, []string{"Why", "cut off", "", "50 sidecars", "maintenance is on"}},
		{"statuspage", key, http.MethodPatch, []string{"statuspage", "statuspage", "", "statuspage", "", ""}, []string{"degraded_performance", "partial_outage", "operational"}},
	} {
		t.Run(test.format, func(t *testing.T) {
			r := newReceiver(t, always(http.StatusOK))
			h := newWebhook(t, &Webhook{URL: r.URL + "/v2/enqueue", Format: test.format, Key: test.key})
			var want []string
			for n, e := range events {
				emit(t, h, EventPrefix+e.name, e.data)
				if schema := test.schemas[n]; schema != "" {
					want = append(want, schema)
				}
			}
			until(t, "all are posted", func() bool { n, _ := r.seen(); return n == len(want) })
			_ = h.Cleanup()
			<-h.done
			_, bodies := r.seen()
			if len(bodies) != len(want) {
				t.Fatalf("%d were posted, want %d", len(bodies), len(want))
			}
			for n, body := range bodies {
				follows(t, want[n], body)
				if !strings.Contains(body, test.says[n]) {
					t.Errorf("no %s in %s", test.says[n], body)
				}
				if got := r.got[n]; got.Method != test.method || (want[n] == "pagerduty_change") != (got.URL.Path == "/v2/change/enqueue") {
					t.Errorf("%s %s of %s", got.Method, got.URL.Path, want[n])
				}
				if test.format == "slack" && strings.Contains(body, "<!channel>") && !strings.Contains(body, "plain_text") {
					t.Errorf("a name calls everybody: %s", body)
				}
			}
			if test.format == "statuspage" && r.got[0].Header.Get("Authorization") != "OAuth "+key {
				t.Errorf("authorization %q", r.got[0].Header.Get("Authorization"))
			}
		})
	}
}

// follows checks a body against a receiver's schema.
func follows(t *testing.T, schema, body string) {
	t.Helper()
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	compiled, err := compiler.Compile("testdata/receivers/" + schema + ".json")
	if err != nil {
		t.Fatal(err)
	}
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(body))
	if err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	if err := compiled.Validate(value); err != nil {
		t.Errorf("%v\n%s", err, body)
	}
}
