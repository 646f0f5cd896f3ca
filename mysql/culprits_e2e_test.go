//go:build e2e

package mysql_test

import (
	crand "crypto/rand"
	"database/sql"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/zonecheck"
)

// pool is an API server with 32 workers, whose requests ask the database for a row of
// their store.
type pool struct {
	guard *breaker.Guard
	zone  string
	app   *sql.DB
	tags  bool // queries name their request
	under sync.WaitGroup

	mu      sync.Mutex
	ok, bad int                      // requests of innocents
	asked   map[string]bool          // culprits
	named   map[string]time.Duration // stores in quarantine, and when they came there
	most    int                      // workers of culprits that were hung at a time
	hung    int                      // how many are now
}

const (
	workers  = 32
	deadline = 2 * time.Second
	rate     = 150 // requests per second
)

// request is one request; innocent reports whether its store is well.
func (p *pool) request(t *testing.T, store string, innocent bool) {
	timeout := time.After(deadline)
	slot, refusal := p.guard.Admit(t.Context(), breaker.Request{Zone: p.zone, Store: store})
	answered := make(chan bool, 1)
	if refusal != nil {
		answered <- false
	} else {
		slot.Track()
		tag := "/*store='" + store + "'*/ "
		if p.tags {
			id := crand.Text()
			slot.Tag(id)
			tag = "/*store='" + store + "',request='" + id + "'*/ "
		}
		hang := time.AfterFunc(slot.Timeout(), slot.Hang)
		p.under.Go(func() {
			_, err := p.app.ExecContext(t.Context(), tag+"UPDATE shop.stores SET v = 'y' WHERE id = ?", store)
			hang.Stop()
			if err != nil {
				slot.End(breaker.Failure)
			} else {
				slot.End(breaker.OK)
			}
			answered <- err == nil
		})
	}
	ok := false
	select {
	case ok = <-answered:
	case <-timeout:
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case innocent && ok:
		p.ok++
	case innocent:
		p.bad++
	}
}

// play sends requests of random stores for some time. The first k are culprits.
func (p *pool) play(t *testing.T, k int, length time.Duration) {
	began := time.Now()
	var clients sync.WaitGroup
	for n := 0; time.Since(began) < length; n++ {
		store := rand.IntN(100)
		clients.Go(func() { p.request(t, storeName(store), store >= k) })
		p.note(time.Since(began), store, k)
		time.Sleep(time.Until(began.Add(time.Duration(n+1) * time.Second / rate)))
	}
	clients.Wait()
	p.note(time.Since(began), k, k)
}

// note takes down which stores are in quarantine.
func (p *pool) note(at time.Duration, store, k int) {
	z, _ := p.guard.Zone(p.zone)
	p.mu.Lock()
	defer p.mu.Unlock()
	if store < k {
		p.asked[storeName(store)] = true
	}
	for _, store := range z.Quarantined {
		if _, ok := p.named[store]; !ok {
			p.named[store] = at
		}
	}
	p.most, p.hung = max(p.most, z.Hung), z.Hung
}

// testCulprits: the first k of 100 stores are locked by one session.
func testCulprits(t *testing.T, s *server, k int) {
	policy, err := breaker.NewPolicy(workers, deadline)
	if err != nil {
		t.Fatal(err)
	}
	policy.Default.Check = s.check("firebreak:secret")
	policy.Default.Check.StoreIn, policy.Default.Check.StoreProbe = []string{"comment"}, shareLock
	guard := breaker.New(policy, breaker.Options{Check: zonecheck.Check, Ask: zonecheck.Ask})
	defer guard.Close()
	p := &pool{guard: guard, zone: t.Name(), app: s.open(t, "app"), asked: make(map[string]bool), named: make(map[string]time.Duration)}
	p.app.SetMaxIdleConns(workers)
	p.play(t, 0, time.Second)
	if len(p.named) > 0 {
		t.Errorf("when calm %d stores are in quarantine", len(p.named))
	}
	p.ok, p.bad = 0, 0
	unlock := s.lock(t, k)
	defer unlock()
	p.play(t, k, 6*time.Second)
	z, _ := guard.Zone(p.zone)
	wrong, in5 := 0, 0
	var times []time.Duration
	for store, at := range p.named {
		if store >= storeName(k) {
			wrong++
		}
		if at <= 5*time.Second {
			in5++
		}
		times = append(times, at)
	}
	slices.Sort(times)
	t.Logf("%d culprits of 100, %d asked for: %d named, %d of them within 5 s, the last after %.1f s; %d innocents named; innocents %.2f %% ok of %d; %d workers hung at most; blockers %+v; %s",
		k, len(p.asked), len(p.named)-wrong, in5, times[max(0, len(times)-1)].Seconds(), wrong,
		100*float64(p.ok)/float64(p.ok+p.bad), p.ok+p.bad, p.most, z.Blockers, z.DatabaseTrouble)
	if wrong > 0 {
		t.Errorf("%d innocent stores were in quarantine", wrong)
	}
	if len(p.named) < len(p.asked)*8/10 {
		t.Errorf("%d culprits were in quarantine, of %d that were asked for", len(p.named), len(p.asked))
	}
	if !slices.ContainsFunc(z.Blockers, func(b breaker.Blocker) bool { return b.App == "root" && strings.HasPrefix(b.State, "idle") }) {
		t.Errorf("the blockers are %+v", z.Blockers)
	}
	if p.most > workers/2 {
		t.Errorf("%d workers were hung at a time", p.most)
	}
	unlock()
	p.under.Wait()
}
