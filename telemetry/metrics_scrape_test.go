package telemetry

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/maintenance"
	"github.com/firebreak-proxy/firebreak/recovery"
	"github.com/firebreak-proxy/firebreak/routing"
)

// Bounds of a scrape, for any number of zones.
const (
	mostSeries        = 200
	mostSeriesPerZone = 20
)

// scraped is a guard with its own registry.
type scraped struct {
	guard    *breaker.Guard
	registry *prometheus.Registry
	policy   *config.Policy
}

// scrapeOf makes a guard for these zones the one that is scraped.
func scrapeOf(tb testing.TB, zones []string) scraped {
	tb.Helper()
	policy, err := (&config.App{Workers: 4000}).Policy()
	if err != nil {
		tb.Fatal(err)
	}
	s := scraped{guard: breaker.New(policy, breaker.Options{}), registry: prometheus.NewPedanticRegistry(), policy: policy}
	tb.Cleanup(s.guard.Close)
	s.guard.Apply(policy, zones)
	hash, err := routing.NewHash(zones)
	if err != nil {
		tb.Fatal(err)
	}
	m, err := Register(s.registry)
	if err != nil {
		tb.Fatal(err)
	}
	source := &Source{Guard: s.guard, Board: maintenance.New(maintenance.Options{}), Directory: hash, Jobs: recovery.New(recovery.Options{})}
	previous := m.Follow(source)
	tb.Cleanup(func() { m.Unfollow(source, previous) })
	return s
}

func zoneNames(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("zone-%04d", i)
	}
	return names
}

// fault gives every zone some of everything that can be counted.
func (s scraped) fault(tb testing.TB, zones []string) {
	tb.Helper()
	for _, zone := range zones {
		for i, o := range breaker.Outcomes() {
			slot, _ := s.guard.Admit(context.Background(), breaker.Request{Zone: zone, Store: fmt.Sprint("store-", zone, i)})
			if slot == nil {
				continue
			}
			slot.Track()
			if i < 3 {
				slot.Answer(o)
			} else if i == 4 {
				slot.Hang()
				continue // it stays hung
			}
			slot.End(o)
		}
		Shared().NoteMaintenance(zone)
		Shared().Exemplars.Note(zone, &Exemplar{TraceID: "4bf92f3577b34da6a3ce929d0e0e4736", SpanID: "00f067aa0ba902b7", Seconds: 3, At: time.Now()})
	}
}

// scrape is what Caddy's metrics handler answers.
func (s scraped) scrape(tb testing.TB, accept string) []byte {
	tb.Helper()
	handler := promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{EnableOpenMetrics: true})
	r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
	r.Header.Set("Accept", accept)
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		tb.Fatalf("status %d: %s", w.Code, w.Body)
	}
	return w.Body.Bytes()
}

const (
	acceptText        = "text/plain"
	acceptOpenMetrics = "application/openmetrics-text; version=1.0.0"
)

func series(text []byte) (n int) {
	for line := range bytes.Lines(text) {
		if line[0] != '#' {
			n++
		}
	}
	return n
}

// TestScrapeIsBounded: 200 series and 20 for every zone, of a thousand zones at most,
// whatever happens in them. How long a scrape takes is for the benchmark and the end-to-end test.
func TestScrapeIsBounded(t *testing.T) {
	for _, n := range []int{1, 12, 1000, 3000} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			zones := zoneNames(n)
			s := scrapeOf(t, zones)
			calm := series(s.scrape(t, acceptText))
			s.fault(t, zones)
			text := s.scrape(t, acceptText)
			got := series(text) + detailedZones + mostCulprits + 4*meteredRecoveries + 3 // those that a fault may bring
			t.Logf("%d zones: %d series calm, %d after a fault of every zone; %d KB", n, calm, got, len(text)>>10)
			if limit := mostSeries + mostSeriesPerZone*min(n, meteredZones); got > limit || calm > limit {
				t.Errorf("%d series, want at most %d", got, limit)
			}
			perZone := 0
			for line := range bytes.Lines(text) {
				if bytes.Contains(line, []byte(fmt.Sprintf(`zone="zone-%04d"`, min(n, meteredZones)-1))) && !bytes.Contains(line, []byte("store=")) {
					perZone++
				}
			}
			if n > detailedZones && perZone != mostSeriesPerZone {
				t.Errorf("%d series of one zone, want %d", perZone, mostSeriesPerZone)
			}
		})
	}
}

// BenchmarkScrape is a scrape of a thousand zones. Budget: 100 ms.
func BenchmarkScrape(b *testing.B) {
	zones := zoneNames(1000)
	s := scrapeOf(b, zones)
	s.fault(b, zones)
	b.ReportAllocs()
	for b.Loop() {
		s.scrape(b, acceptText)
	}
}

// TestZonesComeAndGo: what is counted for all zones together never goes down,
// and zones that are gone have no series.
func TestZonesComeAndGo(t *testing.T) {
	s := scrapeOf(t, []string{"old", "stays"})
	for _, zone := range []string{"old", "stays"} {
		slot, _ := s.guard.Admit(t.Context(), breaker.Request{Zone: zone, Store: "a"})
		slot.Answer(breaker.OK)
		slot.End(breaker.OK)
		Shared().NoteMaintenance(zone)
	}
	s.guard.Apply(s.policy, []string{"stays", "new"})
	text := string(s.scrape(t, acceptText))
	for _, want := range []string{
		`caddy_firebreak_admissions_total 2`,
		`caddy_firebreak_outcomes_total{outcome="ok"} 2`,
		`caddy_firebreak_request_duration_seconds_count 2`,
		`caddy_firebreak_requests_total{outcome="ok",zone="stays"} 1`,
		`caddy_firebreak_requests_total{outcome="ok",zone="new"} 0`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if strings.Contains(text, `zone="old"`) {
		t.Error("a zone that is gone has series")
	}
	if _, ok := Shared().inMaintenance.Load("old"); ok {
		t.Error("a zone that is gone is remembered")
	}
}

// TestScrapesDuringTraffic: several at once, while requests come and zones go.
func TestScrapesDuringTraffic(t *testing.T) {
	zones := zoneNames(10)
	s := scrapeOf(t, zones)
	var work sync.WaitGroup
	for i := range 2 {
		work.Go(func() {
			s.fault(t, zones[5*i:5*i+5])
		})
		work.Go(func() {
			for range 20 {
				s.scrape(t, []string{acceptText, acceptOpenMetrics}[i])
				s.guard.Apply(s.policy, zones[i:])
			}
		})
	}
	work.Wait()
}

// TestCulpritsAreNamedWhileTheyLast: at most ten, whatever their names are.
func TestCulpritsAreNamedWhileTheyLast(t *testing.T) {
	s := scrapeOf(t, []string{"z1"})
	well := func(i int) {
		slot, refusal := s.guard.Admit(t.Context(), breaker.Request{Zone: "z1", Store: fmt.Sprint("well", i)})
		if refusal != nil {
			t.Fatal(refusal)
		}
		slot.End(breaker.OK)
	}
	var slots []*breaker.Slot
	for i := range 15 {
		slot, refusal := s.guard.Admit(t.Context(), breaker.Request{Zone: "z1", Store: fmt.Sprintf("store\xff\"\n%d", i)})
		if refusal != nil {
			t.Fatal(refusal)
		}
		slot.Track()
		slots = append(slots, slot)
	}
	// They hang while others are answered, so it is their own fault.
	for i, end := 0, time.Now().Add(10*time.Second); len(s.guard.Culprits("")) < len(slots) && time.Now().Before(end); i++ {
		well(i % 100)
		time.Sleep(10 * time.Millisecond)
	}
	count := func() int {
		return bytes.Count(s.scrape(t, acceptText), []byte("\n"+metricPrefix+"culprit_worker_seconds{"))
	}
	if got := count(); got != mostCulprits {
		t.Errorf("%d culprits, want %d: %+v", got, mostCulprits, s.guard.Culprits(""))
	}
	for _, slot := range slots {
		slot.End(breaker.OK)
	}
	end := time.Now().Add(5 * time.Second)
	for count() > 0 && time.Now().Before(end) {
		time.Sleep(10 * time.Millisecond)
	}
	if got := count(); got != 0 {
		t.Errorf("%d culprits after all of them were answered", got)
	}
}

// TestHistogramsAreNativeToo: the buckets are those that Prometheus' own
// library counts in.
func TestHistogramsAreNativeToo(t *testing.T) {
	s := scrapeOf(t, []string{"z1"})
	own := prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "own", NativeHistogramBucketFactor: 1.1, NativeHistogramZeroThreshold: 1.0 / (1 << 14),
	})
	slot, _ := s.guard.Admit(t.Context(), breaker.Request{Zone: "z1", Store: "a"})
	time.Sleep(3 * time.Millisecond)
	slot.Answer(breaker.OK)
	slot.End(breaker.OK)
	got := s.histogram(t, "zone_first_byte_seconds")
	own.Observe(got.GetSampleSum())
	var want dto.Metric
	if err := own.Write(&want); err != nil {
		t.Fatal(err)
	}
	w := want.Histogram
	if got.GetSchema() != w.GetSchema() || got.GetZeroThreshold() != w.GetZeroThreshold() || got.GetSampleCount() != 1 {
		t.Errorf("schema %d, zero threshold %g, count %d; want %d, %g, 1", got.GetSchema(), got.GetZeroThreshold(), got.GetSampleCount(), w.GetSchema(), w.GetZeroThreshold())
	}
	if !cmp.Equal(got.GetPositiveDelta(), w.GetPositiveDelta()) || got.PositiveSpan[0].GetOffset() != w.PositiveSpan[0].GetOffset() {
		t.Errorf("%v at %d, want %v at %d", got.GetPositiveDelta(), got.PositiveSpan[0].GetOffset(), w.GetPositiveDelta(), w.PositiveSpan[0].GetOffset())
	}
}

func (s scraped) histogram(t *testing.T, name string) *dto.Histogram {
	t.Helper()
	families, err := s.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == metricPrefix+name {
			return family.Metric[0].Histogram
		}
	}
	t.Fatalf("no metric %s", name)
	return nil
}

// TestExemplars: they are in the buckets of the OpenMetrics format.
func TestExemplars(t *testing.T) {
	s := scrapeOf(t, []string{"z1"})
	s.fault(t, []string{"z1"})
	text := string(s.scrape(t, acceptOpenMetrics))
	for _, want := range []string{`zone_first_byte_seconds_bucket{zone="z1",le="+Inf"} `, `request_duration_seconds_bucket{le="5.0"} `} {
		at := strings.Index(text, metricPrefix+want)
		if at < 0 {
			t.Fatalf("no %s in\n%s", want, text)
		}
		if line, _, _ := strings.Cut(text[at:], "\n"); !strings.Contains(line, `trace_id="4bf92f3577b34da6a3ce929d0e0e4736"`) {
			t.Errorf("no exemplar in %s", line)
		}
	}
}

// docsMetric is a row of the tables in docs/metrics.md.
var docsMetric = regexp.MustCompile("(?m)^\\| `(caddy_firebreak_[a-z_]+)` \\| (counter|gauge|histogram) \\|([^|]*)\\|")

// TestMetricsAreDocumented checks docs/metrics.md against the code, both ways.
func TestMetricsAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	var got, want []string
	for _, row := range docsMetric.FindAllStringSubmatch(string(page), -1) {
		got = append(got, row[1]+" "+row[2]+" "+strings.ReplaceAll(strings.TrimSpace(row[3]), "`", ""))
	}
	for _, m := range allMeters {
		want = append(want, m.name+" "+m.kind+" "+strings.Join(m.labels, ", "))
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("docs/metrics.md and the code differ (-code +page):\n%s", diff)
	}
}
