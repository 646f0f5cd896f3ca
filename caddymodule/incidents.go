package caddymodule

import (
	"os"
	"path/filepath"
	"sync/atomic"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"

	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/episodes"
	"github.com/firebreak-proxy/firebreak/incidents"
	"github.com/firebreak-proxy/firebreak/maintenance"
	"github.com/firebreak-proxy/firebreak/telemetry"
)

// incidentLogs are the logs of the process, by where they keep their records.
// The configurations that run hold a reference each, so that incidents that are
// going on survive a reload.
var incidentLogs = caddy.NewUsagePool()

// incidentLog is a log and its users.
type incidentLog struct {
	*incidents.Log
	key string              // in incidentLogs
	app atomic.Pointer[App] // whose logger is told of a failing disk
}

// Destruct ends the log when no configuration refers to it any more.
func (l *incidentLog) Destruct() error {
	l.Close()
	return nil
}

// incidentsKey is where this app's incidents are kept, "" if nowhere.
func (a *App) incidentsKey() (key, dir, instance string) {
	o := a.Incidents
	if o == nil {
		o = new(config.Incidents)
	}
	if o.Off {
		return "", "", ""
	}
	if dir = o.Dir; dir == "" {
		dir = filepath.Join(caddy.AppDataDir(), "firebreak", "incidents")
	}
	if absolute, err := filepath.Abs(dir); err == nil {
		dir = absolute
	}
	if instance = a.Instance; instance == "" {
		instance, _ = os.Hostname()
	}
	return dir + "\x00" + instance, dir, instance
}

// holdIncidents takes a reference to the log of incidents. It does not wait for
// the disk.
func (a *App) holdIncidents() {
	key, dir, instance := a.incidentsKey()
	if key == "" {
		return
	}
	value, _, err := incidentLogs.LoadOrNew(key, func() (caddy.Destructor, error) {
		l := &incidentLog{key: key}
		l.app.Store(a)
		l.Log = incidents.Open(incidents.Options{
			Dir: dir, Instance: instance, Keep: a.keepIncidents(), Problem: l.problem, Source: a.incidentSource(),
		})
		return l, nil
	})
	if err != nil {
		return // the constructor has none
	}
	a.live.mu.Lock()
	a.live.incidents = value.(*incidentLog)
	a.live.mu.Unlock()
}

// releaseIncidents gives the reference back.
func (a *App) releaseIncidents() {
	a.live.mu.Lock()
	held := a.live.incidents
	a.live.incidents = nil
	a.live.mu.Unlock()
	if held != nil {
		_, _ = incidentLogs.Delete(held.key)
	}
}

// incidentLog is the log of incidents, or nil if none is kept.
func (a *App) incidentLog() *incidents.Log {
	a.live.mu.Lock()
	defer a.live.mu.Unlock()
	if a.live.incidents == nil {
		return nil
	}
	return a.live.incidents.Log
}

// problem logs that the disk does not take records, or does so again.
func (l *incidentLog) problem(err error) {
	log := l.app.Load().log
	if err == nil {
		log.Info(telemetry.LogIncidentsKept)
		return
	}
	log.Error(telemetry.LogIncidentsLost, zap.Error(err), zap.String(telemetry.FieldNext,
		"nothing else is affected; incidents stay in memory and are written when the disk takes them again; set dir in the option incidents to keep them elsewhere"))
}

// keepIncidents is how many are kept, 0 if nothing is said.
func (a *App) keepIncidents() int {
	if a.Incidents == nil {
		return 0
	}
	return a.Incidents.Keep
}

// watchIncidents has the log look at this app's zones and switches, now that
// its worker reads the events, and begins records of what is going on already.
func (a *App) watchIncidents() *incidents.Log {
	a.live.mu.Lock()
	held := a.live.incidents
	a.live.mu.Unlock()
	if held == nil {
		telemetry.Shared().WatchIncidents(nil)
		return nil
	}
	held.app.Store(a)
	log := held.Log
	log.SetKeep(a.keepIncidents())
	telemetry.Shared().WatchIncidents(log)
	log.Attach(a.incidentSource())
	log.Adopt(a.Guard().Zones())
	return log
}

// incidentSource is where incidents look things up.
func (a *App) incidentSource() incidents.Source {
	return incidents.Source{Zone: a.Guard().Zone, Servers: a.Guard().Servers, Upkeep: telemetry.Shared().RefusedInMaintenance, Memory: telemetry.Shared().AnsweredFromMemory, Switches: a.switchesInForce}
}

// episodeSource is where episodes are looked up. A backend that lets sidecars agree on
// them is used.
func (a *App) episodeSource() episodes.Source {
	from := episodes.Source{Log: a.incidentLog(), Member: a.instanceID()}
	from.Backend, _ = a.backend.(maintenance.Episodes)
	return from
}

// switchesInForce lists the switches in force that refuse requests, with the
// zones they are about, if the state is not the one that the caller has seen.
func (a *App) switchesInForce(seen any) (any, incidents.Switches) {
	state := a.board.View().State
	if seen == any(state) {
		return state, nil
	}
	now := a.board.Now()
	return state, func(yield func(*maintenance.Switch, string) bool) {
		for _, sw := range state.Switches {
			if !sw.Scope.Refuses() || sw.Phase(now) != maintenance.InForce {
				continue
			}
			if !yield(&sw, a.zoneOf(&sw)) {
				return
			}
		}
	}
}

// zoneOf is the zone a switch is about; none for everything's, or for a store's
// that no zone is known to have.
func (a *App) zoneOf(sw *maintenance.Switch) string {
	switch sw.Scope {
	case maintenance.Zone:
		return sw.Name
	case maintenance.Store:
		if route, ok := a.directory.Lookup(sw.Name); ok && route.Store == sw.Name {
			return route.Zone
		}
		return config.UnknownZone
	case maintenance.All, maintenance.Server, maintenance.Stale:
	}
	return ""
}
