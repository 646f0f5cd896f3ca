package caddymodule

import (
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/firebreak-proxy/firebreak/maintenance"
	"github.com/firebreak-proxy/firebreak/stale"
)

// memories holds the one memory of answers of the process, which survives reloads as
// the guard does.
var memories = caddy.NewUsagePool()

const memoriesKey = "answers"

// sharedAnswers is the memory, and the app whose handlers set its size.
type sharedAnswers struct {
	*stale.Memory

	mu    sync.Mutex // guards below
	owner *App
}

// Destruct implements caddy.Destructor.
func (s *sharedAnswers) Destruct() error { return nil }

// holdAnswers takes a reference to the memory.
func (a *App) holdAnswers() error {
	value, _, err := memories.LoadOrNew(memoriesKey, func() (caddy.Destructor, error) {
		return &sharedAnswers{Memory: stale.New(0)}, nil
	})
	if err == nil {
		a.answers, a.holdsAnswers = value.(*sharedAnswers), true
	}
	return err
}

// dropAnswers gives the reference back. Requests that are still in flight may go on
// using the memory.
func (a *App) dropAnswers() error {
	if !a.holdsAnswers {
		return nil
	}
	a.holdsAnswers = false
	_, err := memories.Delete(memoriesKey)
	return err
}

// keepAnswers puts the handlers' settings in force.
func (a *App) keepAnswers() {
	a.nameHandlers()
	size := a.answersSize()
	a.answers.mu.Lock()
	defer a.answers.mu.Unlock()
	before := a.answers.Resize(size)
	a.answers.owner = a
	a.live.mu.Lock()
	defer a.live.mu.Unlock()
	a.live.answersBefore = before
}

// unkeepAnswers puts the size before back in force, if no other app has come
// meanwhile.
func (a *App) unkeepAnswers() {
	a.live.mu.Lock()
	before := a.live.answersBefore
	a.live.mu.Unlock()
	a.answers.mu.Lock()
	defer a.answers.mu.Unlock()
	if a.answers.owner == a {
		a.answers.owner = nil
		a.answers.Resize(before)
	}
}

// answersSize is how many bytes the handlers keep: the most that one of them says.
func (a *App) answersSize() (size int64) {
	for _, h := range a.registeredHandlers() {
		if h.Stale != nil {
			size = max(size, h.Stale.Size())
		}
	}
	return size
}

// nameHandlers gives each handler the name under which it keeps answers: its place
// among those of its server, which stays the same when other settings change.
func (a *App) nameHandlers() {
	a.live.mu.Lock()
	app := a.live.http
	a.live.mu.Unlock()
	if app == nil {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(app.Servers)) {
		server := app.Servers[name]
		var found []*Handler
		findHandlers(server.Routes, server.NamedRoutes, 0, &found)
		for i, h := range found {
			if h.Stale != nil {
				h.keeper.Store(stale.NewKeeper(a.answers.Memory, h.Stale, fmt.Sprintf("%s %d/%d", name, i, len(found))))
			}
		}
	}
}

// findHandlers lists the firebreak handlers of routes in order, each once.
func findHandlers(routes caddyhttp.RouteList, named map[string]*caddyhttp.Route, depth int, found *[]*Handler) {
	if depth > maxRouteDepth {
		return
	}
	for i := range routes {
		for _, handler := range routes[i].Handlers {
			switch h := handler.(type) {
			case *Handler:
				if !slices.Contains(*found, h) {
					*found = append(*found, h)
				}
			case *caddyhttp.Subroute:
				findHandlers(h.Routes, named, depth+1, found)
			case *caddyhttp.Invoke:
				if route := named[h.Name]; route != nil {
					findHandlers(caddyhttp.RouteList{*route}, named, depth+1, found)
				}
			}
		}
	}
}

// releaseAnswers forgets the answers of what comes out of maintenance: they may be
// from before a repair.
func (a *App) releaseAnswers(released []maintenance.Target) {
	for _, t := range released {
		switch t.Scope {
		case maintenance.All:
			a.answers.PurgeAll()
		case maintenance.Zone:
			a.answers.PurgeZone(t.Name)
		case maintenance.Store:
			a.answers.PurgeStore(t.Name)
		case maintenance.Server, maintenance.Stale:
		}
	}
}
