package histogram

import (
	"math"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"pgregory.net/rapid"
)

var scale = NewScale(
	5*time.Millisecond, 10*time.Millisecond, 25*time.Millisecond, 50*time.Millisecond, 100*time.Millisecond, 250*time.Millisecond,
	500*time.Millisecond, time.Second, 2500*time.Millisecond, 5*time.Second, 10*time.Second, 30*time.Second)

// TestAsPrometheus: any series of durations, counted in two histograms that are added
// up, falls into the buckets that Prometheus' own library counts in.
func TestAsPrometheus(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		durations := rapid.SliceOfN(rapid.Int64Range(0, int64(20*time.Minute)), 1, 20).Draw(t, "durations")
		if rapid.Bool().Draw(t, "on a bound") {
			octave := rapid.IntRange(-13, 9).Draw(t, "octave")
			durations = append(durations, int64(math.Exp2(float64(octave))*1e9))
			bound := rapid.SampledFrom([]int64{5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000}).Draw(t, "bound")
			durations = append(durations, bound*1e6, bound*1e6+1)
		}
		own := prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "own", Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
			NativeHistogramBucketFactor: 1.1, NativeHistogramZeroThreshold: math.Exp2(-14),
		})
		var one, another Histogram
		for i, d := range durations {
			d = min(d, int64(17*time.Minute))
			own.Observe(float64(d) / 1e9)
			if i%2 == 0 {
				one.Observe(d, scale)
			} else {
				another.Observe(d, scale)
			}
		}
		got := one.Plus(&another).Counts(scale)
		var want dto.Metric
		if err := own.Write(&want); err != nil {
			t.Fatal(err)
		}
		counts := make(map[int]uint64)
		at, n := 0, int64(0)
		i := 0
		for _, span := range want.Histogram.PositiveSpan {
			at += int(span.GetOffset())
			for range span.GetLength() {
				n += want.Histogram.PositiveDelta[i]
				if n > 0 {
					counts[at] = uint64(n)
				}
				i++
				at++
			}
		}
		for i, n := range got.Native {
			if counts[got.First+i] != n {
				t.Fatalf("bucket %d holds %d, want %d of %v", got.First+i, n, counts[got.First+i], durations)
			}
			delete(counts, got.First+i)
		}
		cumulated := uint64(0)
		for i, bucket := range want.Histogram.Bucket {
			if cumulated += got.Counts[i]; cumulated != bucket.GetCumulativeCount() || got.Bounds[i] != bucket.GetUpperBound() {
				t.Fatalf("%d up to %g s, want %d up to %g s: %v", cumulated, got.Bounds[i], bucket.GetCumulativeCount(), bucket.GetUpperBound(), durations)
			}
		}
		if len(counts) > 0 || got.Zero != want.Histogram.GetZeroCount() || got.Count != want.Histogram.GetSampleCount() {
			t.Fatalf("missing %v; zero %d, count %d, want %d, %d", counts, got.Zero, got.Count, want.Histogram.GetZeroCount(), want.Histogram.GetSampleCount())
		}
	})
}
