package breaker

import (
	"time"

	"github.com/firebreak-proxy/firebreak/config"
)

type (
	// Policy is what a Guard goes by: the size of the pool, and the times and limits
	// of zones and stores.
	Policy = config.Policy

	// ZonePolicy is the times and limits of a zone.
	ZonePolicy = config.ZonePolicy

	// StorePolicy is the times and limits of stores.
	StorePolicy = config.StorePolicy
)

// NewPolicy is the policy for a pool of so many workers whose requests have to be
// answered within timeout (0: the default), with every other default filled in.
// Change its fields before it is given to [New] or [Guard.Apply]; p.Default holds
// for all zones that are not in p.Zones.
func NewPolicy(workers int, timeout time.Duration) (*Policy, error) {
	all := config.Zone{Name: config.AllZones, Timeout: config.Duration(timeout)}
	return (&config.App{Workers: workers, Zones: []config.Zone{all}}).Policy()
}
