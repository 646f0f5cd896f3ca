package load_test

import (
	"slices"
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/examples/outage/load"
)

func TestSummaries(t *testing.T) {
	const ms = time.Millisecond
	rs := []load.Result{
		{Status: 200, Latency: 10 * ms},
		{Status: 204, Latency: 200 * ms},
		{Status: 503, Latency: 1 * ms},
		{Err: "connection refused", Latency: 1 * ms},
	}
	for name, tt := range map[string]struct{ got, want float64 }{
		"ok":                 {load.OKPercent(rs), 50},
		"ok of nothing":      {load.OKPercent(nil), 0},
		"answered in 100 ms": {load.AnsweredWithin(rs, 100*ms), 50},
		"answered in 1 s":    {load.AnsweredWithin(rs, time.Second), 75},
		"p50":                {float64(load.Percentile(rs, 50)), float64(1 * ms)},
		"p75":                {float64(load.Percentile(rs, 75)), float64(10 * ms)},
		"p99":                {float64(load.Percentile(rs, 99)), float64(200 * ms)},
		"p0":                 {float64(load.Percentile(rs, 0)), float64(1 * ms)},
		"p100":               {float64(load.Percentile(rs, 100)), float64(200 * ms)},
		"p99 of nothing":     {float64(load.Percentile(nil, 99)), 0},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: want %v, got %v", name, tt.want, tt.got)
		}
	}
}

func TestZipfIsDeterministicAndSkewed(t *testing.T) {
	draw := func(s float64, seed uint64) []int {
		pick := load.Zipf(100, s, seed)
		counts := make([]int, 100)
		for range 100_000 {
			counts[pick()]++
		}
		return counts
	}
	counts := draw(1, 7)
	if !slices.Equal(counts, draw(1, 7)) {
		t.Error("want the same picks for the same seed")
	}
	if slices.Equal(counts, draw(1, 8)) {
		t.Error("want other picks for another seed")
	}
	// 1/(1+1/2+…+1/100) = 19.3 % for the first rank, a hundredth of it for the last.
	if counts[0] < 18_800 || counts[0] > 19_800 || counts[99] < 130 || counts[99] > 260 {
		t.Errorf("want about 19300 and 193 picks of the first and last rank, got %d and %d", counts[0], counts[99])
	}
	if flat := draw(0, 7); slices.Min(flat) < 800 || slices.Max(flat) > 1200 {
		t.Errorf("want all ranks alike with s = 0, got %d to %d", slices.Min(flat), slices.Max(flat))
	}
}
