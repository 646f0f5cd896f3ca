package breaker

import (
	"context"
	"fmt"
	"time"
)

// Request is what the guard must know of a request.
type Request struct {
	Zone, Store string

	// Shared reports whether the request belongs to the bucket of unknown keys:
	// Zone is config.UnknownZone and Store the same for all of them. Such a
	// bucket has no store breaker.
	Shared bool

	// Timeout is the time until the first byte, if it is not the zone's.
	Timeout time.Duration

	// Stream reports whether the request asks for a stream.
	Stream bool

	// Otherwise, if not nil, is asked before the request waits for the outcome of
	// another one that tries a zone or store which is cut off. If it reports that
	// another answer is at hand, the request is refused at once, as busy.
	Otherwise interface{ AtHand() bool }

	check, endsOpen bool // see AdmitCheck
}

// verdict is what happens to a request that asks for a worker.
type verdict struct {
	admit  bool
	wait   bool // no room now; it may wait
	why    why  // what for
	class  class
	speaks bool   // its silence speaks against the zone
	second bool   // it asks a store again that is in doubt
	reason Reason // of a refusal
	after  time.Duration
	since  int64
	detail string
}

// Admit asks for a worker. It may wait for one: up to the zone's max_wait for a
// worker, up to slow_after for a zone that is in doubt, in a queue that is fair by
// zone and by store. Either the slot or the refusal is nil. The slot must be
// ended, on every path.
func (g *Guard) Admit(ctx context.Context, r Request) (*Slot, *Refusal) {
	z, hash := g.zone(r.Zone), g.hashOf(r.Store)
	s, refusal, w, until := z.tryAdmitLocked(&r, hash, g.now())
	if w == nil {
		return s, refusal
	}
	if w.lease != nil {
		z.ask(w.lease)
	}
	if w.trial && r.Otherwise != nil && w.isAnsweredOtherwise(z) {
		w.hasty = true
		s, refusal, _ = z.giveUp(w, false)
		return s, refusal
	}
	return w.wait(ctx, g, z, until)
}

func (z *zone) tryAdmitLocked(r *Request, hash uint64, now int64) (*Slot, *Refusal, *waiter, time.Duration) {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.tryAdmit(r, hash, now)
}

// tryAdmit opens a slot, refuses, or queues the request.
func (z *zone) tryAdmit(r *Request, hash uint64, now int64) (*Slot, *Refusal, *waiter, time.Duration) {
	if z.isPlain(r, now) {
		if s := z.open(r, hash, now, &plain, z.policy.Observe); s != nil {
			return s, nil, nil, 0
		}
	}
	v := z.decide(r, hash, now)
	if z.books.rest != nil {
		if rec := z.books.get(r.Store); rec != nil {
			rec.askedAt = now
		}
	}
	if z.policy.Observe {
		z.countWould(&v)
		return z.open(r, hash, now, &plain, true), nil, nil, 0
	}
	if v.admit && z.waiters.has(r.Store) {
		v = verdict{wait: true, why: storeUnproven} // those before it come first
		z.serve(now)
	}
	if v.admit {
		if s := z.open(r, hash, now, &v, false); s != nil {
			return s, nil, nil, 0
		}
		v = verdict{wait: true, why: poolFull}
	}
	if !v.wait {
		return nil, z.refuse(&v), nil, 0
	}
	until := z.mayWait(r, v.why)
	if v.why == fleetAsked {
		until = max(until, leaseWait+2*sweepEvery)
	}
	if until > 0 {
		if w := z.enqueue(r, hash, now); w != nil {
			w.trial = v.why == beingTried
			if v.why == fleetAsked {
				w.lease = z.claim(r.Store, now)
			}
			if v.why.ofPool() {
				z.g.enlist(z)
			}
			return nil, nil, w, until
		}
	}
	v = z.busy(v.why)
	return nil, z.refuse(&v), nil, 0
}

// plain is the verdict on a request that nothing speaks against.
var plain = verdict{admit: true, speaks: true}

// isPlain reports whether nothing at all speaks against a request, so that the
// calm path is short.
func (z *zone) isPlain(r *Request, now int64) bool {
	if z.state != Calm || r.Stream || z.lost || z.silence.asked >= z.policy.MinBadStores || z.lates.len > 0 || z.window > 0 || z.answered.last == 0 || z.policy.MaxInflight > 0 || z.waiters.count > 0 || z.isHeld() {
		return false
	}
	if z.unlooked != nil && now-z.unlooked.start >= leastPatience {
		z.lookForLate(now)
		if z.lates.len > 0 {
			return false
		}
	}
	capacity := z.g.capacity()
	return capacity == 0 || 4*(z.live+1) <= capacity && (8*(z.live+1) <= capacity || z.live < z.borrowable(capacity))
}

// decide says what happens to a request, and changes nothing but what time
// brings.
func (z *zone) decide(r *Request, hash uint64, now int64) verdict {
	if z.isHeld() {
		if z.held.open() {
			return z.held.refusal(ReasonZoneOpen, z.g, now)
		}
		if h := z.heldStores[r.Store]; h.open() && !r.Shared {
			return h.refusal(ReasonQuarantine, z.g, now)
		}
	}
	if z.state == Open {
		if z.dueJointly(now) {
			return verdict{wait: true, why: fleetAsked}
		}
		return verdict{reason: ReasonZoneOpen, after: time.Duration(z.machine.until - now), since: z.openedAt, detail: z.evidence}
	}
	if r.Stream && z.streams >= z.policy.MaxStreams {
		return z.busy(zoneLimit)
	}
	p := z.picture(r.Store, hash, now)
	if z.books.rest != nil {
		if rec := z.books.get(r.Store); rec != nil && rec.state != Calm {
			return z.decideQuarantined(rec, &p, now)
		}
	}
	if z.state == HalfOpen {
		return z.decideTrial(&p)
	}
	d := decide(&p)
	return verdict{admit: d.admit, wait: !d.admit, why: d.why, class: d.class, speaks: d.witness, second: !d.witness && p.mineOpen > 0}
}

// decideQuarantined lets one request through per open time. A store whose
// earlier request still hangs gets no further one for the longest open time: the
// one that hangs is the better probe, and costs no second worker. What hangs may be lost,
// and hang for ever: once nothing was late for ten such times, it no longer counts.
func (z *zone) decideQuarantined(rec *record, p *picture, now int64) verdict {
	v := verdict{reason: ReasonQuarantine, after: busyRetry, since: rec.since, detail: rec.evidence}
	if rec.state == Open && !z.storeDueJointly(rec, now) {
		v.after = max(time.Duration(rec.machine.until-now), 0)
		return v
	}
	again, lost := z.looksAgain(rec), p.quiet >= 10*z.store.OpenTimeMax
	switch {
	case z.state == HalfOpen,
		!again && !rec.joint.isHinted() && rec.hung > 0 && now-rec.lastHung < int64(z.store.OpenTimeMax),
		p.capacity > 0 && p.stuck >= p.mostStuck() && !again && !lost:
		return v
	}
	if rec.state == HalfOpen && rec.machine.pending() && rec.late == 0 {
		return verdict{wait: true, why: beingTried}
	}
	if rec.state == HalfOpen && rec.machine.pending() || z.retries >= max(1, p.capacity/16) && !lost {
		return v
	}
	if room := p.room(trial); !room.admit {
		return v
	}
	if rec.state == Open {
		return verdict{wait: true, why: fleetAsked}
	}
	return verdict{admit: true, class: trial}
}

// decideTrial lets one request through to find out whether a half-open zone
// answers again; one of a store that has no request there, since what hangs with
// it says nothing new.
func (z *zone) decideTrial(p *picture) verdict {
	if z.probing != nil {
		return verdict{wait: true, why: beingTried}
	}
	if room := p.room(trial); !room.admit || p.mine > 0 && p.asked > 1 && !p.shared {
		return verdict{reason: ReasonZoneOpen, after: busyRetry, since: z.openedAt, detail: z.evidence}
	}
	return verdict{admit: true, class: trial, speaks: true}
}

func (z *zone) busy(w why) verdict {
	return verdict{reason: ReasonBusy, after: busyRetry, why: w}
}

// open opens a slot, if the pool has a worker for it. force books it even so,
// for zones that only observe.
func (z *zone) open(r *Request, hash uint64, now int64, v *verdict, force bool) *Slot {
	capacity := z.g.capacity()
	reserve := v.class.reserve(capacity)
	if force {
		capacity = 0
	}
	if !z.g.takeWorker(capacity, reserve) {
		return nil
	}
	s := z.newSlot()
	s.store, s.hash, s.start, s.check, s.endsOpen = r.Store, hash, now, r.check, r.endsOpen && z.state == Open
	if r.Timeout > 0 {
		s.slowAfter = int64(float64(r.Timeout) * float64(s.slowAfter) / float64(s.timeout))
		s.timeout = int64(r.Timeout)
	}
	s.witness, s.class = v.speaks, v.class
	if v.class == unproven {
		s.asks = true
		z.asking++
	}
	if v.second {
		s.second = true
		z.seconds++
	}
	z.push(s)
	if !r.check {
		z.totals.admitted++
		if z.state != Calm {
			z.takePermits(s)
		}
	}
	z.stir()
	z.worst = max(z.worst, z.live+z.hung)
	return s
}

// slotBlock is how many slots are allocated at once, which costs each a fifth of
// what it costs alone; a zone's first blocks are smaller, since it may get no other
// request. A slot that hangs keeps its block from being collected.
const slotBlock = 16

// newSlot is a slot with the zone's policy.
func (z *zone) newSlot() *Slot {
	if len(z.block) == 0 {
		z.blockSize = min(max(2*z.blockSize, 1), slotBlock)
		z.block = make([]Slot, z.blockSize)
	}
	s := &z.block[0]
	z.block = z.block[1:]
	s.z, s.policy, s.timeout, s.slowAfter = z, z.policy, int64(z.policy.Timeout), int64(z.policy.SlowAfter)
	return s
}

// publish copies how many workers the zone occupies for the dispatcher.
func (z *zone) publish() {
	if z.waiters.count > 0 {
		z.occupied.Store(int64(z.live + z.hung))
	}
}

// push puts a slot on the books of the zone.
func (z *zone) push(s *Slot) {
	z.live++
	z.slots.push(s)
	z.publish()
	if s.check {
		return
	}
	if s.witness {
		if z.since == nil {
			z.since = s
		}
		z.silence.add(s)
	}
	if z.unlooked == nil {
		z.unlooked = s
	}
	if z.inFlight != nil {
		z.inFlight[s.hash]++
	}
}

// takePermits books the probe that this request is, if it is one.
func (z *zone) takePermits(s *Slot) {
	if rec := z.books.get(s.store); rec != nil && rec.state == HalfOpen {
		var ok bool
		if s.storePass, ok = rec.machine.permit(); ok {
			z.retries++
			s.retry = true
		}
	}
	if z.state == HalfOpen && z.probing == nil {
		if pass, ok := z.machine.permit(); ok {
			z.probing, s.zonePass = s, pass
		}
	}
}

func (z *zone) refuse(v *verdict) *Refusal {
	if z.refusals == nil {
		z.refusals = make(map[Reason]uint64)
	}
	z.refusals[v.reason]++
	z.stir()
	detail := v.detail
	if v.reason == ReasonBusy {
		detail = fmt.Sprintf("zone %s: no worker within %s", z.name, z.policy.MaxWait)
		if v.why != admitted {
			detail = fmt.Sprintf("zone %s: %s", z.name, whys[v.why])
		}
	}
	return &Refusal{Reason: v.reason, RetryAfter: max(v.after, busyRetry), Since: z.g.wall(v.since), Detail: detail}
}

func (z *zone) countWould(v *verdict) {
	if v.admit {
		return
	}
	reason := v.reason
	if v.wait {
		reason = ReasonBusy
	}
	if z.wouldRefuse == nil {
		z.wouldRefuse = make(map[Reason]uint64)
	}
	z.wouldRefuse[reason]++
}

// Explain says what Admit would do with a request of this store now, and
// changes nothing: nil means that it would be admitted.
func (g *Guard) Explain(zoneName, store string) *Refusal {
	z := g.find(zoneName)
	if z == nil {
		return nil
	}
	now := g.now()
	z.mu.Lock()
	defer z.mu.Unlock()
	r := Request{Zone: zoneName, Store: store, Shared: z.shared()}
	v := z.decide(&r, g.hashOf(store), now)
	switch {
	case v.admit:
		return nil
	case v.wait:
		wait := z.mayWait(&r, v.why)
		detail := fmt.Sprintf("zone %s: %s; the request would wait up to %s and then be refused", z.name, whys[v.why], wait)
		v = z.busy(v.why)
		v.detail = detail
	}
	return &Refusal{Reason: v.reason, RetryAfter: max(v.after, busyRetry), Since: g.wall(v.since), Detail: v.detail}
}
