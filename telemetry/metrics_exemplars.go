package telemetry

import (
	"strings"
	"sync"
)

const (
	// exemplarKinds is how many exemplars a zone has: one of its quick
	// requests, one of the slower ones, and one of the slowest, by the bounds
	// of its classic buckets.
	exemplarKinds = 3

	// exemplarZones bounds the zones that have exemplars.
	exemplarZones = 4096
)

// exemplars keeps the latest traced request of each kind, of every zone and
// ("") of all. Only requests that Caddy traces come here.
type exemplars struct {
	mu    sync.Mutex // guards below
	zones map[string]*[exemplarKinds]*Exemplar
}

// Note keeps a request as an exemplar.
func (e *exemplars) Note(zone string, latest *Exemplar) {
	kind := 0
	switch {
	case latest.Seconds > 1:
		kind = 2
	case latest.Seconds > 0.1:
		kind = 1
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.kindsOf("")[kind] = latest
	if kinds := e.kindsOf(zone); kinds != nil {
		kinds[kind] = latest
	}
}

func (e *exemplars) kindsOf(zone string) *[exemplarKinds]*Exemplar {
	kinds := e.zones[zone]
	switch {
	case kinds != nil:
		return kinds
	case e.zones == nil:
		e.zones = make(map[string]*[exemplarKinds]*Exemplar)
	case len(e.zones) >= exemplarZones:
		return nil
	}
	kinds = new([exemplarKinds]*Exemplar)
	e.zones[strings.Clone(zone)] = kinds
	return kinds
}

// keep drops the exemplars of zones that are no longer there.
func (e *exemplars) keep(there map[string]bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for zone := range e.zones {
		if zone != "" && !there[zone] {
			delete(e.zones, zone)
		}
	}
}

// Of are a zone's exemplars.
func (e *exemplars) Of(zone string) (found []*Exemplar) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if kinds := e.zones[zone]; kinds != nil {
		for _, one := range kinds {
			if one != nil {
				found = append(found, one)
			}
		}
	}
	return found
}
