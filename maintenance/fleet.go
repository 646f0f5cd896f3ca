package maintenance

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// FleetZone is a zone as all sidecars see it.
type FleetZone struct {
	Zone  string `json:"zone"`
	State string `json:"state"` // the worst

	// How many sidecars see it in which state; and in words, the worst first: "open
	// on 47 of 50, calm on 3".
	States  map[string]int `json:"states"`
	Summary string         `json:"summary"`

	// When the first of those that see the worst began to, and why.
	Since    time.Time `json:"since,omitzero"`
	Evidence string    `json:"evidence,omitempty"`

	// On all sidecars together; of stores in quarantine, the most on one.
	Live        int `json:"live"`
	Hung        int `json:"hung"`
	Quarantined int `json:"quarantined,omitempty"`

	// The stores in quarantine on any of them, up to 20, those on most of them first.
	Stores []FleetStore `json:"stores,omitempty"`

	// The sidecars that see it in another state than most do; up to 20 of them.
	Differ []FleetDiffer `json:"differ,omitempty"`
}

// FleetStore is a store in quarantine: "on 12 of 50".
type FleetStore struct {
	Store   string `json:"store"`
	Summary string `json:"summary"`
	On      int    `json:"on"`
}

// FleetServer is a server that gets no requests of some sidecars.
type FleetServer struct {
	Server   string    `json:"server"`
	State    string    `json:"state"`   // on most of these
	Summary  string    `json:"summary"` // "out of service on 47 of 50"
	On       int       `json:"on"`
	Of       int       `json:"of"` // sidecars that have it
	Since    time.Time `json:"since,omitzero"`
	Evidence string    `json:"evidence,omitempty"`
	Hung     int       `json:"hung"` // on all together

	// The sidecars that have it in service though most do not, or the other way round;
	// up to 20 of them.
	Differ []string `json:"differ,omitempty"`
}

// FleetDiffer is a sidecar that does not see what most see.
type FleetDiffer struct {
	Sidecar  string    `json:"sidecar"`
	State    string    `json:"state"`
	Since    time.Time `json:"since,omitzero"`
	Evidence string    `json:"evidence,omitempty"`
	Stale    bool      `json:"stale,omitempty"` // it cannot read the state backend
}

// mostDiffer is how many sidecars of another mind are named.
const mostDiffer = 20

// calmState is the state of a zone that a record does not list.
const calmState = "calm"

// badness orders the states, the worst last. One of a later version is worse than calm.
func badness(state string) int {
	switch state {
	case "open":
		return 4
	case "half_open":
		return 3
	case "troubled":
		return 2
	case calmState:
		return 0
	}
	return 1
}

// zones puts together what the sidecars see, the worst first.
func (f *Fleet) zones() []FleetZone {
	seen := make(map[string]map[string]*InstanceZone) // by zone, by sidecar
	for n := range f.Instances {
		i := &f.Instances[n]
		for m := range i.Zones {
			z := &i.Zones[m]
			if seen[z.Zone] == nil {
				seen[z.Zone] = make(map[string]*InstanceZone)
			}
			seen[z.Zone][i.ID] = z
		}
	}
	all := make([]FleetZone, 0, len(seen))
	for zone, by := range seen {
		all = append(all, f.zone(zone, by))
	}
	slices.SortFunc(all, func(a, b FleetZone) int {
		return cmp.Or(cmp.Compare(badness(b.State), badness(a.State)), cmp.Compare(b.States[b.State], a.States[a.State]), strings.Compare(a.Zone, b.Zone))
	})
	return all
}

func (f *Fleet) zone(name string, by map[string]*InstanceZone) FleetZone {
	z := FleetZone{Zone: name, State: calmState, States: make(map[string]int)}
	for _, of := range by {
		z.States[of.State]++
		z.Live, z.Hung, z.Quarantined = z.Live+of.Live, z.Hung+of.Hung, max(z.Quarantined, of.Quarantined)
		if badness(of.State) > badness(z.State) {
			z.State = of.State
		}
	}
	if calm := len(f.Instances) - len(by); calm > 0 {
		z.States[calmState] += calm
	}
	for _, of := range by {
		if of.State == z.State && (z.Since.IsZero() || of.Since.Before(z.Since)) {
			z.Since, z.Evidence = of.Since, of.Evidence
		}
	}
	states := slices.SortedFunc(maps.Keys(z.States), func(a, b string) int {
		return cmp.Or(cmp.Compare(badness(b), badness(a)), strings.Compare(a, b))
	})
	most := states[0]
	for n, state := range states {
		if z.States[state] > z.States[most] {
			most = state
		}
		said := fmt.Sprintf("%s on %d", strings.ReplaceAll(state, "_", "-"), z.States[state])
		if n == 0 {
			said += fmt.Sprintf(" of %d", len(f.Instances))
		} else {
			said = ", " + said
		}
		z.Summary += said
	}
	z.Stores = f.stores(by)
	for n := range f.Instances {
		i := &f.Instances[n]
		d := FleetDiffer{Sidecar: i.ID, State: calmState, Stale: i.Stale}
		if of := by[i.ID]; of != nil {
			d.State, d.Since, d.Evidence = of.State, of.Since, of.Evidence
		}
		if d.State != most && len(z.Differ) < mostDiffer {
			z.Differ = append(z.Differ, d)
		}
	}
	return z
}

// stale are the sidecars that cannot read the state backend, or apply another state
// than the latest.
func (f *Fleet) stale() (ids []string) {
	for n := range f.Instances {
		if i := &f.Instances[n]; i.Stale || i.Applies != f.Latest {
			ids = append(ids, i.ID)
		}
	}
	return ids
}

// mostStores is how many stores of a zone are named.
const mostStores = 20

// stores are the zone's stores in quarantine.
func (f *Fleet) stores(by map[string]*InstanceZone) (all []FleetStore) {
	on := make(map[string]int)
	for _, of := range by {
		for _, store := range of.Stores {
			on[store]++
		}
	}
	for store, n := range on {
		all = append(all, FleetStore{Store: store, On: n, Summary: fmt.Sprintf("in quarantine on %d of %d", n, len(f.Instances))})
	}
	slices.SortFunc(all, func(a, b FleetStore) int {
		return cmp.Or(cmp.Compare(b.On, a.On), strings.Compare(a.Store, b.Store))
	})
	return all[:min(len(all), mostStores)]
}

// servers puts together which servers get no requests.
func (f *Fleet) servers() (all []FleetServer) {
	out, has := make(map[string]map[string]*InstanceServer), make(map[string]map[string]bool) // by server, by sidecar
	put := func(server, id string) {
		if has[server] == nil {
			has[server] = make(map[string]bool)
		}
		has[server][id] = true
	}
	for n := range f.Instances {
		i := &f.Instances[n]
		for _, server := range i.SharedServers {
			put(server, i.ID)
		}
		for m := range i.ServersOut {
			s := &i.ServersOut[m]
			put(s.Server, i.ID)
			if out[s.Server] == nil {
				out[s.Server] = make(map[string]*InstanceServer)
			}
			out[s.Server][i.ID] = s
		}
	}
	for _, server := range slices.Sorted(maps.Keys(out)) {
		all = append(all, newFleetServer(server, out[server], has[server]))
	}
	return all
}

func newFleetServer(name string, out map[string]*InstanceServer, has map[string]bool) FleetServer {
	s := FleetServer{Server: name, On: len(out), Of: len(has)}
	states := make(map[string]int)
	for _, id := range slices.Sorted(maps.Keys(out)) {
		of := out[id]
		if states[of.State]++; s.State == "" || states[of.State] > states[s.State] {
			s.State = of.State
		}
		s.Hung += of.Hung
		if s.Since.IsZero() || of.Since.Before(s.Since) {
			s.Since, s.Evidence = of.Since, of.Evidence
		}
	}
	s.Summary = fmt.Sprintf("%s on %d of %d", strings.ReplaceAll(s.State, "_", " "), s.On, s.Of)
	for _, id := range slices.Sorted(maps.Keys(has)) {
		if is := out[id] != nil; is != (2*s.On >= s.Of) && len(s.Differ) < mostDiffer {
			s.Differ = append(s.Differ, id)
		}
	}
	return s
}
