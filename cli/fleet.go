package cli

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/firebreak-proxy/firebreak/maintenance"
)

func (s *session) showFleet(v *statusView) {
	s.printf("\nfleet: %s\n", v.Fleet.Summary)
	if v.Fleet.Problem != "" {
		s.printf("%s\n", s.paint(red, clean(v.Fleet.Problem)))
	}
	s.printf("workers of all: %d of %d occupied, %d of them hung\n", v.Fleet.Occupied, v.Fleet.Workers, v.Fleet.Hung)
	if behind := v.Fleet.Behind; len(behind) > 0 {
		s.printf("%s: %s\n", s.paint(yellow, "stale or behind, so not on the latest switches"), clean(someOf(behind, len(behind), 10)))
	}
	s.showFleetZones(v.Fleet.Zones)
	s.showFleetServers(v.Fleet.Servers)
	s.printf("\n")
	rows := [][]string{{"SIDECAR", "HOST", "APPLIES", "SEEN", "WORKERS", "HUNG", "ZONES IN TROUBLE", "VERSION"}}
	for _, i := range v.Fleet.Instances {
		applies := "revision " + strconv.FormatUint(i.Applies.Revision, 10)
		if i.Applies != v.Fleet.Latest {
			applies += " (behind)"
		}
		if i.Stale {
			applies += " (stale)"
		}
		var zones []string
		for _, zone := range i.Zones {
			zones = append(zones, zone.Zone+" "+fleetWord(zone.State))
		}
		rows = append(rows, []string{
			i.ID, i.Host, applies, s.since(i.At), fmt.Sprintf("%d of %d", i.Occupied, i.Workers), strconv.Itoa(i.Hung), strings.Join(zones, ", "), i.Version,
		})
	}
	s.table(rows)
}

// showFleetZones shows the zones that are not calm on all sidecars, and who sees them
// otherwise than most.
func (s *session) showFleetZones(zones []maintenance.FleetZone) {
	if len(zones) == 0 {
		return
	}
	rows := [][]string{{"ZONE", "ON SIDECARS", "SINCE", "LIVE", "HUNG", "QUARANTINED", "WHY"}}
	for i := range zones {
		z := &zones[i]
		quarantined := ""
		if z.Quarantined > 0 {
			quarantined = strconv.Itoa(z.Quarantined)
		}
		rows = append(rows, []string{z.Zone, z.Summary, s.since(z.Since), strconv.Itoa(z.Live), strconv.Itoa(z.Hung), quarantined, z.Evidence})
	}
	s.printf("\n")
	s.table(rows)
	rows = [][]string{{"STORE", "ZONE", "ON SIDECARS"}}
	for i := range zones {
		for _, store := range zones[i].Stores {
			rows = append(rows, []string{store.Store, zones[i].Zone, store.Summary})
		}
	}
	if len(rows) > 1 {
		s.printf("\n")
		s.table(rows)
	}
	rows = [][]string{{"DIFFERS", "ABOUT", "STATE", "SINCE", "WHY"}}
	for i := range zones {
		for _, d := range zones[i].Differ {
			why := d.Evidence
			if d.Stale {
				why = strings.TrimPrefix(why+"; it cannot read the state backend", "; ")
			}
			rows = append(rows, []string{d.Sidecar, zones[i].Zone, fleetWord(d.State), s.since(d.Since), why})
		}
	}
	if len(rows) > 1 {
		s.printf("\n")
		s.table(rows)
	}
}

// showFleetServers shows the servers that get no requests of some sidecars.
func (s *session) showFleetServers(servers []maintenance.FleetServer) {
	if len(servers) == 0 {
		return
	}
	rows := [][]string{{"SERVER", "ON SIDECARS", "SINCE", "HUNG", "DIFFER", "WHY"}}
	for i := range servers {
		v := &servers[i]
		differ := ""
		if len(v.Differ) > 0 {
			differ = someOf(v.Differ, len(v.Differ), 5)
		}
		rows = append(rows, []string{v.Server, v.Summary, s.since(v.Since), strconv.Itoa(v.Hung), differ, v.Evidence})
	}
	s.printf("\n")
	s.table(rows)
}
