package incidents

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
)

// books are an ongoing incident's accounts: which stores were refused from when to
// when. Darkness that is on stands in Open, by its cause.
type books struct {
	Base     breaker.Tally        `json:"base"`              // of the zone, before it began
	Lost     uint64               `json:"lost,omitempty"`    // requests that the server had lost before
	Upkeep   uint64               `json:"upkeep"`            // requests that maintenance had refused then
	Memory   uint64               `json:"memory,omitempty"`  // requests that were answered from memory then
	Carried  map[string]uint64    `json:"carried,omitempty"` // counted before a restart
	Switches map[string]desired   `json:"switches"`          // in force, by target
	Zone     []span               `json:"zone"`              // the breaker of the zone was open
	Off      []span               `json:"off"`               // maintenance of the zone or of everything
	Own      map[string][]span    `json:"own"`               // a store was in the dark on its own account
	Except   map[string][]span    `json:"except"`            // a store was let out of Off
	Open     map[string]time.Time `json:"open"`

	Silent bool `json:"silent,omitempty"` // the server does not answer; false: it cannot be dialled

	calmFor   int       // looks in a row that found nothing wrong
	closedFor int       // looks in a row that found no breaker open
	wrote     time.Time // when it was last put on disk
	adopted   time.Time // when it was begun, or went on, in the middle, if so
	resumed   bool      // it went on then: what the guard tells of the time before is known
}

// desired is a switch in force, as far as an incident needs it.
type desired struct {
	Full   bool `json:"full"`
	Store  bool `json:"store"`
	Mine   bool `json:"mine"`   // it was set during the incident
	Except int  `json:"except"` // stores let out of it
}

// The causes. Those of single stores are followed by the store's name.
const (
	zoneOpen  = "zone"
	zoneHeld  = "zone held"
	zoneOff   = "maintenance"
	storeDark = "store "
	storeHeld = "held store "
	storeOff  = "maintenance of store "
	storeFree = "excepted store "
)

func newBooks() *books {
	return &books{Switches: map[string]desired{}, Own: map[string][]span{}, Except: map[string][]span{}, Open: map[string]time.Time{}}
}

// countFrom makes what was counted until now no part of the incident.
func (b *books) countFrom(o outside) { b.Upkeep, b.Memory = o.upkeep, o.memory }

// storeOf is the store that a cause is about; ok is false if it is the zone.
func storeOf(cause string) (store string, ok bool) {
	for _, prefix := range []string{storeDark, storeHeld, storeOff, storeFree} {
		if store, ok = strings.CutPrefix(cause, prefix); ok {
			return store, true
		}
	}
	return "", false
}

// begin reports whether a cause is there from a moment on. It reports false if there
// is no room to keep it.
func (b *books) begin(cause string, at time.Time) bool {
	if _, on := b.Open[cause]; on {
		return true
	}
	if store, own := storeOf(cause); own && len(b.Own)+len(b.Except) >= maxStores {
		if _, mine := b.Own[store]; !mine && b.Except[store] == nil {
			return false
		}
	}
	b.Open[cause] = at
	// A place for the store from the start: what is on counts, too.
	switch store, own := storeOf(cause); {
	case !own:
	case strings.HasPrefix(cause, storeFree):
		if b.Except[store] == nil {
			b.Except[store] = []span{}
		}
	case b.Own[store] == nil:
		b.Own[store] = []span{}
	}
	return true
}

// finish reports whether it is gone.
func (b *books) finish(cause string, at time.Time) {
	from, on := b.Open[cause]
	if !on {
		return
	}
	delete(b.Open, cause)
	s := span{from, at}
	store, own := storeOf(cause)
	switch {
	case cause == zoneOff:
		b.Off = addSpan(b.Off, s)
	case !own:
		b.Zone = addSpan(b.Zone, s)
	case strings.HasPrefix(cause, storeFree):
		b.Except[store] = addSpan(b.Except[store], s)
	default:
		b.Own[store] = addSpan(b.Own[store], s)
	}
}

// sameMinutes is the difference below which two times are shown as the same: a
// third of a second, such as of a quarantine that the zone's opening explained.
const sameMinutes = 0.005

// account works out how long each store was refused, as of a moment.
func (i *Incident) account(now time.Time) {
	b := i.Books
	zone, off := b.Zone, b.Off
	own, free := make(map[string][]span), make(map[string][]span)
	for cause, from := range b.Open {
		s := span{from, now}
		store, single := storeOf(cause)
		switch {
		case cause == zoneOff:
			off = append(slices.Clip(off), s)
		case !single:
			zone = append(slices.Clip(zone), s)
		case strings.HasPrefix(cause, storeFree):
			free[store] = append(free[store], s)
		default:
			own[store] = append(own[store], s)
		}
	}
	zone, off = union(zone), union(off)
	everybody := union(zone, off)
	i.DarkMinutes, i.StoresDark, i.Stores, i.AsOf = minutes(everybody), 0, nil, now
	add := func(store string) {
		mine := everybody
		if let := union(b.Except[store], free[store]); len(let) > 0 {
			mine = union(zone, minus(off, let))
		}
		m := minutes(union(mine, b.Own[store], own[store]))
		if math.Abs(m-i.DarkMinutes) < sameMinutes {
			return // as every other store
		}
		if m > i.DarkMinutes {
			i.StoresDark++
		}
		i.Stores = append(i.Stores, StoreMinutes{store, m})
	}
	for store := range b.Own {
		add(store)
	}
	for store := range b.Except {
		if _, listed := b.Own[store]; !listed {
			add(store)
		}
	}
	slices.SortFunc(i.Stores, func(x, y StoreMinutes) int {
		return cmp.Or(cmp.Compare(y.Minutes, x.Minutes), cmp.Compare(x.Store, y.Store))
	})
}

// darkNow reports whether any store is.
func (b *books) darkNow() bool {
	for cause := range b.Open {
		if !strings.HasPrefix(cause, storeFree) {
			return true
		}
	}
	return false
}

// kept reports whether a switch which was set during the incident keeps it going.
func (b *books) kept() bool {
	for _, d := range b.Switches {
		if d.Mine && !d.Store {
			return true
		}
	}
	return false
}

// desiredCause reports whether a cause is what people want, not what is observed.
func desiredCause(cause string) bool {
	return cause == zoneOff || strings.HasPrefix(cause, storeOff) || strings.HasPrefix(cause, storeFree)
}
