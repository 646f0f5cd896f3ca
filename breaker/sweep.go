package breaker

import (
	"context"
	"fmt"
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
	active := g.toSweep()
	now := g.now()
	g.detectPoolFailure(active, now)
	for _, v := range *g.servers.all.Load() {
		v.picture = serverPicture{}
	}
	busy := 0
	for _, z := range active {
		g.sweepZone(ctx, z)
		if z.busyAt > now-int64(busyFor) {
			busy++
		}
	}
	g.busyZones.Store(int64(busy))
	g.learnPatience(active, now)
	g.dropIdle()
	g.judgeServers(now)
	g.askForServers()
	if s := g.suspect.Load(); s != nil && now > s.until && g.suspect.CompareAndSwap(s, nil) {
		g.emit(Event{Kind: EventPoolTrusted, At: g.wall(now), Evidence: "zones can be told apart again"})
	}
	g.wake()
}

// sweepZone sweeps one zone. A bug that one zone brings to light must not keep
// the others from being swept.
func (g *Guard) sweepZone(ctx context.Context, z *zone) {
	defer g.survive()
	var check, ask *config.Check
	var q *Inquiry
	var renewals []trialLease
	z.do(func(z *zone, now int64) {
		z.sweep(now)
		check = z.wantsCheck(now)
		q, ask = z.wantsInquiry(now)
		renewals, z.renewals = z.renewals, nil
	})
	if renewals != nil {
		g.renew(z.name, renewals)
	}
	if q != nil {
		g.done.Go(func() { z.inquire(ctx, q, ask) })
	}
	if check != nil {
		g.done.Go(func() { z.runCheck(ctx, check) })
	}
}

// busyFor is for how long after its latest request a zone has its share of the pool. One
// that is answered within milliseconds holds no worker most of the time.
const busyFor = time.Second

// sweep does what time demands in one zone.
func (z *zone) sweep(now int64) {
	if z.isHeld() {
		z.sweepHolds(now)
	}
	usage, rate := z.pace.average(z.live+z.hung-z.lates.len, now)
	addFloat(&z.g.usage, usage)
	addFloat(&z.g.rate, rate)
	z.answeredAt.Store(z.answered.last)
	z.occupied.Store(int64(z.live + z.hung))
	if z.live+z.hung+z.waiters.count > 0 || z.answered.last > now-int64(busyFor) {
		z.busyAt = now
	}
	z.lookForLate(now)
	if z.lates.len == 0 && z.waiters.count == 0 && 8*z.live < z.g.capacity() {
		z.inFlight = nil
	}
	z.sweepSlots(now)
	z.look(now)
	z.lookForFleet(now)
	z.decay(now)
	z.judge(now)
	z.judgeErrors(now)
	if z.state == Calm {
		z.sweepCalm(now)
		return
	}
	z.sweepStores(now)
	z.sweepState(now)
}

// sweepCalm keeps a calm zone cheap: it has no records once nothing is late.
func (z *zone) sweepCalm(now int64) {
	if z.lates.len == 0 && z.hungRequests() == 0 && len(z.failing) == 0 {
		z.books.clear() // an isolated hiccup begins no episode
		z.keepCount(now)
		if z.waiters.count == 0 {
			z.window = 0
		}
	}
	if latest := z.kept.latest(); latest == nil || now-latest.at < int64(countsSettle) {
		return
	}
	if !z.curious && z.slots.len == 0 && len(z.failing) == 0 && !z.isHeld() && z.pace.usage < 0.001 && z.pace.rate < 0.001 && now-z.answered.last > int64(z.policy.Window) {
		addFloat(&z.g.usage, -z.pace.usage)
		addFloat(&z.g.rate, -z.pace.rate)
		z.forget()
		z.eventful.Store(false)
	}
}

// forget frees what a zone does not need while it is idle. Where each tenant has a zone
// of its own, most are.
func (z *zone) forget() {
	z.pace = pace{usual: z.pace.usual}
	z.block, z.blockSize, z.seen, z.failing = nil, 0, nil, nil
	z.joint, z.back = nil, nil
	z.kept.shrink()
}

// sweepSlots reports for owners that do not.
func (z *zone) sweepSlots(now int64) {
	var next *Slot
	for s := z.slots.head; s != nil; s = next {
		next = s.next
		age := now - s.start
		if !s.aged && s.late && s.aging(now) {
			s.aged = true
			if s.class == known {
				z.hangs++
			}
		}
		if s.left && s.aging(now) && (s.tracked.Load() || z.answered.last < s.start) {
			z.settle(s, GoneLate, now)
		}
		switch {
		case s.phase == live && !s.answering && !s.awaitsClient() && age > s.timeout+int64(lease):
			z.turnHung(s, now)
			z.settle(s, Hung, now)
		case s.abandonedAt != 0:
			if s.restarted(s.abandonedAt) {
				z.end(s, Gone, now)
			}
		case s.phase == hung && !s.tracked.Load() && z.holdOver(s, now):
			z.end(s, Gone, now)
		}
	}
}

// abandon takes in that the connection of a hung request was closed.
func (z *zone) abandon(s *Slot, now int64) {
	if s.abandonedAt == 0 {
		s.abandonedAt = now
		z.totals.abandoned++
	}
}

// restarted reports whether the slot's server could not be dialled since t, so
// that its workers are new ones.
func (s *Slot) restarted(t int64) bool {
	if s.server != nil {
		return s.server.away.Load() > t
	}
	return s.z.g.awaySince(t)
}

// holdOver reports whether an untracked hung slot has been held long enough. One
// whose client left early is held only if no request was answered since.
func (z *zone) holdOver(s *Slot, now int64) bool {
	if s.remembered != 0 {
		return s.restarted(s.remembered) || !s.isRead(now) && now-s.remembered >= int64(s.policy.HungHold)
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
		case rec.state == Open && !rec.machine.isOpen(now) && !z.probeFails(rec.store, now) && !z.storeDueJointly(rec, now):
			due = append(due, rec)
		case rec.state == HalfOpen && rec.hung == 0 && !rec.machine.pending() && !rec.joint.agreed(now) && now-max(rec.since, rec.askedAt) > int64(z.store.OpenTimeMax):
			idle = append(idle, rec)
		}
	}
	slices.SortFunc(due, byStore)
	slices.SortFunc(idle, byStore)
	for _, rec := range due {
		z.storeHalfOpen(rec, now, openTimeOver)
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
		if z.dueJointly(now) {
			return // until a request comes, and the fleet has answered
		}
		z.toHalfOpen(now, openTimeOver)
	case HalfOpen:
		idle := now - z.idleSince
		switch {
		case z.probing != nil && z.probing.aging(now) && !z.g.verdictsSuspended(now):
			z.probeHangs(now)
		case z.probing != nil:
		case z.hungRequests() == 0 && idle > int64(z.policy.OpenTimeMax) && !z.joint.agreed(now):
			z.toClosed(now, fmt.Sprintf("no request came for %s", z.policy.OpenTimeMax))
		}
	case Troubled:
		quiet := z.hungRequests() == 0 && z.lates.len == 0 && !z.fails(now) && z.sick == 0
		if quiet && now-z.lastTrouble >= int64(z.policy.Window) {
			z.toCalm(now)
		}
	case Calm:
	}
}

func (z *zone) checkable() bool { return z.policy.Check != nil && z.g.opts.Check != nil }

// wantsCheck reports whether it is time to ask the zone's database.
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
