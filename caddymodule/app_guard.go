package caddymodule

import (
	"sync"

	"github.com/caddyserver/caddy/v2"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/episodes"
	"github.com/firebreak-proxy/firebreak/fleet/share"
	"github.com/firebreak-proxy/firebreak/otherguards"
	"github.com/firebreak-proxy/firebreak/recent"
	"github.com/firebreak-proxy/firebreak/servers"
	"github.com/firebreak-proxy/firebreak/snapshot"
	"github.com/firebreak-proxy/firebreak/telemetry"
	"github.com/firebreak-proxy/firebreak/zonecheck"
)

// guards holds the one guard of the process. The configurations that use it
// hold a reference each, and a new configuration takes its own before the old
// one gives its own back: so state survives a reload.
var guards = caddy.NewUsagePool()

const guardKey = "guard"

// sharedGuard is the guard and the settings in force on it.
type sharedGuard struct {
	*breaker.Guard
	recent   *recent.Activity
	memory   *snapshot.File
	watches  *servers.Watches
	others   *otherguards.Watch
	turn     *telemetry.Turn
	episodes *episodes.Keeper

	sharing share.Sharing

	mu      sync.Mutex // guards below
	inForce *settings
	fleet   *sharedFleet // what the guard asks before it tries something; nil: nothing
}

// settings is what a configuration puts in force. Told apart by pointer.
type settings struct {
	policy *config.Policy
	zones  []string // all zones there are
}

// holdGuard takes a reference to the guard. The policy counts only if there is
// no guard yet.
func holdGuard(p *config.Policy) (*sharedGuard, error) {
	value, _, err := guards.LoadOrNew(guardKey, func() (caddy.Destructor, error) {
		guard := breaker.New(p, breaker.Options{Check: zonecheck.Check, Ask: askDatabase(), Dial: servers.Dial, CheckServer: servers.Check})
		return &sharedGuard{
			Guard: guard, recent: recent.Watch(guard), turn: telemetry.NewTurn(), episodes: episodes.NewKeeper(),
			memory: snapshot.New(guard), watches: servers.NewWatches(guard), others: otherguards.New(guard),
		}, nil
	})
	if err != nil {
		return nil, err
	}
	return value.(*sharedGuard), nil
}

// releaseGuard gives a reference back.
func releaseGuard() error {
	_, err := guards.Delete(guardKey)
	return err
}

// Destruct ends the guard when no app refers to it any more.
func (s *sharedGuard) Destruct() error {
	s.others.Close()
	s.watches.Close()
	s.memory.Close()
	s.recent.Close()
	s.Close()
	return nil
}

// put puts settings in force and returns those before it, nil if none.
func (s *sharedGuard) put(next *settings) *settings {
	s.mu.Lock()
	defer s.mu.Unlock()
	previous := s.inForce
	s.inForce = next
	s.Apply(next.policy, next.zones)
	return previous
}

// replace puts settings in force if the ones in force are still old. It
// reports whether it did.
func (s *sharedGuard) replace(old, next *settings) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old == nil || next == nil || s.inForce != old {
		return false
	}
	s.inForce = next
	s.Apply(next.policy, next.zones)
	return true
}
