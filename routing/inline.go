package routing

import (
	"errors"
	"fmt"
)

// InlineZone is one zone written out in the configuration.
type InlineZone struct {
	// Name of the zone: 1 to 64 characters of A-Z, a-z, 0-9, '.', '_', '-'.
	// "unknown" and "all" are reserved.
	Name string `json:"name"`

	// Stores that live in this zone: their ids, 1 to 128 bytes each. The id
	// of a store is also its key. May be empty.
	Stores []string `json:"stores"`
}

// NewInline makes a table of zones written out in the configuration. It
// returns all errors it finds.
func NewInline(zones []InlineZone) (*Table, error) {
	if len(zones) == 0 {
		return nil, errors.New("no zones listed")
	}
	b := newBuilder()
	var errs []error
	seen := make(map[string]bool, len(zones))
	for _, zone := range zones {
		if seen[zone.Name] {
			errs = append(errs, fmt.Errorf("zone %q is listed twice", zone.Name))
		}
		seen[zone.Name] = true
		if _, err := b.zone(zone.Name); err != nil {
			errs = append(errs, err)
			continue
		}
		for _, store := range zone.Stores {
			if err := b.add(0, store, zone.Name, nil); err != nil {
				errs = append(errs, fmt.Errorf("zone %q: %w", zone.Name, err))
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return b.table(), nil
}
