//go:build e2e

package e2e_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// monitoringFile is a file of the example, as an absolute path.
func monitoringFile(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("..", "examples", "monitoring", name))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// promtool runs Prometheus' own tool, which must not complain.
func promtool(t *testing.T, stdin []byte, args ...string) {
	t.Helper()
	cmd := exec.Command("promtool", args...)
	cmd.Stdin = bytes.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// TestMonitoringFiles: Prometheus' own tool has nothing to say against the
// example's configuration, rules and dashboard.
func TestMonitoringFiles(t *testing.T) {
	promtool(t, nil, "check", "config", monitoringFile(t, "prometheus.yml"))
	promtool(t, nil, "check", "rules", monitoringFile(t, "firebreak.rules.yml"))
	promtool(t, nil, "test", "rules", monitoringFile(t, "firebreak.test.yml"))
	promtool(t, nil, "check", "rules", recordingRules(t, dashboardQueries(t)))
	if out, err := exec.Command("amtool", "check-config", monitoringFile(t, "alertmanager.yml")).CombinedOutput(); err != nil {
		t.Errorf("amtool: %v\n%s", err, out)
	}
}

// grafanaVariable is what Grafana fills in before it asks.
var grafanaVariable = strings.NewReplacer("$__rate_interval", "1m", "$instance", ".*", "$zone", ".*")

// dashboardQueries are the queries of the dashboard's panels.
func dashboardQueries(t *testing.T) (queries []string) {
	t.Helper()
	var dashboard struct {
		Panels []struct{ Targets []struct{ Expr string } }
	}
	text, err := os.ReadFile(monitoringFile(t, "dashboard.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			queries = append(queries, grafanaVariable.Replace(target.Expr))
		}
	}
	return queries
}

// recordingRules is a file of rules that record what queries ask for.
func recordingRules(t *testing.T, queries []string) string {
	t.Helper()
	type rule struct {
		Record string `json:"record"`
		Expr   string `json:"expr"`
	}
	var rules []rule
	for i, query := range queries {
		rules = append(rules, rule{fmt.Sprintf("some:query:%d", i), query})
	}
	text, err := json.Marshal(map[string]any{"groups": []any{map[string]any{"name": "some", "rules": rules}}})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "some.rules.yml")
	if err := os.WriteFile(path, text, 0o644); err != nil { // JSON is YAML, too
		t.Fatal(err)
	}
	return path
}

// prometheus is a running Prometheus that scrapes a proxy every second.
type prometheus struct{ addr string }

// quickly shortens how long the alerts wait: a test has no minutes. Those that
// wait for hours do so here, too.
var quickly = regexp.MustCompile(`(?m)for: (15s|30s|1m|2m)$`)

// startPrometheus runs Prometheus with the example's rules. It sends its alerts to
// the Alertmanager.
func startPrometheus(t *testing.T, p *proxy, to *alertmanager) *prometheus {
	t.Helper()
	dir := t.TempDir()
	rules, err := os.ReadFile(monitoringFile(t, "firebreak.rules.yml"))
	if err != nil {
		t.Fatal(err)
	}
	own := map[string]string{
		"rules.yml": quickly.ReplaceAllString(string(rules), "for: 3s"),
		"prometheus.yml": fmt.Sprintf(`global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: [rules.yml]
alerting: {alertmanagers: [{static_configs: [{targets: [%q]}]}]}
scrape_configs:
  - job_name: firebreak
    static_configs: [{targets: [%q]}]
`, to.addr, p.admin),
	}
	for name, text := range own {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	prom := &prometheus{addr: freeAddr(t)}
	cmd := exec.Command("prometheus", "--config.file="+filepath.Join(dir, "prometheus.yml"), "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+prom.addr, "--enable-feature=native-histograms,exemplar-storage", "--log.level=warn")
	logTo(t, cmd, "prometheus.log")
	if err := as(cmd, "root"); err != nil {
		t.Fatal(err)
	}
	if err := startBehind(cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { killGroup(cmd) })
	eventually(t, 30*time.Second, "Prometheus has scraped the proxy", func() bool {
		return listens(prom.addr) && len(prom.query(t, "caddy_firebreak_workers")) == 1
	})
	return prom
}

// vector is one sample of an answer.
type vector struct {
	Metric map[string]string `json:"metric"`
	Value  [2]any            `json:"value"`
}

func (p *prometheus) ask(t *testing.T, path string, into any) {
	t.Helper()
	resp, err := adminClient.Get("http://" + p.addr + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer := struct {
		Status, Error string
		Data          any
	}{Data: into}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || answer.Status != "success" {
		if resp.StatusCode != http.StatusServiceUnavailable { // it is still starting
			t.Fatalf("GET %s: %s, %v: %s", path, resp.Status, err, answer.Error)
		}
	}
}

func (p *prometheus) query(t *testing.T, expr string) []vector {
	t.Helper()
	var answer struct{ Result []vector }
	p.ask(t, "/api/v1/query?query="+url.QueryEscape(expr), &answer)
	return answer.Result
}

// firing are the alerts that fire, with the zone they fire for.
func (p *prometheus) firing(t *testing.T) (firing []string) {
	t.Helper()
	var answer struct {
		Alerts []struct {
			State  string
			Labels map[string]string
		}
	}
	p.ask(t, "/api/v1/alerts", &answer)
	for _, alert := range answer.Alerts {
		if alert.State == "firing" {
			firing = append(firing, alert.Labels["severity"]+" "+strings.TrimSpace(alert.Labels["alertname"]+" "+alert.Labels["zone"]))
		}
	}
	slices.Sort(firing)
	return firing
}

func pages(firing []string) []string {
	return slices.DeleteFunc(firing, func(alert string) bool { return !strings.HasPrefix(alert, "page ") })
}

// TestMonitoring: a real Prometheus with the example's rules scrapes a real
// outage. The zone's alert fires, and no other; as soon as the zone is in
// maintenance no page is sent, though it is as sick as before. A real Alertmanager
// with the example's configuration hears of the episode from the sidecar, and inhibits
// what Prometheus says of the same.
func TestMonitoring(t *testing.T) {
	pool := gunicorn(t)
	am := startAlertmanager(t)
	s := gunicornSite(pool, "")
	s.servers = fmt.Sprintf("\tevents {\n\t\ton * firebreak_webhook http://%s/api/v2/alerts {\n\t\t\tformat alertmanager\n\t\t}\n\t}\n", am.addr)
	p := startProxy(t, s)
	warm(t, p, "/search")
	prom := startPrometheus(t, p, am)
	sick := world.databases[3]
	plan := everyday(p, "/search", 45*time.Second)
	plan.Rate = rate / 3
	tr := drive(t, plan)
	tr.sleepUntil(3 * time.Second)
	if firing := prom.firing(t); len(firing) > 0 {
		t.Errorf("on a calm day: %v", firing)
	}
	froze := time.Now()
	sick.freeze()
	want := []string{"page FirebreakZoneOpen " + sick.zone}
	eventually(t, 20*time.Second, "the zone's alert fires", func() bool { return slices.Equal(pages(prom.firing(t)), want) })
	figure(t, "alert %.1f s after the freeze (3 s of them its `for`)", time.Since(froze).Seconds())
	eventually(t, 10*time.Second, "what Prometheus says of the episode is inhibited", func() bool {
		own := am.alerts(t, "FirebreakZoneOpen")
		return len(own) == 1 && len(own[0].Status.InhibitedBy) == 1
	})
	episode := am.alerts(t, "FirebreakEpisode")
	if len(episode) != 1 || episode[0].Status.State != "active" || episode[0].Labels["zone"] != sick.zone || episode[0].Annotations["grave"] != "zone" {
		t.Errorf("the Alertmanager has of the episode: %+v", episode)
	}
	time.Sleep(time.Second)
	if firing := pages(prom.firing(t)); !slices.Equal(firing, want) {
		t.Errorf("firing: %v, want %v", firing, want)
	}
	asked := time.Now()
	p.mustChange(t, http.MethodPut, "maintenance/zones/"+sick.zone, `{"reason": "repairing", "by": "test"}`)
	eventually(t, 15*time.Second, "no page is sent", func() bool { return len(pages(prom.firing(t))) == 0 })
	figure(t, "quiet %.1f s after the switch", time.Since(asked).Seconds())
	for end := time.Now().Add(4 * time.Second); time.Now().Before(end); time.Sleep(time.Second) {
		if firing := pages(prom.firing(t)); len(firing) > 0 {
			t.Errorf("somebody is paged for a zone in maintenance: %v", firing)
		}
	}
	if state := p.zone(t, sick.zone).State; state == "calm" {
		t.Errorf("the zone is %s: the test proves nothing", state)
	}
	p.checkScrape(t, prom, sick.zone)
	sick.heal()
	p.mustChange(t, http.MethodDelete, "maintenance/zones/"+sick.zone, "")
	eventually(t, 20*time.Second, "the alert of the episode is resolved", func() bool { return len(am.alerts(t, "FirebreakEpisode")) == 0 })
	tr.stop()
	tr.wait(t)
}

// alertmanager is a running Alertmanager with the example's configuration.
type alertmanager struct{ addr string }

func startAlertmanager(t *testing.T) *alertmanager {
	t.Helper()
	am := &alertmanager{addr: freeAddr(t)}
	cmd := exec.Command("prometheus-alertmanager", "--config.file="+monitoringFile(t, "alertmanager.yml"), "--storage.path="+t.TempDir(),
		"--web.listen-address="+am.addr, "--cluster.listen-address=", "--log.level=warn")
	logTo(t, cmd, "alertmanager.log")
	if err := as(cmd, "root"); err != nil {
		t.Fatal(err)
	}
	if err := startBehind(cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { killGroup(cmd) })
	eventually(t, 15*time.Second, "the Alertmanager listens", func() bool { return listens(am.addr) })
	return am
}

// amAlert is an alert as the Alertmanager has it.
type amAlert struct {
	Labels, Annotations map[string]string
	Status              struct {
		State       string
		InhibitedBy []string
	}
}

// alerts are those of a name that are not resolved.
func (am *alertmanager) alerts(t *testing.T, name string) (alerts []amAlert) {
	t.Helper()
	resp, err := adminClient.Get("http://" + am.addr + "/api/v2/alerts?filter=" + url.QueryEscape("alertname="+name))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&alerts); err != nil {
		t.Fatalf("%s: %v", resp.Status, err)
	}
	return alerts
}

// checkScrape looks at what Prometheus has made of the scrapes.
func (p *proxy) checkScrape(t *testing.T, prom *prometheus, zone string) {
	t.Helper()
	promtool(t, p.page(t, "/metrics"), "check", "metrics")
	for _, query := range []string{
		fmt.Sprintf(`caddy_firebreak_zone_maintenance{zone=%q} == 2`, zone),
		fmt.Sprintf(`increase(caddy_firebreak_refusals_total{zone=%q, reason="maintenance"}[1m]) > 0`, zone),
		fmt.Sprintf(`increase(caddy_firebreak_refusals_total{zone=%q, reason="zone_open"}[1m]) > 0`, zone),
		`sum(increase(caddy_firebreak_zone_openings_total[1m])) > 0`,
		`histogram_quantile(0.99, sum(rate(caddy_firebreak_zone_first_byte_seconds[1m]))) > 0`, // native
		`zone:caddy_firebreak_first_byte_seconds:mean5m > 0`,
		`zone:caddy_firebreak_success:ratio_rate1m{zone!="` + zone + `"} > 0.9`,
	} {
		if len(prom.query(t, query)) == 0 {
			t.Errorf("nothing for %s", query)
		}
	}
	shown := 0
	queries := dashboardQueries(t)
	for _, query := range queries {
		if len(prom.query(t, query)) > 0 {
			shown++
		}
	}
	// Empty in this outage: quantities that did not occur, and the classic
	// buckets, which this Prometheus leaves for the native ones.
	figure(t, "%d of %d queries of the dashboard show something", shown, len(queries))
	if shown < len(queries)*3/4 {
		t.Errorf("only %d of %d queries of the dashboard show something", shown, len(queries))
	}
	took := time.Now()
	size := len(p.page(t, "/metrics"))
	figure(t, "scrape of %d zones: %d KB in %s", zones, size>>10, ms(time.Since(took)))
}

// manyZones is a large installation.
const manyZones = 1000

// TestScrapeOfManyZones: the scrape of a thousand zones, all of which have had
// traffic, is bounded in size and time.
func TestScrapeOfManyZones(t *testing.T) {
	stores := "store,zone\n"
	for z := range manyZones {
		stores += fmt.Sprintf("many%d,zone%d\n", z, z)
	}
	table := filepath.Join(t.TempDir(), "stores.csv")
	if err := os.WriteFile(table, []byte(stores), 0o644); err != nil {
		t.Fatal(err)
	}
	p := newProxy(t, answering(""), freeAddr(t), freeAddr(t))
	caddyfile, err := os.ReadFile(p.config())
	if err != nil {
		t.Fatal(err)
	}
	own := strings.Replace(string(caddyfile), world.storesCSV, table, 1)
	if err := os.WriteFile(p.config(), []byte(own), 0o644); err != nil {
		t.Fatal(err)
	}
	p.start(t)
	p.listening(t)
	for z := range manyZones {
		if got, err := p.ask(fmt.Sprint("many", z)); err != nil || got.status != http.StatusOK {
			t.Fatalf("zone %d: %+v, %v", z, got, err)
		}
	}
	var page []byte
	took := time.Hour
	for range 10 { // others use this machine, too
		began := time.Now()
		page = p.page(t, "/metrics")
		took = min(took, time.Since(began))
	}
	series := bytes.Count(page, []byte("\ncaddy_firebreak_"))
	figure(t, "%d zones: %d series, %d KB in %s", manyZones, series, len(page)>>10, ms(took))
	promise(t, took <= 100*time.Millisecond, took <= time.Second, "the scrape took %s, want 100 ms", ms(took))
	if limit := 200 + 20*manyZones; series > limit || series < limit*9/10 {
		t.Errorf("%d series, want at most %d", series, limit)
	}
}
