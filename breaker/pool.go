package breaker

import (
	"fmt"
	"time"

	"github.com/firebreak-proxy/firebreak/config"
)

// suspicion is why verdicts are suspended.
type suspicion struct {
	text  string
	until int64
}

// suspectPool tells that verdicts are suspended, and why.
func (g *Guard) suspectPool(now int64, text string) {
	s := &suspicion{text: text, until: now + int64(5*time.Second)}
	if old := g.suspect.Swap(s); old == nil {
		g.emit(Event{Kind: EventPoolSuspect, At: g.wall(now), Evidence: text})
	}
}

// detectPoolFailure finds out whether the pool itself is ill, so that no verdict
// on a zone or a store would be worth anything: all its servers, the machine, or
// firebreak. It is if requests of at least two zones are silent and no request at
// all was answered meanwhile, or if most of the zones that have requests are
// silent at once, as when the API server boots and its first workers answer some
// zones by chance.
func (g *Guard) detectPoolFailure(zones []*zone, now int64) {
	p := g.policy.Load()
	if g.starved(now) { // answers may be waiting to be read
		g.failedAt.Store(now)
		g.suspectPool(now, fmt.Sprintf("firebreak itself was not run for %s: this machine is overloaded or was stopped", brief(now-g.sweptAt.Load())))
	}
	// The time from before any lock was waited for: what was seen is as old.
	defer g.sweptAt.Store(now)
	silent, requests, active := 0, 0, 0
	for _, z := range zones {
		answered := z.answeredAt.Load()
		busy := z.occupied.Load() > 0
		if busy || answered != 0 && now-answered < int64(p.Default.Window) {
			active++
		}
		if !busy {
			continue
		}
		if n := z.silentFor(now); n > 0 {
			silent, requests = silent+1, requests+n
		}
	}
	if g.answeredAt.Load() != 0 && g.stands(2*leastPatience) {
		g.stoodAt.Store(now)
	}
	quiet := int64(p.Default.SlowAfter) * 8 / 10
	switch {
	case silent >= 2 && requests >= g.enoughSilent(p) && now-g.answeredAt.Load() >= quiet:
		g.failedAt.Store(now)
		g.suspectPool(now, fmt.Sprintf("requests of %d zones have no answer, and no request at all was answered for the last %s: the API server, this machine or the network, not a zone", silent, brief(quiet)))
	case silent >= fewestForMajority && 2*silent > active && float64(silent) > p.MaxOpenZones*float64(active):
		g.failedAt.Store(now)
		g.suspectPool(now, fmt.Sprintf("requests of %d of the %d zones with traffic have no answer for over %s at the same time: the API server, this machine or the network, not a zone", silent, active, p.Default.SlowAfter))
	}
	g.detectErrors(zones, active, now)
}

// enoughSilent is how many requests must be silent to speak against the pool: as many as
// it takes to judge a zone, since two may hang by chance while no other is asked for;
// fewer in a pool that has no more workers.
func (g *Guard) enoughSilent(p *config.Policy) int {
	if capacity := g.capacity(); capacity > 0 {
		return min(p.Default.MinBadStores, max(2, capacity-1))
	}
	return p.Default.MinBadStores
}

// fewestForMajority is how many zones must be silent at once for their majority
// to speak against the pool: of three zones two may well break together.
const fewestForMajority = 4

// errorsEvery is how often failing zones are counted.
const errorsEvery = 200 * time.Millisecond

// detectErrors tells when the requests of most zones end in errors at the same
// time: a release, a setting, something that all zones share.
func (g *Guard) detectErrors(zones []*zone, active int, now int64) {
	if now-g.countedErrors < int64(errorsEvery) {
		return
	}
	g.countedErrors = now
	failing := 0
	for _, z := range zones {
		if !z.shared() {
			z.mu.Lock()
			if z.failsInPart(now) {
				failing++
			}
			z.mu.Unlock()
		}
	}
	if failing >= 2 && failing == active || failing >= fewestForMajority && 2*failing > active {
		g.suspectPool(now, fmt.Sprintf("requests of %d of the %d zones with traffic end in errors at the same time: the API server, or something that all zones share, not a zone", failing, active))
	}
}

// verdictsSuspended reports whether no request at all was answered a moment ago,
// or this process was not run, so that no zone and no store can be told to be the
// cause.
func (g *Guard) verdictsSuspended(now int64) bool {
	at := g.failedAt.Load()
	return at != 0 && now-at < int64(g.policy.Load().Default.SlowAfter) || g.starved(now)
}

// starved reports whether this process was not run for a while: what looks like
// the silence of a zone may be its own. It happens on a machine that is
// overloaded, stopped or moved.
func (g *Guard) starved(now int64) bool {
	return now-g.sweptAt.Load() > max(int64(10*sweepEvery), int64(g.policy.Load().Default.SlowAfter)/2)
}
