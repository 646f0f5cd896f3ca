package caddymodule

import (
	"context"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/caddyserver/caddy/v2"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/recovery"
	"github.com/firebreak-proxy/firebreak/zonecheck"
)

// recoveries holds the one set of recoveries of the process, which survives
// reloads as the guard does.
var recoveries = caddy.NewUsagePool()

const recoveriesKey = "recoveries"

// sharedRecoveries is the recoveries, and the requests that maintenance refuses.
type sharedRecoveries struct {
	*recovery.Jobs
	knocks *knocks
}

// holdRecoveries takes a reference to the recoveries. Nothing is read or
// written yet.
func holdRecoveries() (*sharedRecoveries, error) {
	value, _, err := recoveries.LoadOrNew(recoveriesKey, func() (caddy.Destructor, error) {
		client := new(recovery.Client)
		return &sharedRecoveries{
			Jobs: recovery.New(recovery.Options{
				Checker: client, Repairer: client, Prober: prober{}, Dir: filepath.Join(caddy.AppDataDir(), "firebreak", "recoveries"),
			}),
			knocks: newKnocks(),
		}, nil
	})
	if err != nil {
		return nil, err
	}
	return value.(*sharedRecoveries), nil
}

// prober tries stores for recoveries.
type prober struct{}

// Probe implements [recovery.Prober].
func (prober) Probe(ctx context.Context, zone string, c *config.Check, store string, limit time.Duration) (breaker.Verdict, error) {
	return zonecheck.Probe(ctx, zone, c, store, limit)
}

// Destruct ends the recoveries' part in this process.
func (s *sharedRecoveries) Destruct() error {
	s.Close()
	return nil
}

// recoveryDeps is what the recoveries use of this app.
func (a *App) recoveryDeps() *recovery.Deps {
	return &recovery.Deps{
		Guard: a.Guard(), Policy: a.policy, Directory: a.directory, Board: a.board, Knocks: a.recoveries.knocks.of,
	}
}

// setRecoveryDeps puts this app's dependencies in force.
func (a *App) setRecoveryDeps() {
	deps := a.recoveryDeps()
	before := a.recoveries.Use(deps)
	a.live.mu.Lock()
	defer a.live.mu.Unlock()
	a.live.deps, a.live.depsBefore = deps, before
}

// dropRecoveries gives the recoveries back; the last one to do so ends them in
// this process.
func (a *App) dropRecoveries() error {
	if !a.holdsRecoveries {
		return nil
	}
	a.holdsRecoveries = false
	_, err := recoveries.Delete(recoveriesKey)
	return err
}

// fillCheckHeaders fills placeholders such as {env.CHECK_TOKEN} into the headers
// of the server check, of store checks and of repairs; {store}, {zone} and {key}
// are left for each request.
func fillCheckHeaders(p *config.Policy) {
	repl := caddy.NewReplacer()
	fill := func(c *config.StoreCheckPolicy) {
		if c == nil {
			return
		}
		for name, value := range c.Headers {
			c.Headers[name] = repl.ReplaceKnown(value, "")
		}
	}
	if c := p.ServerCheck; c != nil {
		for name, value := range c.Headers {
			c.Headers[name] = repl.ReplaceKnown(value, "")
		}
	}
	if r := p.Repair; r != nil {
		for name, value := range r.Headers {
			r.Headers[name] = repl.ReplaceKnown(value, "")
		}
	}
	fill(p.Default.StoreCheck)
	for _, zone := range p.Zones {
		fill(zone.StoreCheck)
	}
}

// knocks counts the requests that maintenance refused, by store: how much the
// clients of each want it back. The stores that knocked last are remembered.
type knocks struct {
	stores *lru.Cache[string, *atomic.Uint64]
}

// knownKnocks bounds how many stores are remembered.
const knownKnocks = 20_000

func newKnocks() *knocks {
	stores, _ := lru.New[string, *atomic.Uint64](knownKnocks)
	return &knocks{stores}
}

// note counts a refused request.
func (k *knocks) note(store string) {
	if k == nil {
		return
	}
	if n, ok := k.stores.Get(store); ok {
		n.Add(1)
		return
	}
	one := new(atomic.Uint64)
	one.Store(1)
	if n, found, _ := k.stores.PeekOrAdd(strings.Clone(store), one); found {
		n.Add(1)
	}
}

// of is how many requests of a store were refused.
func (k *knocks) of(store string) uint64 {
	if n, ok := k.stores.Peek(store); ok {
		return n.Load()
	}
	return 0
}
