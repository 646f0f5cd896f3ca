package caddymodule

import (
	"context"
	"sync"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/telemetry"
)

const (
	// historyStep is the time that one point of a plot stands for.
	historyStep = 5 * time.Second

	// historyPoints is how many points are kept: ten minutes.
	historyPoints = 120
)

// point is what became of requests within one step.
type point struct {
	Requests, OK, Refused, Bad uint32
}

// history keeps the last minutes of every zone. There is one in the process:
// it lives as long as the guard whose counters it reads, so that plots go on
// over reloads.
type history struct {
	guard *breaker.Guard

	mu    sync.Mutex // guards below
	steps int64      // taken so far; the latest point is at (steps-1) % historyPoints
	at    time.Time  // when the latest was taken
	zones map[string]*zoneHistory
	all   zoneHistory
}

type zoneHistory struct {
	points [historyPoints]point
	last   requestTotals
	born   int64 // the step before its first point
	seen   int64 // the latest step at which the guard knew the zone
}

// requestTotals are counters since the start.
type requestTotals struct{ requests, ok, refused, bad uint64 }

func newHistory(guard *breaker.Guard) *history {
	return &history{guard: guard, zones: make(map[string]*zoneHistory)}
}

// run takes a point at each step until ctx ends.
func (h *history) run(ctx context.Context) {
	h.take(time.Now())
	ticks := time.NewTicker(historyStep)
	defer ticks.Stop()
	for {
		select {
		case now := <-ticks.C:
			h.take(now)
		case <-ctx.Done():
			return
		}
	}
}

// take adds one point to every zone, and forgets zones that are no more.
func (h *history) take(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	place := int(h.steps % historyPoints)
	h.steps++
	h.at = now
	var sum point
	h.guard.EachCounts(func(name string, c breaker.Counts) bool {
		z := h.zones[name]
		next := totalsOf(name, c)
		if z == nil {
			z = &zoneHistory{born: h.steps - 1, last: next}
			if h.steps > 1 {
				z.last = requestTotals{} // it was made since the last step
			}
			h.zones[name] = z
		}
		z.seen = h.steps
		z.points[place] = next.since(&z.last)
		z.last = next
		sum.add(z.points[place])
		return true
	})
	h.all.points[place] = sum
	for name, z := range h.zones {
		if z.seen != h.steps {
			delete(h.zones, name)
		}
	}
}

func totalsOf(zone string, c breaker.Counts) requestTotals {
	t := requestTotals{ok: c.OK, bad: c.Bad, refused: c.Refused}
	t.refused += telemetry.Shared().RefusedInMaintenance(zone)
	t.requests = t.ok + t.bad + t.refused + c.Neutral
	return t
}

// since is what was counted after before. A zone that was forgotten and came
// again begins at zero.
func (t *requestTotals) since(before *requestTotals) point {
	grown := func(now, then uint64) uint32 {
		if now < then {
			return uint32(now)
		}
		return uint32(now - then)
	}
	return point{
		Requests: grown(t.requests, before.requests), OK: grown(t.ok, before.ok),
		Refused: grown(t.refused, before.refused), Bad: grown(t.bad, before.bad),
	}
}

func (p *point) add(q point) {
	p.Requests += q.Requests
	p.OK += q.OK
	p.Refused += q.Refused
	p.Bad += q.Bad
}

// latest is the newest point of a zone.
func (h *history) latest(zone string) (p point) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if z := h.zones[zone]; z != nil && h.steps > 0 {
		p = z.points[(h.steps-1)%historyPoints]
	}
	return p
}

// everything is the sum over all zones, newest point last.
func (h *history) everything() (points []point, at time.Time, step int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.line(&h.all), h.at, h.steps
}

// of is one zone's history, newest point last; nil if there is none.
func (h *history) of(zone string) (points []point) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if z := h.zones[zone]; z != nil {
		return h.line(z)
	}
	return nil
}

// line puts a ring in order. Points from before a zone was there are left out,
// and so is the first of all, which had nothing to be compared with.
func (h *history) line(z *zoneHistory) []point {
	n := min(h.steps-max(z.born, 1), historyPoints)
	points := make([]point, 0, max(n, 0))
	for i := h.steps - n; i < h.steps; i++ {
		points = append(points, z.points[i%historyPoints])
	}
	return points
}
