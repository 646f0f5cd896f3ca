package admin

import (
	"math"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
)

// latencyEvery is for how long requests are counted together for the times that
// dashboards show.
const latencyEvery = 5 * time.Second

// latency is how long the first byte of a response has taken lately, in
// milliseconds. Nothing is counted while no dashboard is open.
type latency struct {
	P50 float64 `json:"p50_ms,omitempty"`
	P99 float64 `json:"p99_ms,omitempty"`
}

// latencies are those of the pool and of each zone.
type latencies struct {
	at     time.Time
	before map[string]breaker.Histogram // counted until at, by zone; "" is the pool
	lately map[string]latency
}

// look brings the figures up to date, if it is time.
func (l *latencies) look(guard interface{ Counters() breaker.Counters }, now time.Time) {
	if now.Sub(l.at) < latencyEvery {
		return
	}
	stale := now.Sub(l.at) > 3*latencyEvery // no dashboard was open
	counters := guard.Counters()
	next := make(map[string]breaker.Histogram, len(counters.Zones)+1)
	next[""] = counters.FirstByte
	for i := range counters.Zones {
		next[counters.Zones[i].Zone] = counters.Zones[i].FirstByte
	}
	lately := make(map[string]latency, len(next))
	for zone, h := range next {
		if before := l.before[zone]; l.before != nil && !stale { // a zone that is new began at zero
			lately[zone] = latencyBetween(&before, &h)
		}
	}
	l.at, l.before, l.lately = now, next, lately
}

// latencyBetween is that of what was counted in after and not yet in before.
func latencyBetween(before, after *breaker.Histogram) latency {
	counts := make(map[int]uint64, len(after.Native))
	total := after.Zero - min(before.Zero, after.Zero)
	small := total
	for i, n := range after.Native {
		at := after.First + i
		if k := at - before.First; k >= 0 && k < len(before.Native) {
			n -= min(before.Native[k], n)
		}
		counts[at] = n
		total += n
	}
	if total == 0 {
		return latency{}
	}
	quantile := func(q float64) float64 {
		rank, seen := uint64(math.Ceil(q*float64(total))), small
		if seen >= rank {
			return coarse(after.ZeroThreshold * 1000)
		}
		for i := range after.Native {
			at := after.First + i
			if seen += counts[at]; seen >= rank {
				// The middle of the bucket, whose bounds are powers of 2^(2^-schema).
				return coarse(1000 * math.Exp2((float64(at)-.5)/float64(int(1)<<after.Schema)))
			}
		}
		return 0
	}
	return latency{P50: quantile(.5), P99: quantile(.99)}
}

// coarse keeps two digits, so that what hardly changes is not sent again.
func coarse(ms float64) float64 {
	if ms <= 0 {
		return 0
	}
	unit := math.Pow(10, math.Floor(math.Log10(ms))-1)
	return math.Round(ms/unit) * unit
}
