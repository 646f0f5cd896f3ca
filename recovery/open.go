package recovery

import (
	"cmp"
	"slices"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/routing"
)

const (
	// openEvery is how often open zones are looked for.
	openEvery = 250 * time.Millisecond

	// openPause is the time between two checks of an open zone.
	openPause = time.Second

	// openStores is how many of the stores that were served last take turns.
	openStores = 8

	// openListed bounds how many stores of a zone are looked through for those.
	openListed = 100_000
)

// endOpenStates checks stores of zones that their breakers have opened, where
// that is configured. When two of a zone's stores pass, the guard ends the open
// state. There is at most one check for a zone at a time, in its probe slots,
// and none while the worker of the last one is stuck.
func (a *Jobs) endOpenStates() {
	zones := make(map[string]*openZone)
	for sleep(a.ctx, openEvery) {
		w := a.Deps()
		if w == nil {
			continue
		}
		open := w.Guard.OpenZones()
		for name := range zones {
			if !slices.ContainsFunc(open, func(z breaker.OpenZone) bool { return z.Zone == name }) {
				delete(zones, name)
			}
		}
		for _, z := range open {
			policy := w.Policy.Zone(z.Zone)
			if z.Checked || policy.StoreCheck == nil || !policy.StoreCheck.EndsOpen {
				continue
			}
			state := zones[z.Zone]
			if state == nil || !state.since.Equal(z.Since) {
				state = &openZone{since: z.Since, stores: w.servedLately(z.Zone)}
				zones[z.Zone] = state
			}
			a.checkOpen(w, z.Zone, state, policy.StoreCheck)
		}
	}
}

// openZone is a zone while it is open.
type openZone struct {
	since  time.Time
	stores []string // whose turn it is to be checked, first
	nextAt time.Time
}

// checkOpen checks the next store of an open zone, if it is time for that.
func (a *Jobs) checkOpen(w *Deps, zone string, z *openZone, p *config.StoreCheckPolicy) {
	now := time.Now()
	if now.Before(z.nextAt) || len(z.stores) == 0 {
		return
	}
	store := z.stores[0]
	slot, refusal := w.Guard.AdmitCheck(breaker.CheckRequest{Zone: zone, Store: store, Timeout: p.Timeout, Probe: true, EndsOpen: true})
	if refusal != nil {
		return
	}
	z.stores = append(z.stores[1:], store)
	z.nextAt = now.Add(openPause)
	a.work.Go(func() { _ = a.opts.Checker.Check(slot, p, zone, store) }) // the guard knows how it went
}

// servedLately are stores of a zone that were served last and are not in
// maintenance.
func (w *Deps) servedLately(zone string) (stores []string) {
	type served struct {
		store string
		ago   time.Duration
	}
	var all []served
	if lister, ok := w.Directory.(routing.Lister); ok {
		picture, n := w.Guard.Served(zone), 0
		lister.EachStore(zone, func(store string) bool {
			if ago, ok := picture.Ago(store); ok && w.Board.Lookup(zone, store) == nil {
				all = append(all, served{store, ago})
			}
			n++
			return n < openListed
		})
	}
	slices.SortFunc(all, func(x, y served) int { return cmp.Compare(x.ago, y.ago) })
	for _, s := range all[:min(len(all), openStores)] {
		stores = append(stores, s.store)
	}
	if len(stores) < storesToEnd {
		for _, store := range w.Guard.Asked(zone, openStores) {
			if w.Board.Lookup(zone, store) == nil && !slices.Contains(stores, store) {
				stores = append(stores, store)
			}
		}
	}
	return stores
}

// storesToEnd is how many stores must pass for an open state to end.
const storesToEnd = 2
