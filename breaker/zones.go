package breaker

import (
	"cmp"
	"iter"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/firebreak-proxy/firebreak/config"
)

// eagerZones is how many named zones are made before they are asked for, so that
// they are listed. With more of them (a database for each tenant) a zone costs
// nothing until its first request.
const eagerZones = 1000

// zoneTable is the zones by name. A request finds its zone without a lock; a new
// zone is in a second, small map until there are enough of them to be worth a copy
// of the first.
type zoneTable struct {
	settled atomic.Pointer[map[string]*zone]
	newer   atomic.Int64 // zones in young
	named   atomic.Int64 // zones that Apply was told of, and those configured

	mu    sync.Mutex // guards changes of settled, and below; taken before a zone's
	young map[string]*zone
}

func (t *zoneTable) init() {
	t.settled.Store(&map[string]*zone{})
	t.young = make(map[string]*zone)
}

// all are the zones that were made. The map is not changed any more.
func (g *Guard) allZones() map[string]*zone {
	t := &g.zones
	if t.newer.Load() > 0 {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.settle()
	}
	return *t.settled.Load()
}

// settle moves young zones into the map that is read without a lock. Callers hold
// mu.
func (t *zoneTable) settle() {
	if len(t.young) == 0 {
		return
	}
	old := *t.settled.Load()
	next := make(map[string]*zone, len(old)+len(t.young))
	maps.Copy(next, old)
	maps.Copy(next, t.young)
	t.settled.Store(&next)
	clear(t.young)
	t.newer.Store(0)
}

// zone is the zone of this name, made on first use.
func (g *Guard) zone(name string) *zone {
	t := &g.zones
	if z, ok := (*t.settled.Load())[name]; ok {
		return z
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	old := *t.settled.Load()
	if z := cmp.Or(old[name], t.young[name]); z != nil {
		return z
	}
	z := newZone(g, name, g.policy.Load())
	t.young[name] = z
	t.newer.Add(1)
	if len(t.young) > 16+len(old)/8 {
		t.settle()
	}
	return z
}

// find is the zone of this name, nil if it was not made yet.
func (g *Guard) find(name string) *zone { return g.allZones()[name] }

// applyZones makes the zones of a policy, and forgets those that are idle and
// neither named nor configured. Callers hold Guard.mu.
func (g *Guard) applyZones(p *config.Policy, names []string) {
	t := &g.zones
	t.mu.Lock()
	defer t.mu.Unlock()
	t.settle()
	old := *t.settled.Load()
	wanted := make(map[string]struct{}, len(names)+len(p.Zones))
	for _, name := range names {
		wanted[name] = struct{}{}
	}
	for name := range p.Zones {
		wanted[name] = struct{}{}
	}
	delete(wanted, config.UnknownZone) // made when it is asked for
	t.named.Store(int64(len(wanted)))
	next := make(map[string]*zone, len(old))
	for name, z := range old {
		if _, ok := wanted[name]; ok || z.inUse() {
			z.apply(p)
			next[name] = z
			continue
		}
		z.countInto(&g.forgotten)
	}
	for name := range wanted {
		if _, made := next[name]; !made && len(wanted) <= eagerZones {
			next[name] = newZone(g, name, p)
		}
	}
	t.settled.Store(&next)
}

// ZoneCount is how many zones there are, with those that no request has come for and
// without the bucket of unknown keys.
func (g *Guard) ZoneCount() int {
	zones := *g.zones.settled.Load()
	n := len(zones) + int(g.zones.newer.Load())
	if _, ok := zones[config.UnknownZone]; ok {
		n--
	}
	return max(n, int(g.zones.named.Load()))
}

// stirred is the zones at which something happened since the last sweep, and which
// the sweeper did not look at before: a stack that is pushed to without a lock.
type stirred struct{ top atomic.Pointer[zone] }

func (s *stirred) push(z *zone) {
	for {
		z.below = s.top.Load()
		if s.top.CompareAndSwap(z.below, z) {
			return
		}
	}
}

// stir has the sweeper look at the zone. Callers hold mu.
func (z *zone) stir() {
	if z.eventful.Load() {
		return
	}
	z.eventful.Store(true)
	if !z.swept {
		z.swept = true
		z.g.stirred.push(z)
	}
}

// takeStirred adds the zones that were stirred to those that are swept, and returns
// these. Callers hold activeMu.
func (g *Guard) takeStirred() []*zone {
	z := g.stirred.top.Swap(nil)
	if z == nil {
		return g.active
	}
	for ; z != nil; z = z.below {
		g.active = append(g.active, z)
	}
	if g.simulation != nil {
		slices.SortFunc(g.active, func(a, b *zone) int { return cmp.Compare(a.name, b.name) })
	}
	return g.active
}

// activeZones are the zones at which something happened lately: no other is anything but
// calm and without requests.
func (g *Guard) activeZones() []*zone {
	g.activeMu.Lock()
	defer g.activeMu.Unlock()
	return slices.Clone(g.takeStirred())
}

// toSweep is the same for the sweeper, which alone takes zones out.
func (g *Guard) toSweep() []*zone {
	g.activeMu.Lock()
	defer g.activeMu.Unlock()
	return g.takeStirred()
}

// dropIdle takes the zones out of those that are swept at which nothing happens any
// more. Only the sweeper calls it.
func (g *Guard) dropIdle() {
	g.activeMu.Lock()
	defer g.activeMu.Unlock()
	g.active = slices.DeleteFunc(g.active, func(z *zone) bool {
		if z.eventful.Load() {
			return false
		}
		z.mu.Lock()
		defer z.mu.Unlock()
		z.swept = z.eventful.Load()
		return !z.swept
	})
}

// inTurn are all zones; in a simulation by name.
func (g *Guard) inTurn() iter.Seq[*zone] {
	zones := g.allZones()
	if g.simulation == nil {
		return maps.Values(zones)
	}
	names := slices.Sorted(maps.Keys(zones))
	return func(yield func(*zone) bool) {
		for _, name := range names {
			if !yield(zones[name]) {
				return
			}
		}
	}
}
