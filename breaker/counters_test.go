package breaker_test

import (
	"context"
	"errors"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"pgregory.net/rapid"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/config"
)

// TestCounters: what is counted over an outage of one zone, by every reader that
// scrapes.
func TestCounters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := config.App{Workers: 32, Zones: []config.Zone{{Name: "z1", Timeout: config.Duration(2 * time.Second)}}}
		policy, err := app.Policy()
		if err != nil {
			t.Fatal(err)
		}
		g := breaker.New(policy, breaker.Options{})
		defer g.Close()
		g.Apply(policy, []string{"z1", "z2"})
		var slots []*breaker.Slot
		for _, store := range []string{"a", "b", "c", "d"} {
			slot, refusal := g.Admit(context.Background(), breaker.Request{Zone: "z1", Store: store})
			if refusal != nil {
				t.Fatal(refusal)
			}
			slots = append(slots, slot)
		}
		well, _ := g.Admit(context.Background(), breaker.Request{Zone: "z2", Store: "w"})
		time.Sleep(30 * time.Millisecond)
		well.Answer(breaker.OK)
		time.Sleep(time.Second)
		well.End(breaker.OK) // its body took a second; its first byte did not
		time.Sleep(time.Second)
		for _, slot := range slots[:3] {
			slot.Track()
		}
		for _, slot := range slots {
			slot.Hang()
		}
		if _, refusal := g.Admit(context.Background(), breaker.Request{Zone: "z1", Store: "e"}); refusal == nil {
			t.Fatal("the zone is not open")
		}
		slots[0].End(breaker.Failure)
		slots[1].End(breaker.Abandoned)
		time.Sleep(2 * time.Minute) // slots[3] is held no longer
		slots[2].End(breaker.Failure)
		c := g.Counters()
		if c.Admitted != 5 || c.Episodes != 1 || c.Openings == 0 || c.Returned != 2 || c.Abandoned != 1 || c.Presumed != 1 {
			t.Errorf("admitted %d, episodes %d, openings %d, returned %d, abandoned %d, presumed %d; want 5, 1, some, 2, 1, 1",
				c.Admitted, c.Episodes, c.Openings, c.Returned, c.Abandoned, c.Presumed)
		}
		if c.Outcomes[breaker.Hung] != 4 || c.Outcomes[breaker.OK] != 1 {
			t.Errorf("outcomes %v", c.Outcomes)
		}
		if c.FirstByte.Count != 1 || c.FirstByte.Sum != 0.03 {
			t.Errorf("first bytes: %d in %g s, want 1 in 0.03 s", c.FirstByte.Count, c.FirstByte.Sum)
		}
		g.Apply(policy, nil) // z2 is gone
		if after := g.Counters(); after.Admitted != 5 || after.FirstByte.Count != 1 {
			t.Errorf("lost with a zone: admitted %d, first bytes %d", after.Admitted, after.FirstByte.Count)
		}
	})
}

// TestCountersOfWaits: only requests that had to wait are counted.
func TestCountersOfWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		policy, err := (&config.App{Workers: 1, Zones: []config.Zone{{Name: "*", MaxWait: new(config.Duration(100 * time.Millisecond))}}}).Policy()
		if err != nil {
			t.Fatal(err)
		}
		g := breaker.New(policy, breaker.Options{})
		defer g.Close()
		first, _ := g.Admit(context.Background(), breaker.Request{Zone: "z1", Store: "a"})
		if g.Counters().Wait.Count != 0 {
			t.Error("a request that did not wait is counted")
		}
		time.AfterFunc(40*time.Millisecond, func() { first.End(breaker.OK) })
		second, refusal := g.Admit(context.Background(), breaker.Request{Zone: "z1", Store: "b"})
		if refusal != nil {
			t.Fatal(refusal)
		}
		defer second.End(breaker.OK)
		_, refusal = g.Admit(context.Background(), breaker.Request{Zone: "z1", Store: "c"})
		if refusal == nil {
			t.Fatal("admitted beyond the pool")
		}
		if wait := g.Counters().Wait; wait.Count != 2 || math.Abs(wait.Sum-0.14) > 1e-9 {
			t.Errorf("%d waited for %g s, want 2 for 0.14 s", wait.Count, wait.Sum)
		}
	})
}

// TestCountersOfChecks counts by result.
func TestCountersOfChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := config.App{Workers: 32, Zones: []config.Zone{{Name: "z1", Check: &config.Check{Protocol: "http", Address: "http://db"}}}}
		policy, err := app.Policy()
		if err != nil {
			t.Fatal(err)
		}
		results := []error{errors.New("no answer"), errors.New("no answer"), nil}
		g := breaker.New(policy, breaker.Options{Check: func(context.Context, string, *config.Check) error {
			result := results[0]
			results = results[1:]
			return result
		}})
		defer g.Close()
		for _, store := range []string{"a", "b", "c"} {
			slot, _ := g.Admit(context.Background(), breaker.Request{Zone: "z1", Store: store})
			defer slot.End(breaker.OK)
		}
		time.Sleep(6 * time.Second)
		c := g.Counters()
		if c.ChecksFailed != 2 || c.ChecksPassed != 1 || !c.Zones[0].Checked || !c.Zones[0].CheckOK {
			t.Errorf("checks: %d failed, %d passed; zone %+v", c.ChecksFailed, c.ChecksPassed, c.Zones[0])
		}
	})
}

// TestHistogramAsPrometheus: any series of durations falls into the buckets
// that Prometheus' own library counts in.
func TestHistogramAsPrometheus(t *testing.T) {
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
		var got *breaker.Histogram
		for _, d := range durations {
			d = min(d, int64(17*time.Minute))
			own.Observe(float64(d) / 1e9)
		}
		got = breaker.Counted(durations, int64(17*time.Minute))
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
