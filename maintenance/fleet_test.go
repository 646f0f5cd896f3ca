package maintenance

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func fleetOf(t *testing.T, all ...Instance) *Fleet {
	t.Helper()
	records := make(map[string][]byte)
	for n := range all {
		all[n].ID = fmt.Sprintf("web%02d", n)
		record, err := json.Marshal(&all[n])
		if err != nil {
			t.Fatal(err)
		}
		records[all[n].ID] = record
	}
	return newFleet(Head{}, records)
}

// TestFleetZones: each zone by its worst state, how many see it so, and who differs.
func TestFleetZones(t *testing.T) {
	since := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	in := func(zone, state string, after time.Duration) InstanceZone {
		return InstanceZone{Zone: zone, State: state, Since: since.Add(after), Live: 1, Hung: 2, Evidence: state + " because"}
	}
	var all []Instance
	for n := range 50 {
		i := Instance{Workers: 32, Occupied: 3, Hung: 2, ZoneCount: 12}
		if n >= 3 {
			i.Zones = append(i.Zones, in("z7", "open", time.Duration(n)*time.Second))
		}
		if n == 1 {
			i.Zones = append(i.Zones, in("z7", "troubled", 0))
			i.Stale = true
		}
		if n == 4 {
			i.Zones = append(i.Zones, in("z2", "half_open", 0))
		}
		all = append(all, i)
	}
	f := fleetOf(t, all...)
	if f.Workers != 1600 || f.Occupied != 150 || f.Hung != 100 {
		t.Errorf("%d of %d occupied, %d hung", f.Occupied, f.Workers, f.Hung)
	}
	if diff := cmp.Diff([]string{"web01"}, f.Behind); diff != "" {
		t.Error(diff)
	}
	want := []FleetZone{
		{
			Zone: "z7", State: "open", States: map[string]int{"open": 47, "troubled": 1, "calm": 2}, Summary: "open on 47 of 50, troubled on 1, calm on 2",
			Since: since.Add(3 * time.Second), Evidence: "open because", Live: 48, Hung: 96,
			Differ: []FleetDiffer{
				{Sidecar: "web00", State: "calm"},
				{Sidecar: "web01", State: "troubled", Since: since, Evidence: "troubled because", Stale: true},
				{Sidecar: "web02", State: "calm"},
			},
		},
		{
			Zone: "z2", State: "half_open", States: map[string]int{"half_open": 1, "calm": 49}, Summary: "half-open on 1 of 50, calm on 49",
			Since: since, Evidence: "half_open because", Live: 1, Hung: 2,
			Differ: []FleetDiffer{{Sidecar: "web04", State: "half_open", Since: since, Evidence: "half_open because"}},
		},
	}
	if diff := cmp.Diff(want, f.Zones); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if calm := fleetOf(t, Instance{Workers: 32}); len(calm.Zones) != 0 || calm.Zones == nil {
		t.Errorf("%+v", calm.Zones)
	}
}

// TestFleetStores: on how many sidecars each store is in quarantine.
func TestFleetStores(t *testing.T) {
	var all []Instance
	for n := range 50 {
		i := Instance{ZoneCount: 12}
		if n < 12 {
			i.Zones = []InstanceZone{{Zone: "z2", State: "troubled", Quarantined: 1, Stores: []string{"s1"}}}
		}
		if n == 12 {
			i.Zones = []InstanceZone{{Zone: "z2", State: "troubled", Quarantined: 2, Stores: []string{"s1", "s9"}}}
		}
		all = append(all, i)
	}
	want := []FleetStore{{Store: "s1", Summary: "in quarantine on 13 of 50", On: 13}, {Store: "s9", Summary: "in quarantine on 1 of 50", On: 1}}
	if diff := cmp.Diff(want, fleetOf(t, all...).Zones[0].Stores); diff != "" {
		t.Error(diff)
	}
}

// TestFleetServers: a server that all share, one that only some have, and one that is
// another one on each machine.
func TestFleetServers(t *testing.T) {
	since := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	out := func(server, state string, after time.Duration) InstanceServer {
		return InstanceServer{Server: server, State: state, Since: since.Add(after), Hung: 1, Evidence: "because"}
	}
	var all []Instance
	for n := range 50 {
		i := Instance{SharedServers: []string{"api1:9000", "api3:9000"}}
		if n >= 3 {
			i.ServersOut = append(i.ServersOut, out("api3:9000", "out_of_service", time.Duration(n)*time.Second))
		}
		if n < 10 {
			i.SharedServers = append(i.SharedServers, "api7:9000")
		}
		if n == 4 {
			i.ServersOut = append(i.ServersOut, out("api7:9000", "away", 0), out("web4 127.0.0.1:9000", "out_of_service", 0))
		}
		all = append(all, i)
	}
	want := []FleetServer{
		{
			Server: "api3:9000", State: "out_of_service", Summary: "out of service on 47 of 50", On: 47, Of: 50, Since: since.Add(3 * time.Second), Evidence: "because", Hung: 47,
			Differ: []string{"web00", "web01", "web02"},
		},
		{Server: "api7:9000", State: "away", Summary: "away on 1 of 10", On: 1, Of: 10, Since: since, Evidence: "because", Hung: 1, Differ: []string{"web04"}},
		{Server: "web4 127.0.0.1:9000", State: "out_of_service", Summary: "out of service on 1 of 1", On: 1, Of: 1, Since: since, Evidence: "because", Hung: 1},
	}
	if diff := cmp.Diff(want, fleetOf(t, all...).Servers); diff != "" {
		t.Error(diff)
	}
}
