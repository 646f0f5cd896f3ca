package maintenance

import "time"

// rules is the part of a state that is in force, made for looking up. It is
// never changed after it was made.
type rules struct {
	all     *Switch
	zones   map[string]*Switch
	stores  map[string]*Switch
	servers map[string]*Switch // those to be drained, by address
	stale   *Switch            // no answers are given from memory
	edge    time.Time          // when a switch begins or ends next; zero: never
}

// newRules picks the switches that are in force at a moment.
func newRules(s *State, at time.Time) *rules {
	r := &rules{zones: make(map[string]*Switch), stores: make(map[string]*Switch), servers: make(map[string]*Switch)}
	for _, sw := range s.Switches {
		switch sw.Phase(at) {
		case Expired:
			continue
		case Ahead:
			r.turnsAt(sw.From)
			continue
		case InForce:
			r.turnsAt(sw.Until)
		}
		switch sw.Scope {
		case All:
			r.all = &sw
		case Zone:
			r.zones[sw.Name] = &sw
		case Store:
			r.stores[sw.Name] = &sw
		case Server:
			r.servers[sw.Name] = &sw
		case Stale:
			r.stale = &sw
		}
	}
	return r
}

func (r *rules) turnsAt(t time.Time) {
	if !t.IsZero() && (r.edge.IsZero() || t.Before(r.edge)) {
		r.edge = t
	}
}

// empty reports whether no request can be refused: servers that are drained
// refuse none.
func (r *rules) empty() bool {
	return r.all == nil && len(r.zones) == 0 && len(r.stores) == 0
}

// lookup finds the switch that holds for a store: the narrowest one, but a
// full one before one that lets reads pass.
func (r *rules) lookup(zone, store string) *Switch {
	found := r.stores[store]
	if found != nil && found.Mode == Full {
		return found
	}
	for _, sw := range [...]*Switch{r.zones[zone], r.all} {
		if sw == nil || sw.Excepts(store) {
			continue
		}
		if sw.Mode == Full {
			return sw
		}
		if found == nil {
			found = sw
		}
	}
	return found
}

// Lookup returns the switch that holds for a store in a zone now, or nil. The
// switch must not be changed. It takes no lock, does no I/O and allocates
// nothing.
func (b *Board) Lookup(zone, store string) *Switch {
	r := b.rules.Load()
	if r.empty() {
		return nil
	}
	return r.lookup(zone, store)
}

// StaleOff reports whether a switch keeps answers from being given from memory now.
// It takes no lock and allocates nothing.
func (b *Board) StaleOff() bool { return b.rules.Load().stale != nil }

// released are the targets that rules refuse requests for, and the next ones do not:
// each named once, everything as one.
func (r *rules) released(next *rules) (list []Target) {
	lets := func(sw, now *Switch) bool { return sw.Mode == Full && now.Mode == ReadOnly }
	excepted := func(sw, now *Switch) {
		for _, store := range now.Except {
			if !sw.Excepts(store) {
				list = append(list, Target{Scope: Store, Name: store})
			}
		}
	}
	if r.all != nil {
		if next.all == nil || lets(r.all, next.all) {
			return []Target{{Scope: All}}
		}
		excepted(r.all, next.all)
	}
	for name, sw := range r.zones {
		if now := next.zones[name]; now == nil || lets(sw, now) {
			list = append(list, sw.Target)
		} else {
			excepted(sw, now)
		}
	}
	for name, sw := range r.stores {
		if now := next.stores[name]; now == nil || lets(sw, now) {
			list = append(list, sw.Target)
		}
	}
	return list
}

// Draining returns the switches of the servers that are to be drained now, by
// address. Neither the map nor the switches must be changed. It takes no lock
// and allocates nothing. [Options.InForce] tells when it returns another map.
func (b *Board) Draining() map[string]*Switch { return b.rules.Load().servers }
