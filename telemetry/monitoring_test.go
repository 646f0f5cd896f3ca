package telemetry

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

const monitoring = "../examples/monitoring/"

// exampleMetric finds our metrics in an expression, but not what is recorded.
var exampleMetric = regexp.MustCompile(`(?:^|[^:a-z_])(caddy_firebreak_[a-z_]+)`)

// knownMetrics are the names of all series.
func knownMetrics() map[string]bool {
	known := make(map[string]bool)
	for _, m := range allMeters {
		known[m.name] = true // of a histogram: its native buckets
		if m.kind == kindHistogram {
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				known[m.name+suffix] = true
			}
		}
	}
	return known
}

func wantKnownMetrics(t *testing.T, where, expr string) {
	t.Helper()
	known := knownMetrics()
	for _, found := range exampleMetric.FindAllStringSubmatch(expr, -1) {
		if !known[found[1]] {
			t.Errorf("%s: there is no metric %s", where, found[1])
		}
	}
}

// TestMonitoringRules: the example's rules use metrics that exist, and every
// alert says what to do, here and in the README.
func TestMonitoringRules(t *testing.T) {
	var rules struct {
		Groups []struct {
			Rules []struct {
				Record, Alert, Expr string
				Labels, Annotations map[string]string
			}
		}
	}
	text, err := os.ReadFile(monitoring + "firebreak.rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, &rules); err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile(monitoring + "README.md")
	if err != nil {
		t.Fatal(err)
	}
	alerts := 0
	for _, group := range rules.Groups {
		for _, rule := range group.Rules {
			wantKnownMetrics(t, rule.Record+rule.Alert, rule.Expr)
			if rule.Alert == "" {
				continue
			}
			alerts++
			severity := rule.Labels["severity"]
			if rule.Annotations["summary"] == "" || rule.Annotations["description"] == "" || severity != "page" && severity != "ticket" {
				t.Errorf("%s: labels %v, annotations %v", rule.Alert, rule.Labels, rule.Annotations)
			}
			if !strings.HasSuffix(rule.Annotations["runbook_url"], "#"+strings.ToLower(rule.Alert)) || !strings.Contains(string(readme), "\n### "+rule.Alert+"\n") {
				t.Errorf("%s: no runbook in the README", rule.Alert)
			}
		}
	}
	if alerts < 10 || strings.Count(string(readme), "\n### ") != alerts {
		t.Errorf("%d alerts, %d of them in the README", alerts, strings.Count(string(readme), "\n### "))
	}
}

// TestGrafanaDashboard: the example is a dashboard as Grafana imports them, and
// shows metrics that exist. Debian has no Grafana to load it into.
func TestGrafanaDashboard(t *testing.T) {
	var dashboard struct {
		Title, UID    string
		SchemaVersion int
		Templating    struct {
			List []struct{ Name, Type, Definition string }
		}
		Annotations struct {
			List []struct{ Expr string }
		}
		Panels []struct {
			ID          int
			Type, Title string
			GridPos     *struct{ H, W, X, Y int }
			Datasource  *struct{ Type, UID string }
			Targets     []struct{ RefID, Expr string }
			FieldConfig *struct{ Defaults struct{ Unit string } }
		}
	}
	text, err := os.ReadFile(monitoring + "dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	if dashboard.Title == "" || dashboard.UID == "" || dashboard.SchemaVersion < 36 {
		t.Errorf("title %q, uid %q, schema version %d", dashboard.Title, dashboard.UID, dashboard.SchemaVersion)
	}
	variables := map[string]bool{"__rate_interval": true}
	for _, v := range dashboard.Templating.List {
		variables[v.Name] = true
		wantKnownMetrics(t, "variable "+v.Name, v.Definition)
	}
	kinds := map[string]bool{"row": true, "stat": true, "timeseries": true, "state-timeline": true, "table": true, "heatmap": true}
	ids, taken := make(map[int]bool), make(map[[2]int]string)
	for _, p := range dashboard.Panels {
		if p.ID == 0 || ids[p.ID] || !kinds[p.Type] || p.Title == "" || p.GridPos == nil || p.GridPos.X+p.GridPos.W > 24 {
			t.Fatalf("panel %d %q of type %q at %v", p.ID, p.Title, p.Type, p.GridPos)
		}
		ids[p.ID] = true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other, ok := taken[[2]int{x, y}]; ok {
					t.Fatalf("%q lies on %q", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
		if p.Type == "row" {
			continue
		}
		if len(p.Targets) == 0 || p.Datasource == nil || p.Datasource.Type != "prometheus" || p.FieldConfig == nil || p.FieldConfig.Defaults.Unit == "" {
			t.Errorf("%q shows nothing, or without a unit or data source", p.Title)
		}
		for _, target := range p.Targets {
			wantKnownMetrics(t, p.Title, target.Expr)
			for _, v := range regexp.MustCompile(`\$(\w+)`).FindAllStringSubmatch(target.Expr, -1) {
				if !variables[v[1]] {
					t.Errorf("%q: there is no variable %s", p.Title, v[1])
				}
			}
		}
	}
}
