package breaker_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/config"
)

// pool is an API server: workers that block for as long as their store's
// database does, whatever their clients do meanwhile. It runs in a synctest
// bubble and drives the guard as the handler and the transport do.
type pool struct {
	t     *testing.T
	guard *breaker.Guard

	mu      sync.Mutex
	healed  map[string]chan struct{} // zone or zone/store: closed when it heals
	fails   map[string]bool          // zone or zone/store: answers with an error
	delay   map[string]time.Duration
	busy    map[string]int // workers really busy, by zone
	worst   map[string]int
	results []result
	details map[string]int // why requests were refused
	wg      sync.WaitGroup

	failShare func(zone string) bool          // whether a request fails; nil: none does
	takes     func() time.Duration            // how long a worker takes; nil: 20 ms
	hangs     func(zone string) bool          // whether a request hangs until its worker is killed; nil: none does
	killAfter time.Duration                   // a worker busy for so long is killed; 0: never
	down      bool                            // no process listens
	killed    chan struct{}                   // closed when the API server is killed
	servers   []string                        // API servers; empty: one, which is not named
	pick      func(slot *breaker.Slot) string // chooses one
	dead      map[string]bool                 // servers that refuse connections
	slowBy    map[string]time.Duration        // servers that take longer
	sick      map[string]bool                 // servers that answer with errors
	booted    time.Time                       // workers answer nothing before
}

type result struct {
	at          time.Time
	zone, store string
	outcome     string // ok, failed, hung, or the reason of a refusal
	proven      bool   // the guard held the store for proven when the request came
	took        time.Duration
}

func newPool(t *testing.T, app config.App) *pool {
	t.Helper()
	p, err := app.Policy()
	if err != nil {
		t.Fatal(err)
	}
	pool := &pool{
		t:      t,
		healed: map[string]chan struct{}{}, fails: map[string]bool{}, delay: map[string]time.Duration{},
		busy: map[string]int{}, worst: map[string]int{}, details: map[string]int{}, killed: make(chan struct{}),
	}
	pool.guard = twelveZones(p, pool.check)
	return pool
}

// check is the zones' check: it asks the database itself.
func (p *pool) check(ctx context.Context, zone string, _ *config.Check) error {
	p.mu.Lock()
	frozen := p.healed[zone] != nil
	p.mu.Unlock()
	if frozen {
		<-ctx.Done()
	}
	return ctx.Err()
}

func twelveZones(p *config.Policy, check func(context.Context, string, *config.Check) error) *breaker.Guard {
	g := breaker.New(p, breaker.Options{Check: check})
	names := make([]string, 12)
	for i := range names {
		names[i] = fmt.Sprintf("z%d", i+1)
	}
	g.Apply(p, names)
	return g
}

// restart kills firebreak and starts it again, with what it kept of the last
// guard. The API server and its workers notice nothing.
func (p *pool) restart() {
	p.t.Helper()
	old := p.guard
	kept, err := json.Marshal(old.Snapshot())
	if err != nil {
		p.t.Fatal(err)
	}
	var snapshot breaker.Snapshot
	if err := json.Unmarshal(kept, &snapshot); err != nil {
		p.t.Fatal(err)
	}
	next := twelveZones(old.Policy(), p.check)
	next.Restore(snapshot)
	p.mu.Lock()
	p.guard = next
	p.mu.Unlock()
	old.Close()
}

// current is the guard that requests meet now.
func (p *pool) current() *breaker.Guard {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.guard
}

func twoSeconds() config.App {
	return config.App{Workers: 32, Zones: []config.Zone{{Name: "*", Timeout: config.Duration(2 * time.Second)}}}
}

func (p *pool) close() {
	p.mu.Lock()
	for _, ch := range p.healed {
		close(ch)
	}
	p.healed = map[string]chan struct{}{}
	p.mu.Unlock()
	p.wg.Wait()
	p.guard.Close()
}

// pickBy has API servers chosen in another way. It returns the one before.
func (p *pool) pickBy(pick func(slot *breaker.Slot) string) (before func(slot *breaker.Slot) string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	before, p.pick = p.pick, pick
	return before
}

func (p *pool) freeze(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.healed[name] = make(chan struct{})
}

func (p *pool) heal(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if ch := p.healed[name]; ch != nil {
		close(ch)
		delete(p.healed, name)
	}
}

// lose heals a zone whose queries are lost: the workers that wait for them go on
// waiting.
func (p *pool) lose(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.healed[name+" lost"] = p.healed[name]
	delete(p.healed, name)
}

// setFail makes a zone, or a store ("zone/store"), answer with errors.
func (p *pool) setFail(name string, fails bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fails[name] = fails
}

// worstOf is how many workers the zone occupied at worst.
func (p *pool) worstOf(zone string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.worst[zone]
}

// crash kills the API server with everything it has in hand.
func (p *pool) crash() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = true
	close(p.killed)
}

// boot starts the API server again; its workers need some time.
func (p *pool) boot(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down, p.killed, p.booted = false, make(chan struct{}), time.Now().Add(d)
}

// work is what a worker does, and how it ends.
func (p *pool) work(server, zone, store string) breaker.Outcome {
	p.mu.Lock()
	down, killed, boots := p.down, p.killed, time.Until(p.booted)
	if down {
		p.mu.Unlock()
		return breaker.NoUpstream
	}
	p.busy[zone]++
	p.worst[zone] = max(p.worst[zone], p.busy[zone])
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		p.busy[zone]--
		p.mu.Unlock()
	}()
	time.Sleep(boots)
	var kill <-chan time.Time
	if p.killAfter > 0 {
		kill = time.After(p.killAfter)
	}
	p.mu.Lock()
	if p.hangs != nil && p.hangs(zone) {
		p.mu.Unlock()
		select {
		case <-kill:
		case <-killed:
		}
		return breaker.Broken
	}
	p.mu.Unlock()
	for _, name := range []string{zone, zone + "/" + store, server} {
		p.mu.Lock()
		ch := p.healed[name]
		p.mu.Unlock()
		if ch == nil {
			continue
		}
		select {
		case <-ch:
		case <-kill:
			return breaker.Broken
		case <-killed:
			return breaker.Broken
		}
	}
	p.mu.Lock()
	d := 20 * time.Millisecond // under p.mu, as takes is called
	if p.takes != nil {
		d = p.takes()
	}
	d = max(d, p.delay[zone], p.delay[zone+"/"+store], p.slowBy[server])
	p.mu.Unlock()
	select {
	case <-time.After(d):
	case <-killed:
		return breaker.Broken
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sick[server] {
		return breaker.Failure
	}
	if p.failShare != nil && p.failShare(zone) {
		return breaker.Failure
	}
	if p.fails[zone] || p.fails[zone+"/"+store] {
		return breaker.Failure
	}
	return breaker.OK
}

// send sends one request and does not wait for its end.
func (p *pool) send(zone, store string) { p.sendFor(zone, store, time.Hour) }

// sendAs sends a request of a store that takes as long as another one's.
func (p *pool) sendAs(zone, store, like string) {
	slot, refusal := p.current().Admit(context.Background(), breaker.Request{Zone: zone, Store: store})
	if refusal != nil {
		p.t.Errorf("%s/%s refused: %s", zone, store, refusal.Detail)
		return
	}
	slot.Track()
	p.wg.Go(func() {
		o := p.work("", zone, like)
		slot.Answer(o)
		slot.End(o)
	})
	p.wg.Go(func() {
		time.Sleep(slot.Timeout())
		slot.Hang()
	})
}

// sendFor sends the request of a client that leaves after its patience.
func (p *pool) sendFor(zone, store string, patience time.Duration) {
	p.wg.Go(func() {
		began := time.Now()
		proven := p.current().Store(zone, store).Proven
		outcome := p.request(zone, store, patience)
		p.mu.Lock()
		defer p.mu.Unlock()
		p.results = append(p.results, result{began, zone, store, outcome, proven, time.Since(began)})
	})
}

func (p *pool) request(zone, store string, patience time.Duration) string {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	slot, refusal := p.current().Admit(ctx, breaker.Request{Zone: zone, Store: store, Shared: zone == config.UnknownZone})
	if refusal != nil {
		p.mu.Lock()
		p.details[refusal.Detail]++
		p.mu.Unlock()
		return string(refusal.Reason)
	}
	slot.Track()
	server := p.choose(slot)
	answer := make(chan breaker.Outcome, 1)
	p.wg.Go(func() {
		o := p.work(server, zone, store)
		answer <- o
		slot.End(o)
	})
	select {
	case o := <-answer:
		slot.Answer(o)
		return o.String()
	case <-time.After(slot.Timeout()):
		slot.Hang()
		return "hung"
	case <-ctx.Done():
		slot.Leave()
		return "gone"
	}
}

// choose sends the request to an API server; one that refuses connections costs
// nothing, the next one is tried.
func (p *pool) choose(slot *breaker.Slot) string {
	p.mu.Lock()
	n, pick := len(p.servers), p.pick
	p.mu.Unlock()
	if pick == nil {
		return ""
	}
	for range n {
		server := pick(slot)
		p.mu.Lock()
		dead := p.dead[server]
		p.mu.Unlock()
		if !dead {
			return server
		}
		slot.NotSent(server)
	}
	return ""
}

// watchProven returns the ok % of the zone's innocent stores that are proven,
// from now on.
func (p *pool) watchProven(zone string, guilty map[string]bool) func() float64 {
	since := time.Now()
	return func() float64 {
		return okPercent(p, since, func(r result) bool { return r.zone == zone && r.proven && !guilty[r.store] })
	}
}

// load sends requests at a constant rate for d, to the zones in turn.
func (p *pool) load(d time.Duration, perSecond int, pick func(i int) (zone, store string)) {
	for i := range int(d.Seconds() * float64(perSecond)) {
		p.send(pick(i))
		time.Sleep(time.Second / time.Duration(perSecond))
	}
}

// count counts results since t that match.
func (p *pool) count(since time.Time, match func(result) bool) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.results {
		if !r.at.Before(since) && match(r) {
			n++
		}
	}
	return n
}

func (p *pool) state(zone string) breaker.ZoneStatus {
	s, _ := p.guard.Zone(zone)
	return s
}

// allZones rotates over 12 zones with 100 stores each, popular ones more often.
func allZones(i int) (zone, store string) {
	zone = fmt.Sprintf("z%d", i%12+1)
	n := (i / 12 * 7919) % 199
	return zone, fmt.Sprintf("s%d", n*n/400)
}

// lognormal is a factor around 1 with so many deviations of its logarithm.
func lognormal(random *rand.Rand, sigma float64) float64 {
	return math.Exp(sigma * random.NormFloat64())
}
