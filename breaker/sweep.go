package breaker

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/firebreak-proxy/firebreak/config"
)

// sweeper looks at requests in flight and drives every transition that time
// brings, until ctx is done.
func (g *Guard) sweeper(ctx context.Context) {
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			g.sweep(ctx)
		}
	}
}

func (g *Guard) sweep(ctx context.Context) {
	defer g.survive()
	zones, now := *g.zones.Load(), g.now()
	g.listen(zones, now)
	g.listenToErrors(zones, now)
	for z := range g.inTurn(zones) {
		if z.eventful.Load() {
			g.sweepZone(ctx, z)
		}
	}
	if s := g.suspect.Load(); s != nil && now > s.until && g.suspect.CompareAndSwap(s, nil) {
		g.emit(Event{Kind: EventPoolTrusted, At: g.wall(now), Evidence: "zones can be told apart again"})
	}
	g.dispatch()
}

// inTurn are the zones in the order in which they are swept.
func (g *Guard) inTurn(zones map[string]*zone) iter.Seq[*zone] {
	if g.simulation != nil {
		return g.simulation.inTurn(zones)
	}
	return maps.Values(zones)
}

// sweepZone sweeps one zone. A bug that one zone brings to light must not keep
// the others from being swept.
func (g *Guard) sweepZone(ctx context.Context, z *zone) {
	defer g.survive()
	var check *config.Check
	z.do(func(z *zone, now int64) {
		z.sweep(now)
		check = z.wantsCheck(now)
	})
	if check != nil {
		g.done.Go(func() { z.runCheck(ctx, check) })
	}
}

// sweep does what time demands in one zone.
func (z *zone) sweep(now int64) {
	if z.isHeld() {
		z.sweepHolds(now)
	}
	z.judgeBroken(now)
	aging := z.sweepSlots(now)
	if z.state == Calm && aging >= 2 && !z.g.silent(now) {
		z.trouble(now, fmt.Sprintf("%d requests have no answer for over %s", aging, z.policy.SlowAfter))
	}
	if z.state == Calm {
		if z.badStores(now) == 0 && z.hungRequests() == 0 {
			z.books.clear() // an isolated hiccup begins no episode
			if len(z.broken) == 0 {
				z.keepCount(now)
			}
		}
		z.explain()
		if z.slots.len == 0 && len(z.bad) == 0 && len(z.broken) == 0 && !z.isHeld() {
			z.eventful.Store(false)
		}
		return
	}
	z.judge(now)
	z.judgeAging(now)
	z.sweepStores(now)
	z.sweepState(now)
	z.explain()
	z.lend(now)
}

// sweepSlots reports for owners that do not, and counts the aging requests.
func (z *zone) sweepSlots(now int64) (aging int) {
	var next *Slot
	for s := z.slots.head; s != nil; s = next {
		next = s.next
		age := now - s.start
		if s.aging(now) {
			aging++
			z.sweepAging(s, now)
		}
		switch {
		case s.phase == live && !s.answering && !s.awaitsClient() && age > s.timeout+int64(lease):
			z.turnHung(s, now)
			z.settle(s, Hung, now)
		case s.phase == hung && !s.tracked.Load() && z.holdOver(s, now):
			z.end(s, Gone, now)
		case s.phase == hung && now-s.hungAt > int64(s.policy.AbandonAfter+lease):
			z.end(s, Abandoned, now)
		}
	}
	return aging
}

// sweepAging takes in that a request is aging: of one whose client left early
// that makes a hang.
func (z *zone) sweepAging(s *Slot, now int64) {
	if s.left && (s.tracked.Load() || z.lastOK < s.start) {
		z.settle(s, GoneLate, now)
	}
	// In triage an aging probe makes room for the next store's. It is no strike
	// yet: a zone that is merely slow must be able to come back.
	z.settleZonePass(s, errNeutral)
}

// holdOver says that an untracked hung slot has been held long enough. One
// whose client left early is held only if nobody was answered since.
func (z *zone) holdOver(s *Slot, now int64) bool {
	if s.remembered != 0 {
		return now-s.remembered >= int64(s.policy.HungHold) || z.g.awaySince(s.remembered)
	}
	if s.left && now-s.start >= s.slowAfter {
		return true
	}
	return now-s.hungAt >= int64(s.policy.HungHold)
}

// sweepStores tries stores again whose open time is over.
func (z *zone) sweepStores(now int64) {
	var due, idle []*record
	for _, rec := range z.books.pins {
		switch {
		case rec.state == Open && !rec.machine.isOpen(now):
			due = append(due, rec)
		case rec.state == HalfOpen && rec.hung == 0 && !rec.machine.pending() && now-max(rec.since, rec.askedAt) > int64(z.store.OpenTimeMax):
			idle = append(idle, rec)
		}
	}
	slices.SortFunc(due, byStore)
	slices.SortFunc(idle, byStore)
	for _, rec := range due {
		z.storeHalfOpen(rec, now, "its open time is over")
	}
	for _, rec := range idle {
		z.release(rec, now, fmt.Sprintf("it sent no request for %s", z.store.OpenTimeMax))
	}
}

// stillFails stands before the evidence of a zone that stays open.
const stillFails = "its check still fails: "

// sweepState drives the zone's own transitions.
func (z *zone) sweepState(now int64) {
	switch z.state {
	case Open:
		if z.machine.isOpen(now) {
			return
		}
		if z.checkable() && !z.checkOK {
			z.toOpen(now, stillFails+strings.TrimPrefix(z.evidence, stillFails))
			return
		}
		z.toHalfOpen(now, "its open time is over")
	case HalfOpen:
		idle := now - z.idleSince
		switch {
		case z.probing > 0:
		case !z.roomToProbe() && idle > int64(time.Second):
			z.toOpen(now, fmt.Sprintf("no slot is left to try it with: %d hung", z.hung))
		case z.hungRequests() == 0 && idle > int64(z.policy.OpenTimeMax):
			z.toClosed(now, fmt.Sprintf("no request came for %s", z.policy.OpenTimeMax))
		}
	case Troubled:
		quiet := z.hungRequests() == 0 && z.oldestStuck(now, int64(z.policy.SlowAfter)) == 0 && z.badStores(now) == 0
		if quiet && z.quarantined() == 0 && now-z.lastTrouble >= int64(z.policy.Window) {
			z.toCalm(now)
		}
	case Calm:
	}
}

func (z *zone) quarantined() (n int) {
	for _, rec := range z.books.pins {
		if rec.state != Calm {
			n++
		}
	}
	return n
}

// lend adds a probe slot each time the longest open time has passed with all
// of them hung: without one nobody would ever find out that the zone is well
// again. A zone with a check has a better way.
func (z *zone) lend(now int64) {
	full := z.trials >= z.probeSlots() && z.hung >= z.policy.MaxHung && z.state != Calm
	switch {
	case !full:
		z.lentAt = 0
		z.lent = max(0, min(z.lent, z.trials-z.policy.ProbeSlots))
	case z.lentAt == 0:
		z.lentAt = now
	case now-z.lentAt >= int64(z.policy.OpenTimeMax) && !z.checkable() && z.policy.MaxInflight+z.probeSlots() < 2*z.policy.MaxInflight:
		z.lent++
		z.lentAt = now
	}
}

func (z *zone) checkable() bool { return z.policy.Check != nil && z.g.opts.Check != nil }

// wantsCheck says that it is time to ask the zone's database.
func (z *zone) wantsCheck(now int64) *config.Check {
	if z.state != Open || !z.checkable() || now-z.checkAt < int64(z.policy.Check.Every) || !z.checking.CompareAndSwap(false, true) {
		return nil
	}
	z.checkAt = now
	return z.policy.Check
}

// runCheck asks the zone's database, and ends the open state if it is well.
func (z *zone) runCheck(ctx context.Context, check *config.Check) {
	defer z.checking.Store(false)
	defer z.g.survive()
	ctx, cancel := context.WithTimeout(ctx, time.Duration(check.Timeout))
	defer cancel()
	began := z.g.now()
	err := z.g.opts.Check(ctx, z.name, check)
	z.g.countCheck(err)
	now := z.g.now()
	z.mu.Lock()
	defer z.mu.Unlock()
	z.checkOK = err == nil
	if err == nil && z.state == Open && began > z.openedAt {
		z.toHalfOpen(now, "its check passed")
	}
}
