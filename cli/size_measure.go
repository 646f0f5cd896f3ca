package cli

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/sizing"
)

// The metrics that are measured.
const (
	metricRequests = "caddy_firebreak_requests_total"
	metricBuckets  = "caddy_firebreak_request_duration_seconds_bucket"
)

// fewest is how many requests a measurement must have seen.
const fewest = 100

// measured fills in what the flags left out from a running sidecar: the
// settings it has, and its traffic during the sample.
func (s *session) measured(load *sizing.Load, have *sizing.Settings) error {
	if err := s.settingsOf(load, have); err != nil {
		return err
	}
	if load.Rate > 0 && load.P99 > 0 {
		return nil
	}
	sample, _ := s.flags.GetDuration("sample")
	if sample <= 0 {
		return fmt.Errorf("--sample %s: it must be positive", sample)
	}
	before, err := s.scrape()
	if err != nil {
		return err
	}
	began := time.Now()
	fmt.Fprintf(s.err, "measuring %s for %s\n", s.address, sample)
	time.Sleep(sample)
	after, err := s.scrape()
	if err != nil {
		return err
	}
	return after.minus(before).fill(load, time.Since(began))
}

// settingsOf reads the pool, the zones and the settings of "zone *".
func (s *session) settingsOf(load *sizing.Load, have *sizing.Settings) error {
	ctx, cancel := s.context()
	defer cancel()
	var status struct {
		Workers int
		Servers []struct{ Address string }
		Zones   []struct{ Zone string }
	}
	answer, err := s.call(ctx, http.MethodGet, "/firebreak/status", nil)
	if err == nil {
		err = json.Unmarshal(answer, &status)
	}
	if err != nil {
		return err
	}
	zones := 0
	for _, zone := range status.Zones {
		if zone.Zone != config.UnknownZone {
			zones++
		}
	}
	load.Servers = cmp.Or(load.Servers, len(status.Servers))
	load.Workers, load.Zones = cmp.Or(load.Workers, status.Workers), cmp.Or(load.Zones, zones)
	var app config.App
	answer, err = s.call(ctx, http.MethodGet, "/config/apps/firebreak", nil)
	if err == nil {
		err = json.Unmarshal(answer, &app)
	}
	if err != nil {
		return fmt.Errorf("reading the settings of %s: %w", s.address, err)
	}
	policy, err := app.Policy()
	if err != nil {
		return fmt.Errorf("reading the settings of %s: %w", s.address, err)
	}
	z := &policy.Default
	have.Timeout, have.SlowAfter, have.Window = cmp.Or(have.Timeout, z.Timeout), cmp.Or(have.SlowAfter, z.SlowAfter), cmp.Or(have.Window, z.Window)
	have.MaxInflight, have.MaxWait = cmp.Or(have.MaxInflight, z.MaxInflight), cmp.Or(have.MaxWait, z.MaxWait)
	return nil
}

// traffic is what counters say: requests by zone, and by how long they took.
type traffic struct {
	byZone  map[string]float64
	buckets map[float64]float64 // upper bound in seconds → requests up to it
}

func (s *session) scrape() (*traffic, error) {
	ctx, cancel := s.context()
	defer cancel()
	text, err := s.call(ctx, http.MethodGet, "/metrics", nil)
	if err != nil {
		return nil, err
	}
	return readTraffic(string(text)), nil
}

// readTraffic reads the two metrics from Prometheus' text format.
func readTraffic(text string) *traffic {
	t := &traffic{byZone: make(map[string]float64), buckets: make(map[float64]float64)}
	for line := range strings.Lines(text) {
		name, rest, _ := strings.Cut(line, "{")
		labels, rest, found := strings.Cut(rest, "} ")
		if !found {
			continue
		}
		figure, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
		value, err := strconv.ParseFloat(figure, 64)
		if err != nil {
			continue
		}
		switch name {
		case metricRequests:
			t.byZone[label(labels, "zone")] += value
		case metricBuckets:
			if bound, err := strconv.ParseFloat(label(labels, "le"), 64); err == nil {
				t.buckets[bound] += value
			}
		}
	}
	return t
}

// label is the value of a label; the values that are looked for hold no quotes.
func label(labels, name string) string {
	_, rest, _ := strings.Cut(","+labels, ","+name+`="`)
	value, _, _ := strings.Cut(rest, `"`)
	return value
}

func (t *traffic) minus(before *traffic) *traffic {
	d := &traffic{byZone: make(map[string]float64), buckets: make(map[float64]float64)}
	for zone, n := range t.byZone {
		d.byZone[zone] = n - before.byZone[zone]
	}
	for bound, n := range t.buckets {
		d.buckets[bound] = n - before.buckets[bound]
	}
	return d
}

// fill sets what load does not say yet.
func (t *traffic) fill(load *sizing.Load, took time.Duration) error {
	var all, most float64
	for _, n := range t.byZone {
		all, most = all+n, max(most, n)
	}
	if total := t.buckets[math.Inf(1)]; all < fewest || total < fewest {
		return fmt.Errorf("only %.0f requests were answered in %s, too few to go by: take a longer --sample, or say --rate, --p50 and --p99", min(all, total), took.Round(time.Second))
	}
	load.Rate = cmp.Or(load.Rate, all/took.Seconds())
	load.Busiest = cmp.Or(load.Busiest, most/all)
	if load.P99 == 0 {
		load.P50, load.P99 = cmp.Or(load.P50, t.quantile(.5)), t.quantile(.99)
	}
	return nil
}

// quantile is in which time this share of the requests was answered, within a
// bucket by its place in it.
func (t *traffic) quantile(q float64) time.Duration {
	bounds := make([]float64, 0, len(t.buckets))
	for bound := range t.buckets {
		bounds = append(bounds, bound)
	}
	slices.Sort(bounds)
	want := q * t.buckets[math.Inf(1)]
	low, below := 0.0, 0.0
	for _, bound := range bounds {
		upTo := t.buckets[bound]
		if upTo >= want {
			if math.IsInf(bound, 1) {
				break // beyond the last bound: nothing better is known
			}
			part := (want - below) / max(upTo-below, 1)
			return time.Duration((low + part*(bound-low)) * float64(time.Second))
		}
		low, below = bound, upTo
	}
	return time.Duration(low * float64(time.Second))
}
