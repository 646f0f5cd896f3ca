package caddymodule_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
)

// lab is a shop's traffic to two zones of twenty stores each.
type lab struct {
	s      *sidecar
	client *http.Client
	began  time.Time

	mu   sync.Mutex // guards below
	seen []seen
}

// seen is one answer, as a client sees it.
type seen struct {
	zone   string
	at     time.Duration // of the request, since the beginning
	took   time.Duration
	status int
	memory bool
}

// visit is one client's request: of a store and a page that are more or less popular,
// one in five of a page that nobody asked for before.
func (l *lab) visit(r *rand.Rand, n int) {
	pages, stores := rand.NewZipf(r, 1.2, 1, 99), rand.NewZipf(r, 1.2, 1, 19)
	zone := []string{"z1", "z2"}[r.IntN(2)]
	path := fmt.Sprintf("/page/%d?key=%s-%d", pages.Uint64(), zone, stores.Uint64())
	if r.IntN(5) == 0 {
		path = fmt.Sprintf("/search/%d-%d?key=%s-%d", n, r.Uint32(), zone, stores.Uint64())
	}
	begin := time.Now()
	res, err := l.client.Get("http://" + l.s.site + path)
	one := seen{zone: zone, at: begin.Sub(l.began), took: time.Since(begin)}
	if err == nil {
		_, _ = io.Copy(io.Discard, res.Body)
		res.Body.Close()
		one.status, one.memory = res.StatusCode, res.Header.Get("Cache-Status") != ""
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen = append(l.seen, one)
}

// run sends requests for a while, one each time.
func (l *lab) run(t *testing.T, length, each time.Duration, seed uint64) {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 1))
	var clients sync.WaitGroup
	ticks := time.NewTicker(each)
	defer ticks.Stop()
	for n, end := 0, time.Now().Add(length); time.Now().Before(end); n++ {
		<-ticks.C
		own := rand.New(rand.NewPCG(r.Uint64(), r.Uint64()))
		clients.Go(func() { l.visit(own, n) })
	}
	clients.Wait()
}

// TestStaleShop: a zone freezes under the traffic of a shop. From one second on, most
// of its GETs are answered from memory at once; the other zone notices nothing.
func TestStaleShop(t *testing.T) {
	var frozen sync.Map // zone → true
	stuck := newGate(t)
	address := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		zone, _, _ := strings.Cut(r.URL.Query().Get("key"), "-")
		if _, is := frozen.Load(zone); is {
			stuck.wait()
		}
		time.Sleep(5 * time.Millisecond)
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"path": %q, "filler": %q}`, r.URL.Path, strings.Repeat("x", 2000))
	})
	var zones strings.Builder
	for _, zone := range []string{"z1", "z2"} {
		fmt.Fprintf(&zones, "zone %s {\nstores", zone)
		for i := range 20 {
			fmt.Fprintf(&zones, " %s-%d", zone, i)
		}
		zones.WriteString("\n}\n")
	}
	s := startSidecar(t, "workers 32\nzone * {\ntimeout 1s\nslow_after 500ms\n}\ndirectory inline {\n"+zones.String()+"}",
		fmt.Sprintf(guarded, "stale 10m", fmt.Sprintf("reverse_proxy %s {\ntransport firebreak\n}", address)))
	l := &lab{s: s, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 100}, Timeout: 10 * time.Second}, began: time.Now()}
	t.Cleanup(l.client.CloseIdleConnections)
	l.run(t, 8*time.Second, time.Millisecond, 1) // what takes minutes otherwise
	l.seen = nil
	frozen.Store("z1", true)
	l.began = time.Now()
	l.run(t, 6*time.Second, 4*time.Millisecond, 2)
	if z, _ := s.app(t).Guard().Zone("z1"); z.State == breaker.Calm {
		t.Fatal("zone z1 is calm although it is frozen")
	}
	l.judge(t)
}

func (l *lab) judge(t *testing.T) {
	t.Helper()
	var all, memory, quick, well, others int
	var took []time.Duration
	for _, one := range l.seen {
		if one.zone == "z2" {
			if others++; one.status == 200 && !one.memory {
				well++
			}
			continue
		}
		if one.at < time.Second {
			continue
		}
		if all++; one.status == 200 && one.memory {
			memory++
			took = append(took, one.took)
			if one.took < 5*time.Millisecond {
				quick++
			}
		}
	}
	if len(took) == 0 {
		t.Fatal("nothing was answered from memory")
	}
	slices.Sort(took)
	t.Logf("frozen zone: %d of %d GETs (%.0f %%) answered 200 from memory, %.0f %% of all in less than 5 ms; p50 %s, p99 %s", memory, all,
		100*float64(memory)/float64(all), 100*float64(quick)/float64(all), took[len(took)/2], took[len(took)*99/100])
	t.Logf("the other zone: %d of %d ok", well, others)
	if memory*10 < all*6 {
		t.Errorf("%d of %d GETs are answered from memory, want 60 %%", memory, all)
	}
	if quick*10 < all*6 && os.Getenv("FIREBREAK_STRICT") != "" {
		t.Errorf("%d of %d GETs are answered from memory in less than 5 ms, want 60 %%", quick, all)
	}
	if well*1000 < others*999 {
		t.Errorf("%d of %d requests of the other zone are ok", well, others)
	}
}
