package breaker

import (
	"fmt"
	"slices"
	"time"

	"github.com/firebreak-proxy/firebreak/internal/lately"
)

// ReasonChecking is why a store gets no check: the worker of its last one is
// still busy with it.
const ReasonChecking Reason = "checking"

// CheckRequest is a check of one store by a recovery. It is for a store in
// maintenance or of an open zone: breakers do not stand against it, and what
// becomes of it is no evidence against anybody.
type CheckRequest struct {
	Zone, Store string

	// The time until the answer must be there.
	Timeout time.Duration

	// Probe makes it the only check of
	// its zone.
	Probe bool

	// EndsOpen reports whether two stores that pass end an open state of their zone.
	EndsOpen bool
}

// AdmitCheck asks for a worker for a check; it never waits. Checks come after the
// zone's own requests: they get nothing while one of those waits, no more than a
// quarter of the pool, none of its last workers, and nothing while half of what
// they may have is held by checks that hang and that nothing explains. Either the
// slot or the refusal is nil.
func (g *Guard) AdmitCheck(c CheckRequest) (s *Slot, refusal *Refusal) {
	defer g.survive()
	refusal = &Refusal{Reason: ReasonBusy, RetryAfter: busyRetry}
	g.zone(c.Zone).do(func(z *zone, now int64) {
		r := Request{Zone: c.Zone, Store: c.Store, Timeout: c.Timeout, check: true, endsOpen: c.EndsOpen}
		v := z.decideCheck(&c, now)
		if v.admit {
			if s = z.open(&r, g.hashOf(c.Store), now, &v, false); s != nil {
				refusal = nil
				return
			}
			v = verdict{reason: ReasonBusy, detail: "every worker of the pool is occupied"}
		}
		refusal = &Refusal{Reason: v.reason, RetryAfter: max(v.after, busyRetry), Since: g.wall(v.since), Detail: v.detail}
	})
	return s, refusal
}

// decideCheck says what happens to a check.
func (z *zone) decideCheck(c *CheckRequest, now int64) verdict {
	if z.held.open() {
		return z.held.refusal(ReasonZoneOpen, z.g, now)
	}
	capacity := z.g.capacity()
	limit := max(1, capacity/4)
	if capacity == 0 {
		limit = checksUnlimited
	}
	checks, unexplained := 0, 0
	for s := z.slots.head; s != nil; s = s.next {
		switch {
		case !s.check:
			continue
		case s.store == c.Store:
			return verdict{reason: ReasonChecking, detail: "its last check still occupies a worker, for " + brief(now-s.start)}
		case c.Probe:
			return verdict{reason: ReasonBusy, detail: "another check of zone " + z.name + " occupies a worker"}
		case s.phase == hung && s.remembered == 0 && !z.checkExplained(s):
			unexplained++
		}
		checks++
	}
	busy := verdict{reason: ReasonBusy, detail: fmt.Sprintf("zone %s occupies %d workers, %d of them by requests or checks that hang", z.name, z.live+z.hung, z.hung)}
	switch {
	case z.waiters.count > 0:
		return busy
	case unexplained > 0 && unexplained >= limit/2 && !c.Probe:
		busy.detail = fmt.Sprintf("%d checks of zone %s hang, and no store was found well since", unexplained, z.name)
		return busy
	case checks >= limit || z.live+z.hung-z.remembered >= limit+2 && capacity > 0:
		return busy
	}
	return verdict{admit: true, class: trial}
}

// checksUnlimited is how many checks of a zone may run in a pool of unknown size.
const checksUnlimited = 8

// hungRequests is the hung slots that are evidence.
func (z *zone) hungRequests() int { return z.hung - z.hungCheck }

// settleCheck takes in the verdict on a check. Good ones count for their zone
// only where they were asked for that.
func (z *zone) settleCheck(s *Slot, o Outcome, now int64) {
	switch {
	case o == NoUpstream:
		z.g.upstreamAway(now)
	case o.good():
		z.passedAt = now
		if s.endsOpen && z.state == Open && z.held == nil && s.start >= z.openedAt {
			z.passedWhileOpen(s, now)
		}
	}
}

// storesToPass is how many stores must pass a check while the zone is cut off
// for it to be tried before its open time is over.
const storesToPass = 2

// passedWhileOpen ends the open state early once enough stores have passed.
func (z *zone) passedWhileOpen(s *Slot, now int64) {
	if z.passed == nil {
		z.passed = make(map[string]struct{})
	}
	z.passed[s.store] = struct{}{}
	if n := len(z.passed); n >= storesToPass {
		z.toHalfOpen(now, fmt.Sprintf("checks of %d of its stores passed", n))
	}
}

// checkExplained reports whether a hung check takes no room from the innocent: some
// other store of the zone was well since it began.
func (z *zone) checkExplained(s *Slot) bool {
	return s.phase == hung && (z.passedAt > s.start || z.answered.elsewhereSince(s.hash, s.start))
}

// Reinstate ends a store's quarantine because it was found well. A hold by hand
// stays.
func (g *Guard) Reinstate(zoneName, store, why string) {
	g.zone(zoneName).do(func(z *zone, now int64) { z.resetStore(store, now, why) })
}

// OpenZone is a zone that its breaker has opened.
type OpenZone struct {
	Zone  string
	Since time.Time

	// Checked reports whether the zone has a check of its own, which fails.
	Checked bool
}

// OpenZones are the zones that are open by their breakers, not by hand.
func (g *Guard) OpenZones() (open []OpenZone) {
	if g.openZones.Load() == 0 {
		return nil
	}
	for _, z := range g.activeZones() {
		z.mu.Lock()
		if z.state == Open && z.held == nil && !z.shared() {
			open = append(open, OpenZone{Zone: z.name, Since: g.wall(z.openedAt), Checked: z.checkable() && !z.checkOK})
		}
		z.mu.Unlock()
	}
	return open
}

// Trouble is a store whose latest outcome is bad, or that is in quarantine.
type Trouble struct {
	Store    string
	State    State
	Last     Outcome       // the latest outcome
	Ago      time.Duration // since the latest bad outcome, or since it was put into quarantine if that is later
	BadInRow int
	Hung     int // slots hung now
	Evidence string
}

// Troubles are the stores of a zone that are in trouble now, and whether its
// breaker has opened the zone, for how long, and why (0: it has not).
func (g *Guard) Troubles(zoneName string) (list []Trouble, openFor time.Duration, why string) {
	z := g.find(zoneName)
	if z == nil {
		return nil, 0, ""
	}
	z.do(func(z *zone, now int64) {
		if z.state == Open && z.held == nil {
			openFor, why = max(1, time.Duration(now-z.openedAt)), z.evidence
		}
		z.books.each(func(rec *record) bool {
			if _, failing := z.failing[rec]; failing || rec.state != Calm || rec.hung > 0 {
				list = append(list, rec.trouble(now))
			}
			return true
		})
	})
	return list, openFor, why
}

func (r *record) trouble(now int64) Trouble {
	t := Trouble{Store: r.store, State: r.state, Last: r.last, BadInRow: max(r.strikes, r.errorsInRow), Hung: r.hung}
	at := max(r.lastBad, r.lastHung, r.lastErrorAt())
	if r.state != Calm {
		t.Evidence = r.evidence
	}
	if r.state == Open {
		at = max(at, r.since)
	}
	t.Ago = time.Duration(now - at)
	return t
}

// Served tells how long ago stores of a zone had their latest success, as far
// as that is remembered: about a thousand stores are. It is a picture of the
// moment Served was called.
type Served struct {
	g    *Guard
	seen *lately.Seen
	now  int64
}

// Served is the stores of a zone that were served lately.
func (g *Guard) Served(zoneName string) Served {
	p := Served{g: g, now: g.now()}
	if z := g.find(zoneName); z != nil {
		z.do(func(z *zone, _ int64) {
			if z.seen != nil {
				p.seen = z.seen.Clone()
			}
		})
	}
	return p
}

// Ago is how long ago the store had a success; false if that is not known.
func (p Served) Ago(store string) (time.Duration, bool) {
	if p.seen == nil {
		return 0, false
	}
	at, ok := p.seen.At(p.g.hashOf(store))
	return time.Duration(p.now - at), ok
}

// Asked are up to n stores of a zone that requests came for lately, latest
// first, those with nothing stuck before the others. It is known in episodes
// only.
func (g *Guard) Asked(zoneName string, n int) (stores []string) {
	z := g.find(zoneName)
	if z == nil {
		return nil
	}
	z.do(func(z *zone, _ int64) {
		var list []*record
		z.books.each(func(rec *record) bool {
			list = append(list, rec)
			return true
		})
		slices.SortFunc(list, func(a, b *record) int {
			if stuck := min(a.hung, 1) - min(b.hung, 1); stuck != 0 {
				return stuck
			}
			return int(min(max(b.asked()-a.asked(), -1), 1))
		})
		for _, rec := range list[:min(n, len(list))] {
			stores = append(stores, rec.store)
		}
	})
	return stores
}

func (r *record) asked() int64 { return max(r.askedAt, r.lastAt, r.answeredAt) }
