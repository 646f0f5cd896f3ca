package state

import (
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/firebreak-proxy/firebreak/fleet"
	"github.com/firebreak-proxy/firebreak/maintenance"
)

// Namespace is where the modules of state backends register themselves.
const Namespace = "firebreak.state"

// Module is what a module of the namespace firebreak.state must be: it
// keeps the operators' switches.
//
// Provision must not write anything and must not need the backend to be there:
// "caddy validate" may run anywhere, and a sidecar must start while its backend
// is away. To be usable in a Caddyfile it implements caddyfile.Unmarshaler; the
// dispenser stands before the name of the backend ("state NAME ...").
type Module interface {
	// OpenState returns the backend. It is called once for each configuration,
	// which also closes it. Connections are made when they are first needed.
	OpenState() (*State, error)
}

// State is a backend and how to use it.
type State struct {
	Backend maintenance.Backend

	// Which state this is, as far as a name can say: two configurations that
	// give the same identity share what is known while the backend is away.
	Identity string

	// How often it is asked for changes; how long a call may take. Defaults:
	// 1s, 2s.
	Sync, Timeout time.Duration

	// How sidecars that share this state tell each other what they observe; nil: they
	// do not.
	Fleet *Fleet
}

// Fleet is how sidecars decide together.
type Fleet struct {
	// Open makes the transport. It connects when it is first used.
	Open func() (fleet.Transport, error)

	// All that it is made of: configurations that give the same share one fleet.
	Identity string

	Observe bool // only tell what would be done
	Agree   int  // on how many hosts; 0: the default
}

// Names are the names of all registered backends, sorted.
func Names() []string {
	var names []string
	for _, module := range caddy.GetModules(Namespace) {
		names = append(names, module.ID.Name())
	}
	slices.Sort(names)
	return names
}
