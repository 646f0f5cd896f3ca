package breaker

import "time"

const (
	// leaseWait is for how long the guard waits to hear whether it may try what is cut
	// off for the whole fleet, until it decides by itself.
	leaseWait = 100 * time.Millisecond

	// leastRefused bounds how often it asks.
	leastRefused = 50 * time.Millisecond
)

// trialLease is what the fleet is asked for: the right to try the zone, or a store of
// it, for d.
type trialLease struct {
	store string
	d     time.Duration
}

// leaseAnswer is what the fleet answers.
type leaseAnswer struct {
	granted bool
	alone   bool          // there is no fleet: the guard decides by itself
	wait    time.Duration // if it is not granted
}

func (a *leaseAnswer) words() string {
	if a.alone {
		return openTimeOver
	}
	return openTimeOver + "; this sidecar tries it for the fleet"
}

// SetFleet sets what is asked before what is cut off is tried again; nil: nothing.
func (g *Guard) SetFleet(f Fleet) {
	if f == nil {
		g.fleet.Store(nil)
		return
	}
	g.fleet.Store(&f)
}

// asksFleet reports whether the fleet decides which sidecar tries the zone or a store of
// it.
func (z *zone) asksFleet() bool {
	return z.g.fleet.Load() != nil && z.held == nil && !z.policy.Observe && !z.shared()
}

// dueJointly reports whether the zone's open time is over, and a request that comes now
// asks the fleet whether it may try it, or waits for the answer. A zone that is checked
// needs no request to find out.
func (z *zone) dueJointly(now int64) bool {
	return !z.machine.isOpen(now) && z.asksFleet() && !z.checkable() && z.joint.waits(now, z.machine.until, z.policy.OpenTimeMax)
}

// storeDueJointly is the same for a store. A second look is this guard's own doubt.
func (z *zone) storeDueJointly(rec *record, now int64) bool {
	return !rec.machine.isOpen(now) && z.asksFleet() && !z.looksAgain(rec) && z.heldStores[rec.store] == nil &&
		rec.joint.waits(now, rec.machine.until, z.store.OpenTimeMax)
}

// waits reports whether what was cut off until then waits for the fleet's answer, or for
// a request that asks it. Without one for the longest open time it goes on as without a
// fleet, unless the fleet knows it to be silent.
func (j *joint) waits(now, until int64, longest time.Duration) bool {
	if j != nil && j.askedAt != 0 {
		return now-j.askedAt < int64(leaseWait)
	}
	return now-until < int64(longest) || j.agreed(now)
}

// asked takes in that the fleet's answer is not waited for any more.
func (j *joint) asked() {
	if j != nil {
		j.askedAt = 0
	}
}

// claim is what the fleet is to be asked for by a request that waits; nil: it is asked
// already.
func (z *zone) claim(store string, now int64) *trialLease {
	of := &z.joint
	if z.state == Open {
		store = ""
	} else {
		of = &z.books.get(store).joint
	}
	j := ensureJoint(of)
	if j.askedAt != 0 {
		return nil
	}
	j.askedAt = now
	return &trialLease{store, z.policy.Timeout + time.Second}
}

// ask asks the fleet. No lock is held meanwhile.
func (z *zone) ask(l *trialLease) {
	defer z.g.survive()
	if f := z.g.fleet.Load(); f == nil || !(*f).Lease(z.name, l.store, l.d) {
		z.takeLease(l.store, leaseAnswer{granted: true, alone: true})
	}
}

// Leased takes in the answer to Fleet.Lease: whether this sidecar may try the zone or the
// store, and if not, after what time it may ask again.
func (g *Guard) Leased(zone, store string, granted bool, wait time.Duration) {
	if z := g.find(zone); z != nil {
		z.takeLease(store, leaseAnswer{granted: granted, wait: min(max(wait, leastRefused), hungTryMax)})
	}
}

func (z *zone) takeLease(store string, a leaseAnswer) {
	defer z.g.survive()
	z.do(func(z *zone, now int64) {
		if store == "" {
			z.leased(&a, now)
		} else if rec := z.books.get(store); rec != nil {
			z.storeLeased(rec, &a, now)
		}
	})
	z.g.wake()
}

func (z *zone) leased(a *leaseAnswer, now int64) {
	switch {
	case !z.joint.isAnswer(a, z.state) || z.held != nil:
	case a.granted:
		z.toHalfOpen(now, a.words())
	default:
		z.machine.until = now + int64(a.wait)
		if a.wait > z.ownOpenTime() {
			z.steps++ // the tries of other sidecars are tries, too
		}
		z.refuseWaiting(now)
	}
}

func (z *zone) storeLeased(rec *record, a *leaseAnswer, now int64) {
	switch {
	case !rec.joint.isAnswer(a, rec.state):
	case a.granted:
		z.storeHalfOpen(rec, now, a.words())
	default:
		rec.machine.until = now + int64(a.wait)
		if a.wait > z.store.OpenTime<<min(rec.turn-1+rec.joint.pace, 8) {
			rec.joint.pace++
		}
	}
}

// isAnswer takes in whether this sidecar tries what is cut off for all, and reports
// whether that was asked for. The right may come after the guard has decided by itself.
func (j *joint) isAnswer(a *leaseAnswer, state State) bool {
	if j == nil {
		return false
	}
	is := j.askedAt != 0 && state == Open
	if is || state == HalfOpen {
		j.askedAt, j.trying = 0, a.granted && !a.alone
	}
	return is
}

// keepOff has the other sidecars kept from a trial until this one's next open time is
// over: the request hangs that it has sent for all.
func (z *zone) keepOff(store string, j *joint, until, now int64) {
	if j != nil && j.trying && until > now {
		z.renewals = append(z.renewals, trialLease{store, time.Duration(until - now)})
	}
}

// renew asks the fleet for what keepOff has noted. No lock is held meanwhile.
func (g *Guard) renew(zone string, renewals []trialLease) {
	defer g.survive()
	if f := g.fleet.Load(); f != nil {
		for _, l := range renewals {
			(*f).Lease(zone, l.store, l.d)
		}
	}
}
