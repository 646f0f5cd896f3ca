package caddymodule

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/maintenance"
	"github.com/firebreak-proxy/firebreak/telemetry"
)

const (
	// shareEvery is how often the sidecars in front of the same servers are counted.
	shareEvery = 2 * time.Second

	// shareHold is how long one is counted that is no longer listed: a backend that
	// has lost its records has them again within this time.
	shareHold = 10 * time.Second
)

// sharing is who else is in front of the same servers. It belongs to the process:
// while the state cannot be read, a new configuration goes on with what was known.
type sharing struct {
	mu     sync.Mutex // guards below
	looked time.Time  // when the sidecars were last counted
	seen   map[string]sidecarSeen
	parts  config.Parts
}

// sidecarSeen is what was last known of a sidecar.
type sidecarSeen struct {
	at      time.Time
	servers []string
}

// latest is the parts that are known.
func (s *sharing) latest() config.Parts {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.parts
}

// look takes in which sidecars there are, and reports whether that changes a part.
// mine is this sidecar's servers, by the names that they have in the fleet.
func (s *sharing) look(self string, fleet []maintenance.Instance, mine map[string]string, now time.Time) (parts config.Parts, changed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen == nil {
		s.seen = make(map[string]sidecarSeen)
	}
	if gap := now.Sub(s.looked); gap > 2*shareEvery {
		for id, other := range s.seen { // they could not be seen meanwhile
			s.seen[id] = sidecarSeen{other.at.Add(gap), other.servers}
		}
	}
	s.looked = now
	for i := range fleet {
		s.seen[fleet[i].ID] = sidecarSeen{now, fleet[i].Servers}
	}
	s.seen[self] = sidecarSeen{now, slices.Collect(maps.Keys(mine))}
	maps.DeleteFunc(s.seen, func(_ string, other sidecarSeen) bool { return now.Sub(other.at) > shareHold })
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

// sharesAuto reports whether the part of this sidecar follows the fleet.
func (a *App) sharesAuto() bool { return a.Share == config.ShareAuto }

// fleetServers is the addresses of this sidecar's servers, by the names that they
// have in the fleet.
func (a *App) fleetServers() map[string]string {
	servers := make(map[string]string)
	for _, server := range a.Guard().Servers() {
		servers[a.fleetServer(server.Address)] = server.Address
	}
	return servers
}

// fleetServer is the name of a server in the fleet. One that is only reached from this
// machine is another one on each.
func (a *App) fleetServer(address string) string {
	if !breaker.IsLocalAddress(address) {
		return address
	}
	host, _ := os.Hostname()
	return host + " " + address
}

// followShare keeps this sidecar's part in step with the fleet until ctx ends. While
// the state cannot be read nothing changes.
func (a *App) followShare(ctx context.Context) {
	tick := time.NewTicker(shareEvery)
	defer tick.Stop()
	for {
		if fleet, err := a.board.Fleet(ctx); err == nil && ctx.Err() == nil {
			a.takeShare(fleet.Instances)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (a *App) takeShare(fleet []maintenance.Instance) {
	mine := a.fleetServers()
	if len(mine) == 0 {
		return // not known yet
	}
	parts, changed := a.shared.sharing.look(a.instanceID(), fleet, mine, time.Now())
	if !changed {
		return
	}
	policy, err := a.policyFor(parts)
	if err != nil {
		a.log.Error(telemetry.LogShareRefused, zap.Error(err))
		return
	}
	a.live.mu.Lock()
	defer a.live.mu.Unlock()
	a.live.policy = policy
	if next := a.settings(); a.shared.replace(a.live.mine, next) {
		a.live.mine = next
	}
	a.log.Info(telemetry.LogShare, zap.String("share", partInWords(parts.Others)), zap.Int("workers", a.Guard().Summary().Workers))
}

// policyFor is the policy with the parts that share auto has found.
func (a *App) policyFor(parts config.Parts) (*config.Policy, error) {
	policy, err := a.App.PolicyFor(parts)
	if err == nil {
		fillCheckHeaders(policy)
	}
	return policy, err
}

// partInWords is a part as it is shown; "" for all workers.
func partInWords(p config.Part) string {
	if p.Of == 0 {
		return ""
	}
	return fmt.Sprintf("%d/%d", p.Mine, p.Of)
}
