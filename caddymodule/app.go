package caddymodule

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/firebreak-proxy/firebreak/admin"
	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/directories"
	"github.com/firebreak-proxy/firebreak/maintenance"
	"github.com/firebreak-proxy/firebreak/recovery"
	"github.com/firebreak-proxy/firebreak/routing"
	"github.com/firebreak-proxy/firebreak/snapshot"
	"github.com/firebreak-proxy/firebreak/telemetry"
	"github.com/firebreak-proxy/firebreak/workers"
)

func init() {
	caddy.RegisterModule(App{})
}

// stopPatience is how long Stop waits for background work, which may be stuck
// in somebody else's event handler.
const stopPatience = 2 * time.Second

// App is firebreak's app: the state of all stores and zones, shared by all
// firebreak handlers. Its state survives reloads of the configuration.
type App struct {
	config.App

	// Where stores live: a module of the namespace firebreak.directories.
	// Without one, every key is unknown.
	DirectoryRaw json.RawMessage `json:"directory,omitempty" caddy:"namespace=firebreak.directories inline_key=source"`

	// Where the operators' switches are kept: a module of the namespace
	// firebreak.state. Default: storage.
	StateRaw json.RawMessage `json:"state,omitempty" caddy:"namespace=firebreak.state inline_key=backend"`

	// The name of this sidecar among others that share the state. Default: the
	// host's name.
	Instance string `json:"instance,omitempty"`

	// What is kept of each episode.
	Incidents *config.Incidents `json:"incidents,omitempty"`

	ctx       caddy.Context
	log       *zap.Logger
	policy    *config.Policy
	directory directories.Directory
	shared    *sharedGuard
	holds     bool // whether a reference to shared has to be given back
	board     *maintenance.Board
	backend   maintenance.Backend // of the board; nil: not opened, or closed
	stateID   string
	fleet     *sharedFleet // nil: none
	fleetKey  string       // has to be given back; "": not held
	events    *telemetry.Reporter
	live      *live
	admin     *admin.API // nil before Start

	answers      *sharedAnswers
	holdsAnswers bool // whether a reference to answers has to be given back

	recoveries      *sharedRecoveries
	holdsRecoveries bool // whether a reference to recoveries has to be given back
}

// live is the part of an app that changes after Provision.
type live struct {
	stop  context.CancelFunc // ends the background work; nil before Start
	ended <-chan struct{}    // closed by stop
	work  sync.WaitGroup

	mu       sync.Mutex     // guards below
	http     *caddyhttp.App // nil: no handler or transport of ours is part of it
	policy   *config.Policy // the app's, with the latest part that share auto has found; nil: none
	mine     *settings      // what this app has put in force; nil before Start
	previous *settings      // what was in force before
	handlers []*Handler
	proxied  []*proxied

	incidents *incidentLog         // nil: not started, or none are kept
	meters    [2]*telemetry.Source // what this app has put in force for scrapes, and what was before

	deps, depsBefore *recovery.Deps // the same for recoveries

	fleetBefore *sharedFleet // what was in force before Start; nil: none

	answersBefore int64 // how many bytes of answers were kept before Start
}

// CaddyModule returns the Caddy module information.
func (App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "firebreak",
		New: func() caddy.Module { return new(App) },
	}
}

// Provision checks the settings, loads the directory and takes hold of the
// process-wide guard. It changes nothing that is running: the configuration
// may still fail to load, or may only be validated.
func (a *App) Provision(ctx caddy.Context) error {
	a.ctx = ctx
	a.log = ctx.Logger()
	a.live = new(live)
	if a.Workers == 0 && a.WorkersPerServer == 0 && !a.WorkersAuto {
		return errors.New("the size of the pool is not known: add the global option firebreak { workers N }, with N the number of requests that all API servers together serve at once (JSON: apps.firebreak.workers), workers N per_server, or workers auto")
	}
	var err error
	if a.policy, err = a.policyFor(config.Parts{}); err != nil {
		return err
	}
	if err = knownChecks(a.policy); err != nil {
		return err
	}
	if err = workers.CheckStatuses(a.policy); err != nil {
		return err
	}
	if err = a.Incidents.Validate(); err != nil {
		return err
	}
	if err = a.loadDirectory(); err != nil {
		return err
	}
	if a.events, err = telemetry.NewReporter(ctx); err != nil {
		return err
	}
	if a.shared, err = holdGuard(a.policy); err != nil {
		return err
	}
	a.holds = true
	if a.sharesAuto() {
		if a.policy, err = a.policyFor(a.shared.sharing.Latest()); err != nil {
			return err
		}
	}
	if _, err = telemetry.Register(ctx.GetMetricsRegistry()); err != nil {
		return err
	}
	if a.recoveries, err = holdRecoveries(); err != nil {
		return err
	}
	a.holdsRecoveries = true
	if err = a.holdAnswers(); err != nil {
		return err
	}
	return a.openBoard()
}

func (a *App) loadDirectory() error {
	a.directory = noDirectory{}
	if a.DirectoryRaw == nil {
		return nil
	}
	module, err := a.ctx.LoadModule(a, "DirectoryRaw")
	if err != nil {
		return err
	}
	directory, err := directories.OfModule(module)
	if err != nil {
		return fmt.Errorf("directory: %w", err)
	}
	a.directory = directory
	return nil
}

// Start puts the settings in force and starts the background work.
func (a *App) Start() error {
	if err := a.shared.memory.Claim(snapshot.Path(caddy.AppDataDir(), a.hostName())); err != nil {
		return err
	}
	mine := a.settings()
	a.live.mu.Lock()
	a.live.mine, a.live.previous = mine, a.shared.put(mine)
	a.live.mu.Unlock()
	a.followServers()
	a.shared.memory.Follow(a.log)
	a.shared.watches.Follow(a.log, a.fastCGIServers())
	a.shared.others.Follow(a.log, a.listeners(), a.Share != "")
	a.followMeters()
	a.logStart(mine.zones)
	a.startFleet()
	ctx, cancel := context.WithCancel(context.Background())
	a.live.stop, a.live.ended = cancel, ctx.Done()
	a.admin = a.newAdminAPI()
	boards.Store(a.stateID, a.board)
	a.holdIncidents()
	a.keepAnswers()
	a.live.work.Go(func() { a.events.Run(ctx, a.eventSources()) })
	a.live.work.Go(func() { a.board.Run(ctx) })
	from := a.episodeSource() // Cleanup takes its backend away
	a.live.work.Go(func() { a.shared.episodes.Run(ctx, from) })
	if a.sharesAuto() {
		a.live.work.Go(func() { a.followShare(ctx) })
	}
	a.setRecoveryDeps()
	if watcher, ok := a.directory.(directories.Watcher); ok {
		a.live.work.Go(func() { watcher.Watch(ctx, a.directoryChanged) })
	}
	return nil
}

// Stop ends the background work. If the configuration failed to load, so that
// no other came after it, the settings before it are put back.
func (a *App) Stop() error {
	if a.live.stop == nil {
		return nil
	}
	a.live.stop()
	boards.CompareAndDelete(a.stateID, a.board)
	done := make(chan struct{})
	go func() {
		a.live.work.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(stopPatience):
		a.log.Warn(telemetry.LogStopTimedOut, zap.Duration("waited", stopPatience))
	}
	a.releaseIncidents()
	a.unfollowServers()
	a.unkeepAnswers()
	a.live.mu.Lock()
	defer a.live.mu.Unlock()
	a.shared.replace(a.live.mine, a.live.previous)
	a.shared.watches.Reconcile()
	a.live.mine, a.live.previous = nil, nil
	a.stopFleet()
	a.unfollowMeters()
	a.recoveries.Replace(a.live.deps, a.live.depsBefore)
	a.live.deps, a.live.depsBefore = nil, nil
	return nil
}

// validated is the cause for which Caddy cancels a configuration that it has
// only validated.
const validated = "validation complete"

// Cleanup gives the guard back; the last one to do so ends it. Requests that
// are still in flight may go on using it.
//
// A configuration that was only validated is never started; this is where its
// warnings are told.
func (a *App) Cleanup() error {
	if a.ctx.Context == nil {
		return nil // nothing was provisioned
	}
	if cause := context.Cause(a.ctx); cause != nil && cause.Error() == validated {
		a.warn()
	}
	err := errors.Join(a.dropFleet(), a.dropRecoveries(), a.dropAnswers())
	a.closeBoard()
	if !a.holds {
		return err
	}
	a.holds = false
	return errors.Join(err, releaseGuard())
}

// Guard is the process-wide guard.
func (a *App) Guard() *breaker.Guard { return a.shared.Guard }

// Directory says where stores live. It is never nil.
func (a *App) Directory() routing.Directory { return a.directory }

// Board holds the operators' switches. It is never nil.
func (a *App) Board() *maintenance.Board { return a.board }

// Policy is this app's settings, with all defaults filled in.
func (a *App) Policy() *config.Policy { return a.policy }

// RegisterHandler makes a handler known to the admin API. Handlers call it
// when they are provisioned.
func (a *App) RegisterHandler(h *Handler) {
	a.live.mu.Lock()
	defer a.live.mu.Unlock()
	a.live.handlers = append(a.live.handlers, h)
}

// registeredHandlers are this app's handlers, in the order they registered.
func (a *App) registeredHandlers() []*Handler {
	a.live.mu.Lock()
	defer a.live.mu.Unlock()
	return slices.Clone(a.live.handlers)
}

// directoryChanged tells the guard which zones there are now.
func (a *App) directoryChanged() {
	a.live.mu.Lock()
	defer a.live.mu.Unlock()
	if next := a.settings(); a.shared.replace(a.live.mine, next) {
		a.live.mine = next
	}
}

func (a *App) settings() *settings {
	zones := a.directory.Zones()
	for i := range zones {
		// A name from a directory may share memory with all of its table.
		zones[i] = strings.Clone(zones[i])
	}
	return &settings{policy: cmp.Or(a.live.policy, a.policy), zones: zones}
}

// Interface guards.
var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
