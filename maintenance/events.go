package maintenance

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Kinds of events.
const (
	EventSwitchSet      = "switch_set"      // a person set or changed a switch
	EventSwitchCleared  = "switch_cleared"  // a person took it away
	EventSwitchReleased = "switch_released" // stores were released from it; it goes on for the others
	EventSwitchBegan    = "switch_began"    // its from has come
	EventSwitchExpired  = "switch_expired"  // its until has passed
	EventStale          = "state_stale"     // the backend cannot be read
	EventSynced         = "state_synced"    // it can be read again
	EventRestored       = "state_restored"  // it had lost changes, which were written back
	EventRecordsCorrupt = "records_corrupt" // it holds records that cannot be read
)

// Event is something that people may want to know. Changes of more than a few
// switches are told as one.
type Event struct {
	Kind     string
	At       time.Time // by the backend's clock
	Revision uint64
	Switch   *Switch // nil if it is about several or none
	Count    int     // switches it is about
	Detail   string
}

// Events returns the channel of events. Events that are not taken are dropped
// and counted.
func (b *Board) Events() <-chan Event { return b.events }

func (b *Board) emit(e Event) {
	if e.At.IsZero() {
		e.At = b.clock()
	}
	select {
	case b.events <- e:
	default:
		b.dropped.Add(1)
	}
}

// EventsDropped is the number of events that were not taken in time.
func (b *Board) EventsDropped() uint64 { return b.dropped.Load() }

// toldOneByOne is how many switches of a change are told one by one.
const toldOneByOne = 20

// tellChanges tells how two states differ.
func (b *Board) tellChanges(old, state *State, corrupt []Corrupt, now time.Time) {
	var set, cleared []Switch
	for target, sw := range state.Switches {
		before, ok := old.Switches[target]
		switch {
		case sw.Phase(now) == Expired, ok && before.sameAs(&sw):
		case ok && before.sameBut(&sw):
			b.tellReleased(&sw, before.Except, state.Revision)
		default:
			set = append(set, sw)
		}
	}
	for target, sw := range old.Switches {
		if _, ok := state.Switches[target]; !ok && sw.Phase(now) != Expired {
			cleared = append(cleared, sw)
		}
	}
	b.tell(EventSwitchSet, set, state.Revision)
	b.tell(EventSwitchCleared, cleared, state.Revision)
	if len(corrupt) > 0 {
		b.emit(Event{Kind: EventRecordsCorrupt, Count: len(corrupt), Revision: state.Revision, Detail: fmt.Sprintf("%s: %s", corrupt[0].Record, corrupt[0].Error)})
	}
}

// tellReleased tells which stores a switch excepts that it did not except before.
func (b *Board) tellReleased(sw *Switch, before []string, revision uint64) {
	const named = 3
	released := slices.Clone(sw.Except)
	released = slices.DeleteFunc(released, func(store string) bool {
		_, found := slices.BinarySearch(before, store)
		return found
	})
	stores := strings.Join(released[:min(len(released), named)], ", ")
	if more := len(released) - named; more > 0 {
		stores += fmt.Sprintf(" and %d more", more)
	}
	b.emit(Event{Kind: EventSwitchReleased, Count: len(released), Revision: revision, Switch: sw, Detail: fmt.Sprintf("from %s: %s", sw.Target, stores)})
}

// tellTurns tells which switches have begun and ended.
func (b *Board) tellTurns(s *State, old *rules, now time.Time) {
	var began, expired []Switch
	for _, sw := range s.Switches {
		had := old.has(sw.Target)
		switch phase := sw.Phase(now); {
		case phase == InForce && !had:
			began = append(began, sw)
		case phase == Expired && had:
			expired = append(expired, sw)
		}
	}
	b.tell(EventSwitchBegan, began, s.Revision)
	b.tell(EventSwitchExpired, expired, s.Revision)
}

func (r *rules) has(t Target) bool {
	switch t.Scope {
	case All:
		return r.all != nil
	case Zone:
		return r.zones[t.Name] != nil
	case Store:
		return r.stores[t.Name] != nil
	case Server:
		return r.servers[t.Name] != nil
	case Stale:
		return r.stale != nil
	}
	return false
}

func (b *Board) tell(kind string, switches []Switch, revision uint64) {
	if len(switches) > toldOneByOne {
		b.emit(Event{Kind: kind, Count: len(switches), Revision: revision, Detail: fmt.Sprintf("%s and %d more", switches[0].Target, len(switches)-1)})
		return
	}
	for _, sw := range switches {
		b.emit(Event{Kind: kind, Count: 1, Revision: revision, Switch: &sw, Detail: sw.Target.String()})
	}
}
