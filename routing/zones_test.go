package routing

import (
	"fmt"
	"strings"
	"testing"
)

// TestZoneForEachTenant: 250,000 zones, a database for each tenant, and more than two
// bytes can number.
func TestZoneForEachTenant(t *testing.T) {
	const zones = 250_000
	var csv strings.Builder
	csv.WriteString("store,zone\n")
	for i := range zones {
		fmt.Fprintf(&csv, "s%d,z%d\n", i, i)
	}
	table, err := load("stores.csv", strings.NewReader(csv.String()))
	if err != nil {
		t.Fatal(err)
	}
	if n := len(table.Zones()); n != zones {
		t.Errorf("%d zones, want %d", n, zones)
	}
	for _, i := range []int{0, 255, 256, 65535, 65536, 131_072, zones - 1} {
		store := fmt.Sprintf("s%d", i)
		if route, ok := table.Lookup(store); !ok || route.Zone != fmt.Sprintf("z%d", i) {
			t.Errorf("store %s is in zone %q, found %t", store, route.Zone, ok)
		}
	}
}
