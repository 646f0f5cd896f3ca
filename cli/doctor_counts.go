package cli

import (
	"bytes"
	"fmt"
	"math"
	"net/http"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// tally is what the metrics of a sidecar have counted.
type tally struct {
	took  time.Duration
	zones map[string]*zoneCounts

	waited, admitted float64 // requests that waited for a worker; that got one
	presumed         float64 // hung workers presumed free, since no end of theirs was seen
}

// zoneCounts are those of one zone.
type zoneCounts struct {
	requests, refused, would float64
	answered                 traffic // buckets only
}

func (s *session) count() (*tally, error) {
	ctx, cancel := s.context()
	defer cancel()
	text, err := s.call(ctx, http.MethodGet, "/metrics", nil)
	if err != nil {
		return nil, err
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("reading the metrics of %s: %w", s.address, err)
	}
	return newTally(families), nil
}

func newTally(families map[string]*dto.MetricFamily) *tally {
	c := &tally{zones: make(map[string]*zoneCounts)}
	each := func(name string, do func(zone *zoneCounts, m *dto.Metric)) {
		for _, m := range families["caddy_firebreak_"+name].GetMetric() {
			do(c.zone(zoneLabel(m)), m)
		}
	}
	each("requests_total", func(z *zoneCounts, m *dto.Metric) { z.requests += m.GetCounter().GetValue() })
	each("refusals_total", func(z *zoneCounts, m *dto.Metric) { z.refused += m.GetCounter().GetValue() })
	each("would_refuse_total", func(z *zoneCounts, m *dto.Metric) { z.would += m.GetCounter().GetValue() })
	each("zone_first_byte_seconds", func(z *zoneCounts, m *dto.Metric) {
		for _, bucket := range m.GetHistogram().GetBucket() {
			z.answered.buckets[bucket.GetUpperBound()] += float64(bucket.GetCumulativeCount())
		}
		z.answered.buckets[math.Inf(1)] = float64(m.GetHistogram().GetSampleCount())
	})
	delete(c.zones, "")
	first := func(name string) *dto.Metric {
		if m := families[name].GetMetric(); len(m) > 0 {
			return m[0]
		}
		return &dto.Metric{}
	}
	c.waited = float64(first("caddy_firebreak_queue_wait_seconds").GetHistogram().GetSampleCount())
	c.admitted = first("caddy_firebreak_admissions_total").GetCounter().GetValue()
	c.presumed = first("caddy_firebreak_presumed_workers_total").GetCounter().GetValue()
	if started := first("process_start_time_seconds").GetGauge().GetValue(); started > 0 {
		c.took = time.Since(time.UnixMilli(int64(1000 * started)))
	}
	return c
}

func zoneLabel(m *dto.Metric) string {
	for _, label := range m.GetLabel() {
		if label.GetName() == "zone" {
			return label.GetValue()
		}
	}
	return ""
}

// zone has the counts of a zone, zero if nothing was counted.
func (c *tally) zone(name string) *zoneCounts {
	z, ok := c.zones[name]
	if !ok {
		z = &zoneCounts{answered: traffic{buckets: make(map[float64]float64)}}
		c.zones[name] = z
	}
	return z
}

// requests is how many there were, refused ones included.
func (c *tally) requests() (sum float64) {
	for _, z := range c.zones {
		sum += z.requests + z.refused
	}
	return sum
}

// subtract leaves what was counted since then.
func (c *tally) subtract(before *tally) {
	for name, z := range c.zones {
		old := before.zone(name)
		z.requests, z.refused, z.would = z.requests-old.requests, z.refused-old.refused, z.would-old.would
		for bound, n := range old.answered.buckets {
			z.answered.buckets[bound] -= n
		}
	}
	c.waited, c.admitted, c.presumed = c.waited-before.waited, c.admitted-before.admitted, c.presumed-before.presumed
}
