package routing

import (
	"errors"
	"fmt"
	"slices"
)

// Hash computes the zone from the store id; the key is the store id. Nothing
// is kept per store, so it cannot list stores and knows every key.
//
// The zone of a store is zones[jump(fnv1a64(id), len(zones))], with 64-bit
// FNV-1a and the jump consistent hash of Lamping and Veach. The order of the
// zone list matters. Adding a zone at its end moves only the stores that go to
// the new zone.
type Hash struct {
	zones []string
}

// NewHash makes a Hash over a list of zones.
func NewHash(zones []string) (*Hash, error) {
	if len(zones) == 0 {
		return nil, errors.New("no zones listed")
	}
	seen := make(map[string]bool, len(zones))
	for _, zone := range zones {
		if err := CheckZoneName(zone); err != nil {
			return nil, err
		}
		if seen[zone] {
			return nil, fmt.Errorf("zone %q is listed twice", zone)
		}
		seen[zone] = true
	}
	return &Hash{zones: slices.Clone(zones)}, nil
}

// Lookup implements [Directory]. Only keys that are no store id (empty, longer
// than 128 bytes, control characters, not UTF-8) are unknown.
func (h *Hash) Lookup(key string) (Route, bool) {
	if !usableKey(key) {
		return Route{}, false
	}
	return Route{Store: key, Zone: h.zones[jump(fnv1a(key), len(h.zones))]}, true
}

// Zones implements [Directory].
func (h *Hash) Zones() []string {
	return slices.Sorted(slices.Values(h.zones))
}

const fnvStart uint64 = 14695981039346656037

func fnv1a(s string) uint64 { return fnvMore(fnvStart, s) }

// fnvMore goes on with a hash.
func fnvMore(hash uint64, s string) uint64 {
	for i := range len(s) {
		hash = (hash ^ uint64(s[i])) * 1099511628211
	}
	return hash
}

// jump is the algorithm of https://arxiv.org/abs/1406.2294.
func jump(key uint64, buckets int) int {
	b, next := int64(-1), int64(0)
	for next < int64(buckets) {
		b = next
		key = key*2862933555777941757 + 1
		next = int64(float64(b+1) * (float64(1<<31) / float64(key>>33+1)))
	}
	return int(b)
}

// Interface guards.
var (
	_ Lister    = (*Table)(nil)
	_ Lister    = (*File)(nil)
	_ Directory = (*Hash)(nil)
)
