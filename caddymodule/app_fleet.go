package caddymodule

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/fleet"
	"github.com/firebreak-proxy/firebreak/state"
	"github.com/firebreak-proxy/firebreak/telemetry"
)

// fleets holds the fleets that this process is part of, by all that they are made of: a
// configuration with the same settings goes on with what is known of the others.
var fleets = caddy.NewUsagePool()

// sharedFleet is a fleet, which configurations with the same settings share.
type sharedFleet struct {
	*fleet.Fleet
	observe bool

	log atomic.Pointer[zap.Logger] // of the latest configuration

	begin sync.Once
	stop  context.CancelFunc // nil: it never began
	done  chan struct{}
}

// holdFleet takes a reference to the fleet, if the state has one. It does not begin yet.
func (a *App) holdFleet(s *state.State) error {
	if s.Fleet == nil {
		return nil
	}
	key := s.Fleet.Identity + " " + a.instanceID()
	value, _, err := fleets.LoadOrNew(key, func() (caddy.Destructor, error) { return a.newFleet(s.Fleet) })
	if err != nil {
		return fmt.Errorf("state: fleet: %w", err)
	}
	a.fleet, a.fleetKey = value.(*sharedFleet), key
	return nil
}

func (a *App) newFleet(s *state.Fleet) (*sharedFleet, error) {
	transport, err := s.Open()
	if err != nil {
		return nil, err
	}
	shared := &sharedFleet{observe: s.Observe}
	guard := a.Guard()
	shared.Fleet = fleet.New(fleet.Options{
		Guard: guard, Transport: transport, ID: a.instanceID(), Host: a.hostName(),
		Agree: s.Agree, Observe: s.Observe, Tell: shared.tell,
		MostZones:   func() int { return max(1, int(guard.Policy().MaxOpenZones*float64(guard.ZoneCount()))) },
		MostServers: guard.MostServersOut,
	})
	return shared, nil
}

// hostName is what this sidecar's host is called among those of a fleet.
func (a *App) hostName() string {
	if a.Instance != "" {
		return a.Instance
	}
	name, _ := os.Hostname()
	return name
}

// startFleet puts the fleet in force, or that there is none.
func (a *App) startFleet() {
	if a.fleet != nil {
		a.fleet.log.Store(a.log)
		a.fleet.begin.Do(a.fleet.run)
		message := telemetry.LogFleetStarted
		if a.fleet.observe {
			message = telemetry.LogFleetObserving
		}
		a.log.Info(message, zap.String("instance", a.instanceID()), zap.String(telemetry.FieldHost, a.hostName()), zap.Int("agree", a.fleet.Agree()))
	}
	a.live.mu.Lock()
	defer a.live.mu.Unlock()
	a.live.fleetBefore = a.shared.putFleet(a.fleet)
}

// stopFleet puts the fleet before back in force, unless another configuration has put
// its own there. Callers hold live.mu.
func (a *App) stopFleet() {
	a.shared.replaceFleet(a.fleet, a.live.fleetBefore)
	a.live.fleetBefore = nil
}

// dropFleet gives the reference back.
func (a *App) dropFleet() error {
	if a.fleetKey == "" {
		return nil
	}
	key := a.fleetKey
	a.fleetKey = ""
	_, err := fleets.Delete(key)
	return err
}

// fleetCounts is what scrapes read; nil if there is no fleet.
func (a *App) fleetCounts() *fleet.Counts {
	if a.fleet == nil {
		return nil
	}
	return &a.fleet.Counts
}

func (f *sharedFleet) run() {
	ctx, cancel := context.WithCancel(context.Background())
	f.stop, f.done = cancel, make(chan struct{})
	go func() {
		defer close(f.done)
		f.Run(ctx)
	}()
}

// Destruct ends the fleet when no configuration refers to it any more.
func (f *sharedFleet) Destruct() error {
	if f.stop == nil {
		return f.Close()
	}
	f.stop()
	select {
	case <-f.done:
	case <-time.After(stopPatience): // its calls end with their context, so this is a bug
	}
	return nil
}

// tell logs what happens in the fleet.
func (f *sharedFleet) tell(e fleet.Event) {
	log := f.log.Load()
	if log == nil {
		return
	}
	var about []zap.Field
	for _, of := range []struct{ field, name string }{{telemetry.FieldZone, e.Zone}, {telemetry.FieldStore, e.Store}, {telemetry.FieldServer, e.Server}} {
		if of.name != "" {
			about = append(about, zap.String(of.field, strings.ToValidUTF8(of.name, "\uFFFD")))
		}
	}
	about = append(about, zap.Duration(telemetry.FieldFor, e.For))
	agreed := slices.Concat(about, []zap.Field{zap.Int(telemetry.FieldSidecars, e.Sidecars), zap.Int(telemetry.FieldStores, e.Stores)})
	switch e.Kind {
	case fleet.Connected:
		log.Info(telemetry.LogFleetConnected)
	case fleet.Lost:
		log.Warn(telemetry.LogFleetLost, zap.Error(e.Err), zap.String(telemetry.FieldNext, "look whether the state backend is well; nothing waits for it"))
	case fleet.Agreed:
		message := telemetry.LogFleetAgreed
		if e.Observe {
			message = telemetry.LogFleetWould
		}
		log.Info(message, agreed...)
	case fleet.Vetoed:
		log.Debug(telemetry.LogFleetVetoed, agreed...)
	case fleet.Answered:
		log.Info(telemetry.LogFleetAnswered, append(about, zap.String(telemetry.FieldHost, e.Host))...)
	case fleet.Discredited:
		log.Warn(telemetry.LogFleetDiscredited, append(about, zap.String(telemetry.FieldHost, e.Host))...)
	case fleet.Failed:
		log.Error(telemetry.LogInternalError, zap.Error(e.Err))
	}
}

// putFleet puts a fleet in force on the guard, nil for none, and returns the one before.
func (s *sharedGuard) putFleet(next *sharedFleet) (previous *sharedFleet) {
	s.mu.Lock()
	defer s.mu.Unlock()
	previous, s.fleet = s.fleet, next
	s.SetFleet(next.leases())
	return previous
}

// replaceFleet puts a fleet in force if the one in force is still old.
func (s *sharedGuard) replaceFleet(old, next *sharedFleet) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fleet == old && old != next {
		s.fleet = next
		s.SetFleet(next.leases())
	}
}

// leases is what the guard asks before it tries something; nil: nothing.
func (f *sharedFleet) leases() breaker.Fleet {
	if f == nil || f.observe {
		return nil
	}
	return f
}
