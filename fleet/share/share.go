// Package share finds out which part of the API servers' workers a sidecar may lend,
// by how many sidecars of the fleet are in front of the same servers (the option share
// auto).
package share

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/maintenance"
)

const (
	// Every is how often the sidecars in front of the same servers are counted.
	Every = 2 * time.Second

	// hold is how long one is counted that is no longer listed: a backend that
	// has lost its records has them again within this time.
	hold = 10 * time.Second
)

// Sharing is who else is in front of the same servers. It belongs to the process:
// while the state cannot be read, a new configuration goes on with what was known.
type Sharing struct {
	mu     sync.Mutex // guards below
	looked time.Time  // when the sidecars were last counted
	seen   map[string]sidecar
	parts  config.Parts
}

// sidecar is what was last known of one.
type sidecar struct {
	at      time.Time
	servers []string
}

// Latest is the parts that are known.
func (s *Sharing) Latest() config.Parts {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.parts
}

// Look takes in which sidecars there are, and reports whether that changes a part.
// mine is this sidecar's servers as [Servers] names them.
func (s *Sharing) Look(self string, fleet []maintenance.Instance, mine map[string]string, now time.Time) (parts config.Parts, changed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen == nil {
		s.seen = make(map[string]sidecar)
	}
	if gap := now.Sub(s.looked); gap > 2*Every {
		for id, other := range s.seen { // they could not be seen meanwhile
			s.seen[id] = sidecar{other.at.Add(gap), other.servers}
		}
	}
	s.looked = now
	for i := range fleet {
		s.seen[fleet[i].ID] = sidecar{now, fleet[i].Servers}
	}
	s.seen[self] = sidecar{now, slices.Collect(maps.Keys(mine))}
	maps.DeleteFunc(s.seen, func(_ string, other sidecar) bool { return now.Sub(other.at) > hold })
	by := make(map[string][]string) // the sidecars of each server
	for id, other := range s.seen {
		for _, server := range other.servers {
			by[server] = append(by[server], id)
		}
	}
	parts.ByServer = make(map[string]config.Part, len(mine))
	for server, address := range mine {
		sidecars := by[server]
		slices.Sort(sidecars)
		part := config.Part{Mine: 1, Of: len(sidecars), Place: slices.Index(sidecars, self) + 1}
		parts.ByServer[address] = part
		if part.Of > parts.Others.Of {
			parts.Others = part
		}
	}
	changed = parts.Others != s.parts.Others || !maps.Equal(parts.ByServer, s.parts.ByServer)
	s.parts = parts
	return parts, changed
}

// Servers are the addresses of a sidecar's servers, by the names that they
// have in the fleet.
func Servers(guard *breaker.Guard) map[string]string {
	servers := make(map[string]string)
	for _, server := range guard.Servers() {
		servers[Name(server.Address)] = server.Address
	}
	return servers
}

// Name is the name of a server in the fleet. One that is only reached from this
// machine is another one on each.
func Name(address string) string {
	if !breaker.IsLocalAddress(address) {
		return address
	}
	host, _ := os.Hostname()
	return host + " " + address
}

// InWords is a part as it is shown; "" for all workers.
func InWords(p config.Part) string {
	if p.Of == 0 {
		return ""
	}
	return fmt.Sprintf("%d/%d", p.Mine, p.Of)
}
