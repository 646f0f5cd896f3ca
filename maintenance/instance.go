package maintenance

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Instance is what one sidecar tells the others about itself. It is shown, and
// with share auto counted, but no verdict follows from it: a sidecar with a bad
// network must not poison the fleet.
type Instance struct {
	ID      string    `json:"id"`
	Host    string    `json:"host"`
	PID     int       `json:"pid,omitempty"`
	Version string    `json:"version,omitempty"`
	Started time.Time `json:"started"` // both by the backend's clock
	At      time.Time `json:"at"`

	// The state it applies, and since when it could not read a newer one.
	Applies Head      `json:"applies"`
	Stale   bool      `json:"stale,omitempty"`
	Synced  time.Time `json:"synced,omitzero"`

	// Its pool: workers there are, occupied, and hung.
	Workers  int `json:"workers"`
	Occupied int `json:"occupied"`
	Hung     int `json:"hung"`

	// The API servers whose workers it shares with other sidecars, if it does.
	Servers []string `json:"servers,omitempty"`

	// The API servers that are the same for all sidecars, up to 100 of them; and those
	// of all its servers that get no requests.
	SharedServers []string         `json:"shared_servers,omitempty"`
	ServersOut    []InstanceServer `json:"servers_out,omitempty"`

	// Its zones: how many there are, and those that are not calm.
	ZoneCount int            `json:"zone_count"`
	Zones     []InstanceZone `json:"zones,omitempty"`
}

// InstanceZone is a zone that is not calm, as one sidecar sees it.
type InstanceZone struct {
	Zone        string    `json:"zone"`
	State       string    `json:"state"`
	Since       time.Time `json:"since,omitzero"`
	Live        int       `json:"live"`
	Hung        int       `json:"hung"`
	Quarantined int       `json:"quarantined,omitempty"`
	Evidence    string    `json:"evidence,omitempty"` // why the state began, shortened
	Stores      []string  `json:"stores,omitempty"`   // those in quarantine, up to 20
}

// InstanceServer is a server that gets no requests of one sidecar, or tries only.
type InstanceServer struct {
	Server   string    `json:"server"` // as the fleet names it: with the host's name before an address that only holds there
	State    string    `json:"state"`
	Since    time.Time `json:"since,omitzero"`
	Hung     int       `json:"hung"`
	Evidence string    `json:"evidence,omitempty"`
}

// Fleet is all sidecars that share a backend.
type Fleet struct {
	// The latest head that the backend or a sidecar has, how many sidecars
	// there are, and how many of them apply it.
	Latest   Head `json:"latest"`
	Total    int  `json:"total"`
	Applying int  `json:"applying"`

	// On all sidecars together: workers there are, occupied, and hung. Those of a
	// server count once for each sidecar that does not share them.
	Workers  int `json:"workers"`
	Occupied int `json:"occupied"`
	Hung     int `json:"hung"`

	// The zones that are not calm on all of them, the worst first.
	Zones []FleetZone `json:"zones"`

	// The servers that get no requests of some of them, by name.
	Servers []FleetServer `json:"servers,omitempty"`

	// The sidecars that cannot read the backend, or do not apply the latest state.
	Behind []string `json:"behind,omitempty"`

	// By id.
	Instances []Instance `json:"instances"`

	// Records that could not be read.
	Corrupt []Corrupt `json:"corrupt,omitempty"`
}

// Summary is the fleet in words: "47 of 50 apply revision 12".
func (f *Fleet) Summary() string {
	return fmt.Sprintf("%d of %d apply revision %d", f.Applying, f.Total, f.Latest.Revision)
}

// newFleet reads the records.
func newFleet(latest Head, records map[string][]byte) *Fleet {
	f := &Fleet{Latest: latest, Instances: make([]Instance, 0, len(records))}
	for id, record := range records {
		var i Instance
		if err := json.Unmarshal(record, &i); err != nil || i.ID == "" {
			f.Corrupt = append(f.Corrupt, Corrupt{Record: "instance " + id, Error: fmt.Sprintf("no instance record: %v", err)})
			continue
		}
		f.Instances = append(f.Instances, i)
		f.Workers, f.Occupied, f.Hung = f.Workers+i.Workers, f.Occupied+i.Occupied, f.Hung+i.Hung
		if i.Applies == latest {
			f.Applying++
		}
	}
	f.Total = len(f.Instances)
	slices.SortFunc(f.Instances, func(a, b Instance) int { return strings.Compare(a.ID, b.ID) })
	slices.SortFunc(f.Corrupt, func(a, b Corrupt) int { return strings.Compare(a.Record, b.Record) })
	f.Zones, f.Servers, f.Behind = f.zones(), f.servers(), f.stale()
	return f
}
