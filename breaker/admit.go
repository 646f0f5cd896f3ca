package breaker

import (
	"context"
	"fmt"
	"time"
)

// Request is what the guard must know of a request.
type Request struct {
	Zone, Store string

	// Shared says that the request belongs to the bucket of unknown keys:
	// Zone is config.UnknownZone and Store the same for all of them. Such a
	// bucket has no store breaker.
	Shared bool

	// Timeout is the time until the first byte, if it is not the zone's.
	Timeout time.Duration

	// Stream says that the request asks for a stream.
	Stream bool

	check, endsOpen bool // see AdmitCheck
}

// verdict is what happens to a request that asks for a slot.
type verdict struct {
	admit  bool
	wait   bool // no room now; it may wait
	reason Reason
	lane   lane
	after  time.Duration // of a refusal
	since  int64
	detail string
}

// Admit asks for a slot. It may wait for one up to the zone's max_wait, in a
// queue that is fair by zone and by store. Either the slot or the refusal is
// nil. The slot must be ended, on every path.
func (g *Guard) Admit(ctx context.Context, r Request) (*Slot, *Refusal) {
	z, hash := g.zone(r.Zone), g.hashOf(r.Store)
	s, refusal, w := z.tryAdmitLocked(&r, hash, g.now())
	if w == nil {
		return s, refusal
	}
	return w.wait(ctx, g, z)
}

func (z *zone) tryAdmitLocked(r *Request, hash uint64, now int64) (*Slot, *Refusal, *waiter) {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.tryAdmit(r, hash, now)
}

// tryAdmit opens a slot, refuses, or queues the request.
func (z *zone) tryAdmit(r *Request, hash uint64, now int64) (*Slot, *Refusal, *waiter) {
	v := verdict{admit: true}
	if z.waiters.has(r.Store) {
		v = verdict{wait: true}
	} else if z.state != Calm || r.Stream || z.isHeld() || !z.hasRoom() {
		v = z.decide(r, hash, now)
		if rec := z.books.get(r.Store); rec != nil {
			rec.askedAt = now
		}
	}
	if z.policy.Observe {
		z.countWould(v)
		return z.open(r, hash, now, verdict{admit: true}, true), nil, nil
	}
	if v.admit {
		if s := z.open(r, hash, now, v, false); s != nil {
			return s, nil, nil
		}
		v = verdict{wait: true}
	}
	if v.wait && z.policy.MaxWait > 0 {
		if w := z.enqueue(r, hash); w != nil {
			return nil, nil, w
		}
	}
	if v.wait {
		v = z.busy()
	}
	return nil, z.refuse(v), nil
}

// hasRoom says that a calm zone takes anybody: at most half of its slots are
// taken and no store has a limit of its own.
func (z *zone) hasRoom() bool {
	taken := z.live + z.hung
	return taken < (z.policy.MaxInflight+1)/2 && taken < z.limit() && z.store.MaxInflight == 0 && z.hung == 0
}

// decide says what happens to a request, and changes nothing.
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
		return verdict{reason: ReasonZoneOpen, after: time.Duration(z.machine.until - now), since: z.since, detail: z.evidence}
	}
	if r.Stream && z.streams >= z.policy.MaxStreams {
		return z.busy()
	}
	var probe *record // of the store in quarantine that is tried again
	if rec := z.books.get(r.Store); rec != nil && rec.state != Calm {
		if v := z.decideQuarantined(rec, now); !v.admit {
			return v
		}
		probe = rec
	}
	if z.state == HalfOpen {
		return z.decideTriage()
	}
	v := z.decideCapacity(r, hash, now, probe)
	if v.wait && probe != nil && probe.hung > 0 {
		return probe.refusal() // its own stuck requests are in its way, and will be for long
	}
	return v
}

// decideQuarantined lets one probe through per open time. A store whose
// earlier request is still stuck gets no further one for the longest open
// time: the stuck one is the better probe, and costs no second worker.
func (z *zone) decideQuarantined(rec *record, now int64) verdict {
	v := rec.refusal()
	if rec.state == Open {
		v.after = max(time.Duration(rec.machine.until-now), 0)
		return v
	}
	if rec.hung > 0 && (now-rec.lastHung < int64(z.store.OpenTimeMax) || z.hungRequests() >= z.policy.MaxHung) {
		return v
	}
	if rec.machine.pending() || z.retriesOut() >= max(1, z.policy.MaxHung/retryShare) {
		return verdict{wait: true}
	}
	return verdict{admit: true}
}

// refusal is what a store in quarantine gets that cannot be tried again now.
func (r *record) refusal() verdict {
	return verdict{reason: ReasonQuarantine, after: busyRetry, since: r.since, detail: r.evidence}
}

// retryShare is which part of max_hung may be spent on trying quarantined
// stores again; the rest is for finding culprits that are not known yet.
const retryShare = 4

// retriesOut counts the requests in flight that try a quarantined store again.
func (z *zone) retriesOut() (n int) {
	for s := z.slots.head; s != nil; s = s.next {
		if s.retry {
			n++
		}
	}
	return n
}

// decideTriage lets as many requests in as the window has room for.
func (z *zone) decideTriage() verdict {
	taken, limit := z.live+z.hung-z.explained, z.limit()
	switch {
	case z.probing >= z.window || z.machine.full():
		return verdict{wait: true}
	case z.crowded():
	case taken < limit:
		return verdict{admit: true}
	case z.trials < z.probeSlots():
		return verdict{admit: true, lane: trial}
	}
	return verdict{reason: ReasonZoneOpen, after: busyRetry, since: z.since, detail: z.evidence}
}

// crowded says that a triage has as many slots as it may have. Slots which take
// no room from the innocent, since they are explained, have made room for as many
// as the zone may occupy at all: a triage in which some succeed and most hang
// would eat the pool otherwise. And in a small pool, or with many zones hung, the
// probe slots alone are more than half of what is left.
func (z *zone) crowded() bool {
	taken := z.live + z.hung
	return taken >= z.halfOfWhatIsLeft() || z.explained > 0 && taken >= z.mostOccupied()
}

// decideCapacity applies the limits of a zone that is closed.
func (z *zone) decideCapacity(r *Request, hash uint64, now int64, probe *record) verdict {
	taken, limit := z.live+z.hung-z.explained, z.limit()
	most := z.mostOccupied()
	if z.onlyRemembers() {
		return verdict{admit: true}
	}
	if z.live+z.hung >= most && !z.mayPassSingly(r.Store, hash, now) {
		return verdict{wait: true}
	}
	if !r.Shared && !z.proven(r.Store, hash, now) {
		switch slots, stores := z.stuck(now); {
		case slots >= max(1, most-limit/2):
			// What is left belongs to those who are known to be well.
			if probe != nil {
				return probe.refusal()
			}
			return verdict{wait: true}
		case stores >= z.policy.MaxHung:
			if probe != nil {
				return probe.refusal()
			}
			return z.tryLane(r.Store, now)
		}
	}
	if taken >= limit {
		return z.decideFull(r.Store, hash, now, probe)
	}
	if r.Shared || z.shareLeft(r.Store, hash, taken, limit, now) {
		return verdict{admit: true}
	}
	return verdict{wait: true}
}

// mayPassSingly says that a proven store may have the one request in flight of a
// zone that occupies its part of the pool, because other zones hang, with slots
// that are explained. Should that hang too, nobody follows.
func (z *zone) mayPassSingly(store string, hash uint64, now int64) bool {
	return z.live == 0 && z.hung == z.explained && z.hung < 2*z.policy.MaxInflight && z.proven(store, hash, now)
}

// decideFull says who is let in although the zone's regular slots are taken.
// Nobody, as long as nothing is stuck: the slots come free by themselves. If
// something is, but others were answered since it got stuck, the zone is alive:
// then a store without a stuck request may have a probe slot, and one that was
// itself answered since may pass in the express lane as long as answers flow.
// In a zone that froze neither holds.
func (z *zone) decideFull(store string, hash uint64, now int64, probe *record) verdict {
	stuckSince := z.oldestStuck(now, z.suspectAfter())
	if stuckSince == 0 || z.lastOK <= stuckSince || probe != nil {
		return verdict{wait: true}
	}
	if v := z.tryLane(store, now); v.admit {
		return v
	}
	if z.expresses < z.policy.ProbeSlots && now-z.lastOK < 2*z.suspectAfter() && z.okSince(store, hash, stuckSince) {
		if _, since, _ := z.holds(store, now); since == 0 {
			return verdict{admit: true, lane: express}
		}
	}
	return verdict{wait: true}
}

// tryLane lets a store through the probe lane while the regular slots are used
// up, one request at a time, unless it has a stuck request itself.
func (z *zone) tryLane(store string, now int64) verdict {
	if mine, _, _ := z.holds(store, now); mine == 0 && z.trials < z.probeSlots() {
		return verdict{admit: true, lane: trial}
	}
	return verdict{wait: true}
}

// shareLeft says that the store may hold one more slot. Where requests of some
// stores hang while others are answered, a store that was not answered since
// gets one slot at a time: each culprit should cost one worker, not several.
func (z *zone) shareLeft(store string, hash uint64, taken, limit int, now int64) bool {
	hard, trouble := z.store.MaxInflight, z.hungRequests() > 0 || z.explained > 0
	roomy := hard == 0 && taken < (limit+1)/2
	if roomy && !trouble {
		return true
	}
	mine, stuckSince, stores := z.holds(store, now)
	switch {
	case hard > 0:
		return mine < hard
	case mine == 0:
		return true
	case stuckSince != 0 && (!roomy || z.othersFastSince(hash, stuckSince)):
		return false
	case trouble && z.othersFastSince(hash, z.oldestStuck(now, 0)) && !z.proven(store, hash, now):
		return false
	case limit >= 4 && mine >= limit-1 && z.otherOKSince(hash, now-int64(awake)):
		return false // the last slot is for the others
	}
	return roomy || mine < max(1, limit/stores)
}

// awake is for how long after a success of other stores one store leaves them the
// zone's last slot. One that sends a hundred times as much as usual would have all
// slots otherwise, and the others would have to wait for as long as its requests
// take. With fewer than four slots it would be too much to leave.
const awake = time.Second

// holds counts the slots of the store, says since when one of them takes
// suspiciously long (0: none does), and counts the stores in flight, this one
// included.
func (z *zone) holds(store string, now int64) (mine int, stuckSince int64, stores int) {
	after := z.suspectAfter()
	others := make(map[uint64]struct{}, z.slots.len+1)
	for s := z.slots.head; s != nil; s = s.next {
		switch {
		case s.store == store:
			mine++
			if stuckSince == 0 && s.stuck() && now-s.start >= after {
				stuckSince = s.start
			}
		case !s.explained && !s.check:
			others[s.hash] = struct{}{}
		}
	}
	return mine, stuckSince, len(others) + 1
}

func (z *zone) busy() verdict {
	return verdict{reason: ReasonBusy, after: busyRetry}
}

// open opens a slot, if the pool has a worker for it. force books it even so,
// for zones that only observe.
func (z *zone) open(r *Request, hash uint64, now int64, v verdict, force bool) *Slot {
	workers := z.g.policy.Load().Workers
	if force {
		workers = 0
	} else if z.inDoubt(now) {
		workers -= z.reserve(workers, v.lane == trial || z.state == HalfOpen)
	}
	if !z.g.takeWorker(workers) {
		return nil
	}
	s := &Slot{z: z, policy: z.policy, store: r.Store, hash: hash, start: now, lane: v.lane, check: r.check, endsOpen: r.endsOpen && z.state == Open}
	s.timeout, s.slowAfter = int64(z.policy.Timeout), int64(z.policy.SlowAfter)
	if r.Timeout > 0 {
		s.slowAfter = int64(float64(r.Timeout) * float64(s.slowAfter) / float64(s.timeout))
		s.timeout = int64(r.Timeout)
	}
	if z.state != Calm && !r.check {
		z.takePermits(s)
	}
	z.countLane(s.lane, 1)
	z.live++
	if !r.check {
		z.totals.admitted++
	}
	z.slots.push(s)
	z.occupied.Add(1)
	if !z.eventful.Load() {
		z.eventful.Store(true)
	}
	z.worst = max(z.worst, z.live+z.hung)
	return s
}

// takePermits books the probe that this request is, if it is one.
func (z *zone) takePermits(s *Slot) {
	if rec := z.books.get(s.store); rec != nil && rec.state == HalfOpen {
		s.storePass, s.retry = rec.machine.permit()
	}
	if z.state == HalfOpen {
		var ok bool
		if s.zonePass, ok = z.machine.permit(); ok {
			z.probing++
			s.triage = z.triages
		}
	}
}

func (z *zone) refuse(v verdict) *Refusal {
	if z.refusals == nil {
		z.refusals = make(map[Reason]uint64)
	}
	z.refusals[v.reason]++
	if !z.eventful.Load() {
		z.eventful.Store(true) // the sweeper keeps count
	}
	detail := v.detail
	if v.reason == ReasonBusy {
		detail = fmt.Sprintf("zone %s: no slot came free within %s", z.name, z.policy.MaxWait)
	}
	return &Refusal{Reason: v.reason, RetryAfter: max(v.after, busyRetry), Since: z.g.wall(v.since), Detail: detail}
}

func (z *zone) countWould(v verdict) {
	if v.admit {
		return
	}
	if v.wait {
		v = z.busy()
	}
	if z.wouldRefuse == nil {
		z.wouldRefuse = make(map[Reason]uint64)
	}
	z.wouldRefuse[v.reason]++
}

// Explain says what Admit would do with a request of this store now, and
// changes nothing: nil means that it would be admitted.
func (g *Guard) Explain(zoneName, store string) *Refusal {
	z := (*g.zones.Load())[zoneName]
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
		v = z.busy()
		v.detail = fmt.Sprintf("zone %s: no slot is free; the request would wait up to %s and then be refused", z.name, z.policy.MaxWait)
	}
	return &Refusal{Reason: v.reason, RetryAfter: max(v.after, busyRetry), Since: g.wall(v.since), Detail: v.detail}
}
