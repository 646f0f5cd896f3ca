//go:build e2e

package e2e_test

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/examples/outage/load"
)

// damage is a fault of single stores: some rows of one zone are locked, and
// every request for them hangs. Half of the traffic goes to that zone, so that
// the quiet stores are heard of too.
type damage struct {
	pool     *pool
	proxy    *proxy
	culprits map[string]bool
	names    []string
	w        *watch
	tr       *traffic
	broke    time.Time
	brokeAt  time.Duration
	release  func()
}

const sickZone = 3

// breakStores locks the rows of the stores with these ranks: 0 is the busiest.
func breakStores(t *testing.T, pool *pool, p *proxy, ranks []int, perSecond float64, d time.Duration) *damage {
	t.Helper()
	m := &damage{pool: pool, proxy: p, culprits: map[string]bool{}}
	for _, r := range ranks {
		m.names = append(m.names, storeName(sickZone, r))
		m.culprits[storeName(sickZone, r)] = true
	}
	plan := everyday(p, "/search", d)
	plan.Rate = perSecond
	plan.Pick = shoppers{proxy: p.addr, path: "/search", sick: sickZone, share: 0.5}.pick()
	m.w = p.watch(t)
	m.tr = drive(t, plan)
	m.tr.sleepUntil(5 * time.Second)
	m.broke, m.brokeAt = time.Now(), m.tr.now()
	m.release = world.databases[sickZone].lockRows(t, m.names...)
	return m
}

// quarantined lists the culprits that have been in quarantine so far.
func (m *damage) quarantined() []string {
	seen := m.w.quarantines(zoneName(sickZone), m.broke)
	return slices.DeleteFunc(slices.Clone(m.names), func(name string) bool {
		_, was := seen[name]
		return !was
	})
}

// named lists the culprits that firebreak names right now.
func (m *damage) named(t *testing.T) []string {
	t.Helper()
	var answer []struct {
		Store string `json:"store"`
	}
	m.proxy.get(t, "/firebreak/culprits?zone="+zoneName(sickZone), &answer)
	var names []string
	for _, c := range answer {
		names = append(names, c.Store)
	}
	return names
}

// checkVerdicts compares the stores in quarantine with the true culprits.
func (m *damage) checkVerdicts(t *testing.T, limit time.Duration) {
	t.Helper()
	seen := m.w.quarantines(zoneName(sickZone), m.broke)
	last, innocents, longest := time.Duration(0), 0, time.Duration(0)
	for store, q := range seen {
		if m.culprits[store] {
			last = max(last, q.first)
			continue
		}
		innocents++
		longest = max(longest, q.longest)
		promise(t, q.longest <= 2*time.Second, false, "innocent store %s was in quarantine for %s", store, q.longest)
	}
	found := m.quarantined()
	figure(t, "%d of %d culprits in quarantine, the last after %.1f s; %d innocents ever in quarantine, the longest for %.2f s",
		len(found), len(m.names), last.Seconds(), innocents, longest.Seconds())
	for _, name := range m.names {
		if !slices.Contains(found, name) {
			promise(t, false, false, "culprit %s was never in quarantine", name)
		}
	}
	promise(t, last <= limit, last <= 2*limit, "the last culprit was found after %s, want %s", last, limit)
}

// checkPool reads at the pool how much the damage cost. The limit is on the
// workers that hang: the well stores of the zone go on working beside them. Once
// requests of a zone hold half of the pool no store of it that is not known to be
// well gets another worker.
func (m *damage) checkPool(t *testing.T, until time.Time) {
	t.Helper()
	samples := m.pool.busy.between(m.broke, until)
	stuck := worstOf(samples, m.names)
	figure(t, "workers at worst: %d stuck on culprits, %d in the zone, %d in all",
		stuck, worst(samples, zoneName(sickZone)), worstTotal(samples))
	// From half of the pool on one more store is asked after ten seconds, another twenty
	// later and so on, and two may be tried again.
	if limit := workers/2 + 4; stuck > limit {
		t.Errorf("%d workers hung, want at most %d", stuck, limit)
	}
	all := worstTotal(samples)
	promise(t, all < workers, false, "all %d workers were occupied", all)
}

// TestCulprits: a few stores hang, hot ones and cold ones.
func TestCulprits(t *testing.T) {
	for _, ranks := range [][]int{{0}, {1, 20, 60}, {0, 2, 5, 20, 40, 60}} {
		t.Run(fmt.Sprintf("k=%d", len(ranks)), func(t *testing.T) { playCulprits(t, ranks) })
	}
}

func playCulprits(t *testing.T, ranks []int) {
	pool := gunicorn(t)
	p := startProxy(t, gunicornSite(pool, ""))
	warm(t, p, "/search")
	const fault = 12 * time.Second
	m := breakStores(t, pool, p, ranks, rate, 40*time.Second)
	m.tr.sleepUntil(m.brokeAt + fault)
	for _, name := range m.names {
		if named := m.named(t); !slices.Contains(named, name) {
			promise(t, false, true, "culprit %s is not named among %v", name, named)
		}
	}
	healedAt, back := m.tr.now(), m.promised(t)
	m.checkPool(t, time.Now())
	m.release()
	m.tr.sleepUntil(min(back+5*time.Second, 40*time.Second))
	m.tr.stop()
	rs := load.Filter(m.tr.wait(t), func(r load.Result) bool { return r.Err != load.ErrCanceled })

	m.checkVerdicts(t, 10*time.Second)
	own := inZone(rs, zoneName(sickZone))
	innocents := ofStores(due(own, m.brokeAt, healedAt), m.culprits, false)
	settled := due(innocents, m.brokeAt+time.Second, healedAt)
	others := due(notInZones(rs, zoneName(sickZone)), m.brokeAt, healedAt)
	figure(t, "innocents of the zone %.3f %% ok from the start, %.3f %% from 1 s on, of %d; other zones %.3f %%",
		load.OKPercent(innocents), load.OKPercent(settled), len(innocents), load.OKPercent(others))
	wantOK(t, "innocents from 1 s on", settled, 99.9)
	wantOK(t, "other zones", others, 99.99)
	culprits := due(ofStores(own, m.culprits, true), healedAt, time.Hour)
	figure(t, "culprits back %.1f s after the heal, promised within %.1f s",
		(max(lastBad(culprits), healedAt) - healedAt).Seconds(), (back - healedAt).Seconds())
	wantOK(t, "culprits after their open time", due(culprits, back+time.Second, time.Hour), 99)
}

// promised is the offset at which the last culprit's open time ends.
func (m *damage) promised(t *testing.T) time.Duration {
	t.Helper()
	last := m.tr.now()
	for _, name := range m.names {
		var s struct {
			OpenUntil time.Time `json:"open_until"`
		}
		m.proxy.get(t, "/firebreak/stores/"+name, &s)
		last = max(last, s.OpenUntil.Sub(m.tr.start))
	}
	return last
}

// TestManyCulprits: more damaged stores than the zone has slots. gunicorn kills
// a worker that is stuck for 30 s, and firebreak learns one store at a time.
func TestManyCulprits(t *testing.T) {
	for _, k := range []int{10, 30} {
		t.Run(fmt.Sprintf("k=%d", k), func(t *testing.T) {
			var ranks []int
			for i := range k {
				ranks = append(ranks, (i*storesPerZone+storesPerZone/2)/k)
			}
			playManyCulprits(t, ranks)
		})
	}
}

func playManyCulprits(t *testing.T, ranks []int) {
	// A new worker connects when it has to: ten of them that open 120
	// connections at once would be a fault of their own.
	pool := gunicorn(t, "WORKER_TIMEOUT=30", "CONNECT_EARLY=")
	p := startProxy(t, gunicornSite(pool, ""))
	warm(t, p, "/search")
	m := breakStores(t, pool, p, ranks, rate/2, 4*time.Minute)
	const least, most = 30 * time.Second, 2 * time.Minute
	for m.tr.now() < m.brokeAt+most && (len(m.quarantined()) < len(ranks) || m.tr.now() < m.brokeAt+least) {
		time.Sleep(500 * time.Millisecond)
	}
	until := m.tr.now()
	m.checkPool(t, time.Now())
	m.tr.stop()
	m.release()
	rs := due(m.tr.wait(t), m.brokeAt, until-timeout)

	m.checkVerdicts(t, most)
	innocents := ofStores(inZone(rs, zoneName(sickZone)), m.culprits, false)
	proven := ofStores(provenOnes(inZone(rs, zoneName(sickZone)), 30*time.Second), m.culprits, false)
	others := notInZones(rs, zoneName(sickZone))
	figure(t, "after %.0f s: proven stores %.3f %% ok of %d, all innocents of the zone %.3f %% of %d, other zones %.3f %%",
		(until - m.brokeAt).Seconds(), load.OKPercent(proven), len(proven),
		load.OKPercent(innocents), len(innocents), load.OKPercent(others))
	for from, to := m.brokeAt, m.brokeAt+3*time.Second; from < until; from, to = to, to+15*time.Second {
		part := due(proven, from, to)
		figure(t, "proven stores %.0f to %.0f s after the fault: %.3f %% ok of %d",
			(from - m.brokeAt).Seconds(), (min(to, until) - m.brokeAt).Seconds(), load.OKPercent(part), len(part))
	}
	wantOK(t, "proven stores", proven, 99)
	wantOK(t, "other zones", others, 99.99)
}

// provenOnes keeps the requests of stores that had a success after the oldest
// hung request of their zone began: they are known to be well. A worker hangs
// until gunicorn kills it, killed after its request. The request may have
// waited for its worker.
func provenOnes(rs []load.Result, killed time.Duration) []load.Result {
	var hung []time.Duration // when they were due, in order
	for _, r := range rs {
		if r.Refusal == "hung" {
			hung = append(hung, r.At)
		}
	}
	slices.Sort(hung)
	answered := map[string]time.Duration{} // when a store was last answered, before the request at hand
	slices.SortFunc(rs, func(a, b load.Result) int { return cmp.Compare(a.At, b.At) })
	var proven, open []load.Result
	for _, r := range rs {
		open = slices.DeleteFunc(open, func(o load.Result) bool {
			done := o.At + o.Latency
			if done < r.At {
				answered[o.Store] = max(answered[o.Store], done)
			}
			return done < r.At
		})
		for len(hung) > 0 && hung[0]+killed < r.At {
			hung = hung[1:]
		}
		if len(hung) == 0 || hung[0] > r.At || answered[r.Store] > hung[0]+maxWait {
			proven = append(proven, r)
		}
		if r.OK() {
			open = append(open, r)
		}
	}
	return proven
}
