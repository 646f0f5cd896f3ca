//go:build e2e

package e2e_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"
)

// watch reads GET /firebreak/status again and again, as an operator's screen
// would.
type watch struct {
	mu    sync.Mutex // guards below
	seen  []picture
	fails int
}

type picture struct {
	at      time.Time
	suspect bool
	zones   map[string]zoneStatus
}

func (p *proxy) watch(t *testing.T) *watch {
	w := &watch{}
	stop := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		tick := time.NewTicker(25 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				w.look(p)
			}
		}
	})
	t.Cleanup(func() { close(stop); watching.Wait() })
	return w
}

func (w *watch) look(p *proxy) {
	at := time.Now()
	resp, err := adminClient.Get("http://" + p.admin + "/firebreak/status")
	if err != nil {
		w.miss()
		return
	}
	defer resp.Body.Close()
	var s poolStatus
	if json.NewDecoder(resp.Body).Decode(&s) != nil || resp.StatusCode != http.StatusOK {
		w.miss()
		return
	}
	pic := picture{at: at, suspect: s.PoolSuspect, zones: map[string]zoneStatus{}}
	for _, z := range s.Zones {
		pic.zones[z.Zone] = z
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen = append(w.seen, pic)
}

func (w *watch) miss() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fails++
}

func (w *watch) since(from time.Time) []picture {
	w.mu.Lock()
	defer w.mu.Unlock()
	i := slices.IndexFunc(w.seen, func(p picture) bool { return !p.at.Before(from) })
	if i < 0 {
		return nil
	}
	return slices.Clone(w.seen[i:])
}

// opened is how long after from the zone opened, by firebreak's own word; that
// it really refuses from then on shows in the answers.
func (w *watch) opened(zone string, from time.Time) (time.Duration, bool) {
	for _, p := range w.since(from) {
		if z := p.zones[zone]; z.State == "open" {
			return z.OpenedAt.Sub(from), true
		}
	}
	return 0, false
}

// everOpen lists the zones that were seen open after from.
func (w *watch) everOpen(from time.Time) []string {
	open := map[string]bool{}
	for _, p := range w.since(from) {
		for _, z := range p.zones {
			open[z.Zone] = open[z.Zone] || z.State == "open"
		}
	}
	var names []string
	for zone, was := range open {
		if was {
			names = append(names, zone)
		}
	}
	slices.Sort(names)
	return names
}

// mostOpen is the largest number of zones open at once after from.
func (w *watch) mostOpen(from time.Time) int {
	most := 0
	for _, p := range w.since(from) {
		n := 0
		for _, z := range p.zones {
			if z.State == "open" {
				n++
			}
		}
		most = max(most, n)
	}
	return most
}

// suspected tells whether firebreak suspected the pool after from.
func (w *watch) suspected(from time.Time) bool {
	return slices.ContainsFunc(w.since(from), func(p picture) bool { return p.suspect })
}

// quarantine is what was seen of one store's quarantines.
type quarantine struct {
	first   time.Duration // after the start of the fault
	longest time.Duration // the longest single stay
}

// quarantines lists the stores of a zone that were in quarantine after from.
func (w *watch) quarantines(zone string, from time.Time) map[string]quarantine {
	all := map[string]quarantine{}
	entered := map[string]time.Time{}
	for _, p := range w.since(from) {
		now := map[string]bool{}
		for _, store := range p.zones[zone].Quarantined {
			now[store] = true
			if _, inside := entered[store]; !inside {
				entered[store] = p.at
			}
			q, known := all[store]
			if !known {
				q.first = p.at.Sub(from)
			}
			q.longest = max(q.longest, p.at.Sub(entered[store]))
			all[store] = q
		}
		for store := range entered {
			if !now[store] {
				delete(entered, store)
			}
		}
	}
	return all
}
