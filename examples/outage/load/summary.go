package load

import (
	"math"
	"slices"
	"time"
)

// Filter returns the results that keep accepts, in their order.
func Filter(rs []Result, keep func(Result) bool) []Result {
	var kept []Result
	for _, r := range rs {
		if keep(r) {
			kept = append(kept, r)
		}
	}
	return kept
}

// OKPercent is the share of results that are OK, 0 to 100. No results are 0, so
// that an assertion on nothing fails.
func OKPercent(rs []Result) float64 {
	return percent(rs, Result.OK)
}

// AnsweredWithin is the share of results, 0 to 100, that got an answer of any
// status within d. No results are 0.
func AnsweredWithin(rs []Result, d time.Duration) float64 {
	return percent(rs, func(r Result) bool { return r.Status != 0 && r.Latency <= d })
}

// Percentile is the latency that p percent (0 to 100) of the results do not
// exceed, by nearest rank. It covers failures too. No results are 0.
func Percentile(rs []Result, p float64) time.Duration {
	return percentile(rs, p, func(r Result) time.Duration { return r.Latency })
}

// Lag is the p-th percentile (0 to 100) of how late requests left, compared
// with when they were due. A large lag means that this machine, not the server,
// was too slow, and the run says nothing.
func Lag(rs []Result, p float64) time.Duration {
	return percentile(rs, p, func(r Result) time.Duration { return r.sent - r.At })
}

func percent(rs []Result, hit func(Result) bool) float64 {
	if len(rs) == 0 {
		return 0
	}
	hits := 0
	for _, r := range rs {
		if hit(r) {
			hits++
		}
	}
	return 100 * float64(hits) / float64(len(rs))
}

func percentile(rs []Result, p float64, of func(Result) time.Duration) time.Duration {
	if len(rs) == 0 {
		return 0
	}
	values := make([]time.Duration, len(rs))
	for i, r := range rs {
		values[i] = of(r)
	}
	slices.Sort(values)
	rank := int(math.Ceil(p / 100 * float64(len(values))))
	return values[min(max(rank, 1), len(values))-1]
}
