package breaker

import "time"

// Hold is a breaker held by hand. Evidence does not move it: only its expiry,
// another hold or a reset does. It lives as long as the guard.
type Hold struct {
	As     State     `json:"as"` // Open: everything is refused; Calm: the breaker never opens, limits hold
	By     string    `json:"by,omitempty"`
	Reason string    `json:"reason,omitempty"`
	Since  time.Time `json:"since"`
	Until  time.Time `json:"until,omitzero"` // zero: until a reset

	until int64 // guard time; 0: until a reset
}

// heldRetry is the Retry-After of a breaker that is held open without an end.
const heldRetry = time.Minute

// words describes the hold: its author and its reason.
func (h *Hold) words() string {
	text := "isolated by hand"
	if h.As != Open {
		text = "admitted by hand"
	}
	if h.By != "" {
		text += " by " + h.By
	}
	if h.Reason != "" {
		text += ": " + h.Reason
	}
	return text
}

func (h *Hold) open() bool { return h != nil && h.As == Open }

func (h *Hold) over(now int64) bool { return h.until != 0 && now >= h.until }

// refusal is what a request gets while the breaker is held open.
func (h *Hold) refusal(reason Reason, g *Guard, now int64) verdict {
	after := heldRetry
	if h.until != 0 {
		after = time.Duration(h.until - now)
	}
	return verdict{reason: reason, after: after, since: int64(h.Since.Sub(g.base.Round(0))), detail: h.words()}
}

// HoldZone holds a zone's breaker open or closed, for d or (0) until it is
// reset. What the breaker had found out by itself is dropped.
func (g *Guard) HoldZone(name string, as State, d time.Duration, by, reason string) Hold {
	h := g.newHold(as, d, by, reason)
	g.zone(name).do(func(z *zone, now int64) {
		z.resetState(now, h.words())
		z.held = h
		z.tellHold("", h, now)
	})
	return *h
}

// HoldStore holds a store's breaker open or closed, for d or (0) until it is
// reset.
func (g *Guard) HoldStore(zoneName, store string, as State, d time.Duration, by, reason string) Hold {
	h := g.newHold(as, d, by, reason)
	g.zone(zoneName).do(func(z *zone, now int64) {
		z.resetStore(store, now, h.words())
		if z.heldStores == nil {
			z.heldStores = make(map[string]*Hold)
		}
		z.heldStores[store] = h
		z.tellHold(store, h, now)
	})
	return *h
}

// ResetZone ends a zone's hold and forgets what its breaker and its stores'
// breakers found out: whoever is ill has to show it again. Slots stay on the
// books, and so do its stores' holds.
func (g *Guard) ResetZone(name, by, reason string) {
	g.zone(name).do(func(z *zone, now int64) {
		why := resetWords(by, reason)
		if z.held != nil {
			z.tellAuto("", z.held, now)
			z.held = nil
		}
		z.resetState(now, why)
		for _, rec := range z.sickStores() {
			z.release(rec, now, why)
		}
		clear(z.failing)
		z.forgetSilence(now)
		if z.state == Troubled && z.hung == 0 {
			z.toCalm(now)
		}
	})
}

// ResetStore ends a store's hold or quarantine.
func (g *Guard) ResetStore(zoneName, store, by, reason string) {
	g.zone(zoneName).do(func(z *zone, now int64) {
		if h := z.heldStores[store]; h != nil {
			z.tellAuto(store, h, now)
			delete(z.heldStores, store)
		}
		z.resetStore(store, now, resetWords(by, reason))
	})
}

func resetWords(by, reason string) string {
	text := "handed back to the breaker"
	if by != "" {
		text += " by " + by
	}
	if reason != "" {
		text += ": " + reason
	}
	return text
}

func (g *Guard) newHold(as State, d time.Duration, by, reason string) *Hold {
	now := g.now()
	h := &Hold{As: as, By: by, Reason: reason, Since: g.wall(now)}
	if as != Open {
		h.As = Calm
	}
	if d > 0 {
		h.until = now + int64(d)
		h.Until = g.wall(h.until)
	}
	return h
}

// resetState ends an open or half-open state that the breaker found.
func (z *zone) resetState(now int64, why string) {
	if z.state == Open || z.state == HalfOpen {
		z.toClosed(now, why)
	}
}

// resetStore ends a quarantine.
func (z *zone) resetStore(store string, now int64, why string) {
	if rec := z.books.get(store); rec != nil && rec.state != Calm {
		z.release(rec, now, why)
	}
}

// sickStores are the records of stores in quarantine.
func (z *zone) sickStores() (list []*record) {
	for _, rec := range z.books.pins {
		if rec.state != Calm {
			list = append(list, rec)
		}
	}
	return list
}

// sweepHolds ends the holds whose time is over. A zone that was held open is
// tried again as after an open time of its own.
func (z *zone) sweepHolds(now int64) {
	for store, h := range z.heldStores {
		if h.over(now) {
			delete(z.heldStores, store)
			z.tellAuto(store, h, now)
		}
	}
	h := z.held
	if h == nil || !h.over(now) {
		return
	}
	z.held = nil
	z.tellAuto("", h, now)
	if h.open() {
		z.trouble(now, "its hold is over")
		z.machine.halfOpen(now)
		z.toHalfOpen(now, "its hold is over: was "+h.words())
	}
}

// tellHold tells that a hold begins.
func (z *zone) tellHold(store string, h *Hold, now int64) {
	e := z.holdEvent(store, h, now)
	if h.until != 0 {
		e.For = time.Duration(max(0, h.until-now))
	}
	z.g.emit(e)
}

// tellAuto tells that a hold is over: the breaker decides again.
func (z *zone) tellAuto(store string, h *Hold, now int64) {
	e := z.holdEvent(store, h, now)
	e.Kind = EventZoneAuto
	if store != "" {
		e.Kind = EventStoreAuto
	}
	e.From, e.To = h.As, z.state
	e.Evidence = "was " + h.words()
	z.g.emit(e)
}

func (z *zone) holdEvent(store string, h *Hold, now int64) Event {
	z.stir()
	kind := EventZoneIsolated
	switch {
	case store != "" && h.open():
		kind = EventStoreIsolated
	case store != "":
		kind = EventStoreAdmitted
	case !h.open():
		kind = EventZoneAdmitted
	}
	e := Event{
		Kind: kind, At: z.g.wall(now), Zone: z.name, Store: store, From: z.state, To: h.As, Evidence: h.words(),
		Live: z.live, Hung: z.hung, Observe: z.policy.Observe, Since: h.Since,
	}
	e.Tally, _ = z.tallyAt(kind, now)
	return e
}
