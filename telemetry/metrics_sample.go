package telemetry

import (
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/firebreak-proxy/firebreak/breaker"
)

// collection sends metrics. It makes them itself: a scrape of a thousand zones
// is twenty thousand samples, and those of the client library cost several
// times as much.
type collection struct{ ch chan<- prometheus.Metric }

// send sends a sample. The values are those of the meter's labels, in order.
func (c collection) send(m *meter, value float64, labels ...string) {
	c.ch <- &sample{meter: m, value: value, labels: pairs(m, labels)}
}

func pairs(m *meter, values []string) []*dto.LabelPair {
	if len(values) != len(m.labels) {
		panic("metric " + m.name + ": wrong number of labels")
	}
	made := make([]dto.LabelPair, len(values))
	labels := make([]*dto.LabelPair, len(values))
	for i := range values {
		made[i].Name, made[i].Value = &m.labels[i], &values[i]
		labels[i] = &made[i]
	}
	return labels
}

// sample is a counter's or gauge's value at the moment of a scrape.
type sample struct {
	meter  *meter
	value  float64
	labels []*dto.LabelPair
}

// Desc implements prometheus.Metric.
func (s *sample) Desc() *prometheus.Desc { return s.meter.desc }

// Write implements prometheus.Metric.
func (s *sample) Write(out *dto.Metric) error {
	out.Label = s.labels
	if s.meter.kind == kindCounter {
		out.Counter = &dto.Counter{Value: &s.value}
	} else {
		out.Gauge = &dto.Gauge{Value: &s.value}
	}
	return nil
}

// distribution is a histogram at the moment of a scrape, with native buckets
// and some or all of its classic ones.
type distribution struct {
	meter     *meter
	labels    []*dto.LabelPair
	counted   *breaker.Histogram
	bounds    []int // which of the classic buckets; nil: all
	exemplars []*Exemplar
}

// Desc implements prometheus.Metric.
func (d *distribution) Desc() *prometheus.Desc { return d.meter.desc }

// Write implements prometheus.Metric.
func (d *distribution) Write(out *dto.Metric) error {
	h := d.counted
	histogram := &dto.Histogram{
		SampleCount: &h.Count, SampleSum: &h.Sum,
		Schema: &h.Schema, ZeroThreshold: &h.ZeroThreshold, ZeroCount: &h.Zero,
	}
	d.writeClassic(histogram)
	writeNative(histogram, h)
	for _, e := range d.exemplars {
		histogram.Exemplars = append(histogram.Exemplars, e.dto())
	}
	out.Label, out.Histogram = d.labels, histogram
	return nil
}

func (d *distribution) writeClassic(out *dto.Histogram) {
	h, cumulated, wanted := d.counted, uint64(0), d.bounds
	lower := 0.0
	for i := range h.Bounds {
		cumulated += h.Counts[i]
		if d.bounds != nil {
			if len(wanted) == 0 {
				break
			}
			if i != wanted[0] {
				continue
			}
			wanted = wanted[1:]
		}
		count := cumulated
		bucket := &dto.Bucket{UpperBound: &h.Bounds[i], CumulativeCount: &count}
		for _, e := range d.exemplars {
			if lower < e.Seconds && e.Seconds <= h.Bounds[i] {
				bucket.Exemplar = e.dto()
			}
		}
		lower = h.Bounds[i]
		out.Bucket = append(out.Bucket, bucket)
	}
	for _, e := range d.exemplars {
		if infinite := math.Inf(1); e.Seconds > lower {
			out.Bucket = append(out.Bucket, &dto.Bucket{UpperBound: &infinite, CumulativeCount: &h.Count, Exemplar: e.dto()})
			return
		}
	}
}

// writeNative writes the native buckets as one span: they are few, and close
// together.
func writeNative(out *dto.Histogram, h *breaker.Histogram) {
	if len(h.Native) == 0 {
		// Without a span this would be taken for a classic histogram.
		out.PositiveSpan = []*dto.BucketSpan{{Offset: new(int32), Length: new(uint32)}}
		return
	}
	offset, length := int32(h.First), uint32(len(h.Native))
	out.PositiveSpan = []*dto.BucketSpan{{Offset: &offset, Length: &length}}
	out.PositiveDelta = make([]int64, len(h.Native))
	var before int64
	for i, n := range h.Native {
		out.PositiveDelta[i] = int64(n) - before
		before = int64(n)
	}
}

// firstByteOfZone are the classic buckets of zone_first_byte_seconds: 0.1 s and
// 1 s, of those of request_duration_seconds.
var firstByteOfZone = []int{4, 7}

// collectHistograms sends the histograms of the pool and of every zone.
func (m *Metrics) collectHistograms(out collection, c *breaker.Counters) {
	out.ch <- &distribution{meter: allFirstByte, counted: &c.FirstByte, exemplars: m.Exemplars.Of("")}
	out.ch <- &distribution{meter: allWaits, counted: &c.Wait}
	for i := range c.Zones {
		z := &c.Zones[i]
		out.ch <- &distribution{
			meter: zoneFirstByte, counted: &z.FirstByte, bounds: firstByteOfZone,
			labels: pairs(zoneFirstByte, []string{z.Zone}), exemplars: m.Exemplars.Of(z.Zone),
		}
	}
}

// Exemplar is a request that stands for others, by its trace.
type Exemplar struct {
	TraceID, SpanID string
	Seconds         float64
	At              time.Time
}

func (e *Exemplar) dto() *dto.Exemplar {
	trace, span := "trace_id", "span_id"
	return &dto.Exemplar{
		Label: []*dto.LabelPair{{Name: &span, Value: &e.SpanID}, {Name: &trace, Value: &e.TraceID}},
		Value: &e.Seconds, Timestamp: timestamppb.New(e.At),
	}
}
