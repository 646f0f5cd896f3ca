package caddymodule

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/fleet/share"
	"github.com/firebreak-proxy/firebreak/internal/shorten"
	"github.com/firebreak-proxy/firebreak/internal/version"
	"github.com/firebreak-proxy/firebreak/maintenance"
	"github.com/firebreak-proxy/firebreak/state"
	"github.com/firebreak-proxy/firebreak/telemetry"
)

// boards are the boards that run, by the identity of their state. A
// configuration that is loaded while the backend is away learns from its
// predecessor.
var boards sync.Map // string → *maintenance.Board

// openBoard puts the switches in force that are known, before the first
// request is served. It changes nothing.
func (a *App) openBoard() error {
	state, err := a.openState()
	if err != nil {
		return err
	}
	a.stateID = state.Identity
	a.backend = state.Backend
	if err := a.holdFleet(state); err != nil {
		return err
	}
	options := maintenance.Options{
		Backend: state.Backend, Sync: state.Sync, Timeout: state.Timeout,
		Snapshot: snapshotPath(state.Identity), ID: a.instanceID(), Describe: a.describe, InForce: a.applyDrains, Release: a.releaseAnswers,
	}
	if running, ok := boards.Load(state.Identity); ok {
		options.Known = running.(*maintenance.Board).View().State
	}
	a.board = maintenance.New(options)
	ctx, cancel := context.WithTimeout(a.ctx, loadPatience)
	defer cancel()
	if err := a.board.Load(ctx); err != nil {
		view := a.board.View()
		a.log.Warn(telemetry.LogStateStale, zap.Error(err), zap.Int("switches", len(view.State.Switches)), zap.Uint64("revision", view.State.Revision),
			zap.String("next", "the last known switches are in force; they cannot be changed until the state backend is back"))
	}
	return nil
}

// loadPatience bounds how long a start waits for the state backend.
const loadPatience = 3 * time.Second

func (a *App) openState() (*state.State, error) {
	var module any = &state.Storage{}
	var err error
	if a.StateRaw != nil {
		module, err = a.ctx.LoadModule(a, "StateRaw")
	} else {
		err = module.(*state.Storage).Provision(a.ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	backend, ok := module.(state.Module)
	if !ok {
		return nil, fmt.Errorf("state: %T is no firebreak state backend", module)
	}
	return backend.OpenState()
}

// snapshotPath is where the last known switches are kept for a restart while
// the backend is away.
func snapshotPath(identity string) string {
	sum := sha256.Sum256([]byte(identity))
	return filepath.Join(caddy.AppDataDir(), "firebreak", "switches-"+hex.EncodeToString(sum[:6])+".ndjson")
}

// instanceID names this process among the sidecars: the same across reloads,
// and after a restart in the same container, so that it leaves no ghosts.
func (a *App) instanceID() string {
	return fmt.Sprintf("%s:%d", a.hostName(), os.Getpid())
}

// describe is what the other sidecars are told about this one.
func (a *App) describe() maintenance.Instance {
	status := a.Guard().Summary()
	host, _ := os.Hostname()
	i := maintenance.Instance{
		Host: host, PID: os.Getpid(), Version: version.Firebreak(),
		Workers: status.Workers, Occupied: status.Occupied, Hung: status.Hung,
	}
	if a.sharesAuto() {
		i.Servers = slices.Sorted(maps.Keys(share.Servers(a.Guard())))
	}
	i.SharedServers, i.ServersOut = a.describeServers()
	i.ZoneCount = a.Guard().ZoneCount()
	for _, zone := range a.Guard().Troubled() {
		i.Zones = append(i.Zones, maintenance.InstanceZone{
			Zone: zone.Zone, State: zone.State.String(), Since: zone.Since,
			Live: zone.Live, Hung: zone.Hung, Quarantined: zone.QuarantinedCount,
			Evidence: shorten.To(zone.Evidence, 160), Stores: zone.Quarantined[:min(len(zone.Quarantined), 20)],
		})
	}
	return i
}

// describeServers is the servers that other sidecars may have, too, and those of all
// that get no requests.
func (a *App) describeServers() (shared []string, out []maintenance.InstanceServer) {
	const most = 100
	for _, server := range a.Guard().Servers() {
		name := share.Name(server.Address)
		if name == server.Address && len(shared) < most {
			shared = append(shared, name)
		}
		if server.State == breaker.OutOfService || server.State == breaker.Away {
			out = append(out, maintenance.InstanceServer{
				Server: name, State: server.State.String(), Since: server.Since, Hung: server.Hung,
				Evidence: shorten.To(server.Evidence, 160),
			})
		}
	}
	return shared, out[:min(len(out), most)]
}

// closeBoard gives the backend back. Requests that are still in flight may go
// on reading the board.
func (a *App) closeBoard() {
	if a.backend != nil {
		_ = a.backend.Close()
		a.backend = nil
	}
}
