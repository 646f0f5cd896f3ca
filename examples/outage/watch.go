package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/firebreak-proxy/firebreak/examples/outage/api"
)

const (
	poolEvery  = 20 * time.Millisecond
	stateEvery = 50 * time.Millisecond
)

// never stands for a moment that did not come.
const never time.Duration = -1

// sightings is what was read at the pool and at the proxy's admin endpoint.
type sightings struct {
	busy             int // now
	worst, worstSick int // workers busy at worst, in all and with the sick zone
	allBusy          time.Duration
	zoneOpen         time.Duration
}

// watcher reads the pool's side port and the zone's state while a fault plays.
type watcher struct {
	sick     string
	start    time.Time
	watchers sync.WaitGroup

	mu   sync.Mutex // guards below
	seen sightings
}

func (s *stage) watch(ctx context.Context, sick string, start time.Time) *watcher {
	w := &watcher{sick: sick, start: start, seen: sightings{allBusy: never, zoneOpen: never}}
	poolClient := &http.Client{Timeout: 500 * time.Millisecond}
	stateClient := &http.Client{Timeout: 500 * time.Millisecond}
	w.watchers.Go(func() {
		every(ctx, poolEvery, func() { w.readPool(poolClient, s.pool) })
	})
	w.watchers.Go(func() {
		every(ctx, stateEvery, func() { w.readZone(stateClient, s.admin) })
	})
	return w
}

func every(ctx context.Context, d time.Duration, do func()) {
	ticker := time.NewTicker(d)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			do()
		}
	}
}

// stop waits for the last look and returns what was seen.
func (w *watcher) stop() sightings {
	w.watchers.Wait()
	return w.now()
}

func (w *watcher) now() sightings {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seen
}

// readPool looks at the pool. A pool that is away (the API server was killed)
// has no busy workers.
func (w *watcher) readPool(client *http.Client, pool string) {
	var state api.State
	_ = getJSON(client, "http://"+pool+"/pool", &state)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen.busy = state.Busy
	w.seen.worst = max(w.seen.worst, state.WorstBusy)
	w.seen.worstSick = max(w.seen.worstSick, state.WorstByZone[w.sick])
	if w.seen.allBusy == never && state.Workers > 0 && state.Busy == state.Workers {
		w.seen.allBusy = time.Since(w.start)
	}
}

// readZone looks at the state of the sick zone; plain Caddy knows none.
func (w *watcher) readZone(client *http.Client, admin string) {
	var zone struct {
		State string `json:"state"`
	}
	if getJSON(client, "http://"+admin+"/firebreak/zones/"+w.sick, &zone) != nil || zone.State != "open" {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.seen.zoneOpen == never {
		w.seen.zoneOpen = time.Since(w.start)
	}
}

func getJSON(client *http.Client, address string, into any) error {
	resp, err := client.Get(address)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", address, resp.Status)
	}
	return json.NewDecoder(resp.Body).Decode(into)
}

// tell writes the progress to standard error: on a terminal a line that is
// rewritten each second, else a line every five. The returned function ends it.
func tell(name string, which side, o options, start time.Time, w *watcher) func() {
	info, err := os.Stderr.Stat()
	terminal := err == nil && info.Mode()&os.ModeCharDevice != 0
	interval, ending := 5*time.Second, "\n"
	if terminal {
		interval, ending = time.Second, "\033[K\r"
	}
	ctx, cancel := context.WithCancel(context.Background())
	var teller sync.WaitGroup
	teller.Go(func() {
		every(ctx, interval, func() {
			fmt.Fprintf(os.Stderr, "%s through %s: %s, %g requests/s, workers busy %d of %d%s",
				name, which.title(), phase(o, time.Since(start)), o.rate, w.now().busy, o.workers, ending)
		})
	})
	return func() {
		cancel()
		teller.Wait()
		if terminal {
			fmt.Fprintln(os.Stderr)
		}
	}
}

func phase(o options, t time.Duration) string {
	for _, p := range []struct {
		name   string
		length time.Duration
	}{{"calm", o.calm}, {"fault", o.fault}, {"healed", o.after}} {
		if t < p.length {
			return fmt.Sprintf("%s %.0f of %.0f s", p.name, t.Seconds(), p.length.Seconds())
		}
		t -= p.length
	}
	return "last answers"
}
