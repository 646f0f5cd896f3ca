package recent

import (
	"context"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/telemetry"
)

const (
	// Step is the time that one point of a plot stands for.
	Step = 5 * time.Second

	// Points is how many points are kept: ten minutes.
	Points = 120
)

// Point is what became of requests within one step.
type Point struct {
	Requests, OK, Refused, Bad uint32
}

// History keeps the last minutes of every zone. There is one in the process:
// it lives as long as the guard whose counters it reads, so that plots go on
// over reloads.
type History struct {
	guard *breaker.Guard

	mu    sync.Mutex // guards below
	steps int64      // taken so far
	at    time.Time  // when the latest was taken
	zones map[string]*zoneHistory
	all   zoneHistory
}

// zoneHistory keeps the points at which something happened: most zones are idle where
// each tenant has one.
type zoneHistory struct {
	points []pointAt // the oldest first
	last   requestTotals
	born   int64 // the step of its first point
	seen   int64 // the step at which it was last looked at
}

type pointAt struct {
	step int64
	Point
}

// put adds the point of a step, and forgets those that are too old.
func (z *zoneHistory) put(step int64, p Point) {
	old := 0
	for old < len(z.points) && z.points[old].step <= step-Points {
		old++
	}
	z.points = slices.Delete(z.points, 0, old)
	switch {
	case p != (Point{}):
		z.points = append(z.points, pointAt{step, p})
	case len(z.points) == 0:
		z.points = nil
	}
}

// requestTotals are counters since the start.
type requestTotals struct{ requests, ok, refused, bad uint64 }

func newHistory(guard *breaker.Guard) *History {
	return &History{guard: guard, zones: make(map[string]*zoneHistory)}
}

// run takes a point at each step until ctx ends.
func (h *History) run(ctx context.Context) {
	h.Take(time.Now())
	ticks := time.NewTicker(Step)
	defer ticks.Stop()
	for {
		select {
		case now := <-ticks.C:
			h.Take(now)
		case <-ctx.Done():
			return
		}
	}
}

// Take adds one point to every zone at which something happened, and forgets zones that
// are no more.
func (h *History) Take(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	step := h.steps
	h.steps++
	h.at = now
	var sum Point
	look := func(name string, c breaker.Counts) bool {
		sum.add(h.take(name, c, step))
		return true
	}
	if step == 0 {
		h.guard.EachCounts(look)
	} else {
		h.guard.EachActive(look)
	}
	// The guard does not know of requests that maintenance refused.
	for name := range telemetry.Shared().InMaintenance() {
		if z := h.zones[name]; z == nil || z.seen != step {
			if c, ok := h.guard.CountsOf(name); ok {
				look(name, c)
			}
		}
	}
	h.all.put(step, sum)
	if step%Points == 0 {
		maps.DeleteFunc(h.zones, func(name string, _ *zoneHistory) bool { return !h.knows(name) })
	}
}

// take adds the point of a zone.
func (h *History) take(name string, c breaker.Counts, step int64) Point {
	z := h.zones[name]
	next := totalsOf(name, c)
	if z == nil {
		z = &zoneHistory{born: step}
		if step == 0 {
			z.last = next
		}
		h.zones[name] = z
	}
	p := next.since(&z.last)
	z.last, z.seen = next, step
	z.put(step, p)
	return p
}

// knows reports whether the guard still has the zone.
func (h *History) knows(zone string) bool {
	_, ok := h.guard.CountsOf(zone)
	return ok
}

func totalsOf(zone string, c breaker.Counts) requestTotals {
	t := requestTotals{ok: c.OK, bad: c.Bad, refused: c.Refused}
	t.refused += telemetry.Shared().RefusedInMaintenance(zone)
	t.requests = t.ok + t.bad + t.refused + c.Neutral
	return t
}

// since is what was counted after before. A zone that was forgotten and came
// again begins at zero.
func (t *requestTotals) since(before *requestTotals) Point {
	grown := func(now, then uint64) uint32 {
		if now < then {
			return uint32(now)
		}
		return uint32(now - then)
	}
	return Point{
		Requests: grown(t.requests, before.requests), OK: grown(t.ok, before.ok),
		Refused: grown(t.refused, before.refused), Bad: grown(t.bad, before.bad),
	}
}

func (p *Point) add(q Point) {
	p.Requests += q.Requests
	p.OK += q.OK
	p.Refused += q.Refused
	p.Bad += q.Bad
}

// Latest is the newest point of a zone.
func (h *History) Latest(zone string) (p Point) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if z := h.zones[zone]; z != nil && len(z.points) > 0 {
		if latest := z.points[len(z.points)-1]; latest.step == h.steps-1 {
			p = latest.Point
		}
	}
	return p
}

// Everything is the sum over all zones, newest point last.
func (h *History) Everything() (points []Point, at time.Time, step int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.line(&h.all), h.at, h.steps
}

// Of is one zone's history, newest point last; nil if there is none.
func (h *History) Of(zone string) (points []Point) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch z := h.zones[zone]; {
	case !h.knows(zone):
		return nil
	case z == nil:
		return h.line(&zoneHistory{})
	default:
		return h.line(z)
	}
}

// line is the points of a zone. Those from before a zone was there are left out,
// and so is the first of all, which had nothing to be compared with.
func (h *History) line(z *zoneHistory) []Point {
	n := min(h.steps-max(z.born, 1), Points)
	points := make([]Point, max(n, 0))
	for _, p := range z.points {
		if i := p.step - (h.steps - n); i >= 0 {
			points[i] = p.Point
		}
	}
	return points
}

// Parts are the numbers that a plot stacks: ok, refused, bad.
func (p *Point) Parts() [3]uint32 { return [3]uint32{p.OK, p.Refused, p.Bad} }

// Shares are requests a second, with two digits, and the percentage of them
// that was ok; nil without requests.
func (p *Point) Shares() (rate float64, ok *float64) {
	rate = float64(p.Requests) / Step.Seconds()
	if rate >= 10 {
		unit := math.Pow(10, math.Floor(math.Log10(rate))-1)
		rate = math.Round(rate/unit) * unit
	}
	if asked := p.OK + p.Refused + p.Bad; asked > 0 {
		// Rounded down: 100 % means all.
		share := math.Floor(1000*float64(p.OK)/float64(asked)) / 10
		ok = &share
	}
	return rate, ok
}
