package telemetry

import (
	"encoding/json"
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
		{"grafana", key, http.MethodPost, []string{"grafana", "grafana", "", "grafana", "grafana", ""}, []string{`"time":1772366400000`, `"time":1772366460000`, `"timeEnd":1772366460000`, "maintenance is on"}},
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
			if scheme := map[string]string{"statuspage": "OAuth ", "grafana": "Bearer "}[test.format]; scheme != "" && r.got[0].Header.Get("Authorization") != scheme+key {
				t.Errorf("authorization %q", r.got[0].Header.Get("Authorization"))
			}
		})
	}
}

// follows checks a body against a receiver's schema.
func follows(t *testing.T, schema, body string) {
	t.Helper()
	if err := against(t, schema, body); err != nil {
		t.Errorf("%v\n%s", err, body)
	}
}

// against returns what a receiver's schema has to say against a body.
func against(t *testing.T, schema, body string) error {
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
	return compiled.Validate(value)
}

// TestReceiversRefuse: each rule of the schemas finds the body that breaks it.
func TestReceiversRefuse(t *testing.T) {
	const (
		trigger   = `{"routing_key":"0123456789abcdef0123456789abcdef","event_action":"trigger","dedup_key":"k","payload":{"summary":"s","source":"h","severity":"critical","timestamp":"2026-03-01T12:00:00.000Z"}}`
		resolve   = `{"routing_key":"0123456789abcdef0123456789abcdef","event_action":"resolve","dedup_key":"k"}`
		change    = `{"routing_key":"0123456789abcdef0123456789abcdef","payload":{"summary":"s","source":"h","timestamp":"2026-03-01T12:00:00.000Z"},"links":[{"href":"https://example.com/"}]}`
		alerts    = `[{"labels":{"alertname":"a"},"startsAt":"2026-03-01T12:00:00.000Z"}]`
		point     = `{"time":1772366400000,"tags":["firebreak","zone:z7"],"text":"t"}`
		message   = `{"text":"t","blocks":[{"type":"header","text":{"type":"plain_text","text":"h"}},{"type":"section","text":{"type":"mrkdwn","verbatim":true,"text":"s"}},{"type":"context","elements":[{"type":"plain_text","text":"c"}]}]}`
		component = `{"component":{"status":"operational"}}`
	)
	long := func(n int) string { return strings.Repeat("x", n) }
	for _, test := range []struct{ name, schema, body, old, broken string }{
		{"severity of another product", "pagerduty", trigger, `"critical"`, `"major"`},
		{"no severity", "pagerduty", trigger, `"severity":"critical",`, ``},
		{"no source", "pagerduty", trigger, `"source":"h",`, ``},
		{"no payload", "pagerduty", trigger, `,"payload":{"summary":"s","source":"h","severity":"critical","timestamp":"2026-03-01T12:00:00.000Z"}`, ``},
		{"summary too long", "pagerduty", trigger, `"summary":"s"`, `"summary":"` + long(1025) + `"`},
		{"key too long", "pagerduty", trigger, `"dedup_key":"k"`, `"dedup_key":"` + long(256) + `"`},
		{"unknown action", "pagerduty", trigger, `"trigger"`, `"open"`},
		{"routing key cut off", "pagerduty", trigger, `89abcdef"`, `"`},
		{"no time of day", "pagerduty", trigger, `T12:00:00.000Z`, ``},
		{"unknown field", "pagerduty", trigger, `"dedup_key"`, `"incident_key"`},
		{"of nothing", "pagerduty", resolve, `,"dedup_key":"k"`, ``},
		{"no summary", "pagerduty_change", change, `"summary":"s",`, ``},
		{"severity of a change", "pagerduty_change", change, `"source"`, `"severity"`},
		{"link without address", "pagerduty_change", change, `"href"`, `"text"`},
		{"key of a ruleset", "pagerduty_change", change, `"0123`, `"R123`},
		{"one alert, not a list", "alertmanager", alerts, `[{"labels":{"alertname":"a"},"startsAt":"2026-03-01T12:00:00.000Z"}]`, `{"labels":{"alertname":"a"}}`},
		{"no labels", "alertmanager", alerts, `"labels"`, `"annotations"`},
		{"a number as a label", "alertmanager", alerts, `"a"}`, `7}`},
		{"seconds", "alertmanager", alerts, `"2026-03-01T12:00:00.000Z"`, `1772366400`},
		{"unknown field", "alertmanager", alerts, `"startsAt"`, `"status"`},
		{"seconds", "grafana", point, `1772366400000`, `1772366400`},
		{"text as a time", "grafana", point, `1772366400000`, `"2026-03-01T12:00:00Z"`},
		{"no text", "grafana", point, `,"text":"t"`, ``},
		{"tags in one", "grafana", point, `["firebreak","zone:z7"]`, `"firebreak,zone:z7"`},
		{"tag that would be cut", "grafana", point, `zone:z7`, `zone:a:b`},
		{"HTML", "grafana", point, `"t"`, `"<b>"`},
		{"unknown field", "grafana", point, `"time"`, `"when"`},
		{"header in markup", "slack", message, `"plain_text","text":"h"`, `"mrkdwn","text":"h"`},
		{"header too long", "slack", message, `"text":"h"`, `"text":"` + long(151) + `"`},
		{"section too long", "slack", message, `"text":"s"`, `"text":"` + long(3001) + `"`},
		{"empty text", "slack", message, `"text":"c"`, `"text":""`},
		{"verbatim plain text", "slack", message, `{"type":"plain_text","text":"c"}`, `{"type":"plain_text","verbatim":true,"text":"c"}`},
		{"unknown block", "slack", message, `"section"`, `"paragraph"`},
		{"no fallback", "slack", message, `"text":"t",`, ``},
		{"unknown status", "statuspage", component, `"operational"`, `"down"`},
		{"status of no component", "statuspage", component, `{"component":{"status":"operational"}}`, `{"status":"operational"}`},
	} {
		t.Run(test.schema+"/"+test.name, func(t *testing.T) {
			follows(t, test.schema, test.body)
			broken := strings.Replace(test.body, test.old, test.broken, 1)
			if broken == test.body {
				t.Fatal("nothing was broken")
			}
			if err := against(t, test.schema, broken); err == nil {
				t.Errorf("not found: %s", broken)
			}
		})
	}
}

// TestObserved: nobody is paged for what is not refused.
func TestObserved(t *testing.T) {
	observed := &told{name: episodes.EventBegan, data: map[string]any{FieldZone: "z7", FieldObserve: true, "grave": graveZone}}
	if made := formatStatuspage(observed); made != nil {
		t.Errorf("statuspage: %v", made.body)
	}
	for format, want := range map[string]string{"pagerduty": `"severity":"info"`, "alertmanager": `"observe":"true"`} {
		body, err := json.Marshal(webhookFormats[format].post(observed).body)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(body), want) {
			t.Errorf("%s: no %s in %s", format, want, body)
		}
	}
}

// TestGrafanaTags: all tags together stay below what Grafana takes, whatever a zone is
// called, and an end before the beginning is no region that runs backwards.
func TestGrafanaTags(t *testing.T) {
	for _, zone := range []string{"z7", strings.Repeat("𝔷", 500), ":", "a:b:c", " "} {
		made := formatGrafana(&told{name: episodes.EventEnded, data: map[string]any{
			FieldZone: zone, FieldIncident: "20260301-120000-" + strings.Repeat("x", 40) + "~01234567-12", "message": "m",
			"began": "2026-03-01T12:00:01.000Z", "ended": "2026-03-01T12:00:00.000Z",
		}})
		body, err := json.Marshal(made.body)
		if err != nil {
			t.Fatal(err)
		}
		follows(t, "grafana", string(body))
		annotation := made.body.(map[string]any)
		tags, err := json.Marshal(annotation["tags"])
		if err != nil {
			t.Fatal(err)
		}
		if len(tags) > 500 || annotation["time"].(int64) > annotation["timeEnd"].(int64) {
			t.Errorf("%d bytes of tags: %s", len(tags), body)
		}
	}
}

// TestWebhookFormatsOfServers: an episode of a server names it, and no zone.
func TestWebhookFormatsOfServers(t *testing.T) {
	data := episodeData(&episodes.Event{Kind: episodes.EventBegan, At: time.Now(), ID: "i", Server: "api3:9000", Grave: incidents.GraveZone, Evidence: "no answer"})
	for format, want := range map[string]string{
		"pagerduty":    `"component":"api3:9000"`,
		"alertmanager": `"server":"api3:9000"`,
		"grafana":      `"server:api3_9000"`,
		"slack":        "server api3:9000 is out of service",
	} {
		body, err := json.Marshal(webhookFormats[format].post(&told{name: episodes.EventBegan, data: data}).body)
		if err != nil || !strings.Contains(string(body), want) || strings.Contains(string(body), `"zone"`) {
			t.Errorf("%s: %s, %v; want %s in it", format, body, err, want)
		}
	}
	if got := webhookFormats["statuspage"].post(&told{name: episodes.EventBegan, data: data}); got != nil {
		t.Errorf("statuspage, which clients read: %+v", got)
	}
}
