package breaker_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/config"
)

// outage is an outage in virtual time: zones or stores that do not answer from one
// moment until another. A worker that asks them is busy until they are back.
type outage struct {
	*world
	workers, zones, stores int
	rate                   float64 // requests per second of each zone

	ill      map[string]interval // by zone, or zone/store
	busy     int                 // workers that are busy with something ill
	worst    int
	asked    int // requests of what is not ill, from the beginning of the outage on
	bad      int // those that had no answer
	healed   int // requests of what was ill, from the heal on
	badAfter int // those that had no answer
	reasons  map[string]int
}

func newOutage(t testing.TB, app *config.App, zones, stores int, rate float64, seed uint64) *outage {
	t.Helper()
	names := make([]string, zones)
	for i := range names {
		names[i] = fmt.Sprint("z", i)
	}
	o := &outage{
		world: newWorld(t, app, names, seed), workers: app.Workers, zones: zones, stores: stores, rate: rate,
		ill: map[string]interval{}, reasons: map[string]int{},
	}
	o.world.serve, o.world.done = o.serve, o.done
	return o
}

// freeze lets a zone, or a store, not answer for a while.
func (o *outage) freeze(from, lasts time.Duration, name string) {
	o.ill[name] = interval{from, from + lasts}
}

// run sends requests until the end.
func (o *outage) run(end time.Duration) {
	o.runWith(o.send, end)
}

func (o *outage) runWith(send func(zone, store string), end time.Duration) {
	o.every(time.Duration(float64(time.Second)/(o.rate*float64(o.zones))), func() {
		u := o.random.Float64() // the lower the number of a store, the more popular it is
		send(fmt.Sprint("z", o.random.IntN(o.zones)), fmt.Sprint("s", int(u*u*float64(o.stores))))
	})
	o.world.run(end)
}

// illness is when the store, or its zone, does not answer.
func (o *outage) illness(zone, store string) interval {
	if i, ok := o.ill[zone]; ok {
		return i
	}
	return o.ill[zone+"/"+store]
}

// serve has a worker serve a request that begins now.
func (o *outage) serve(zone, store string) (time.Duration, breaker.Outcome) {
	takes := time.Duration(20 * float64(time.Millisecond) * lognormal(o.random, .5))
	if i := o.illness(zone, store); o.now < i.to && o.now+takes > i.from {
		stuck := max(i.from, o.now)
		takes += i.to - stuck
		o.at(stuck, func() { o.busy++; o.worst = max(o.worst, o.busy) })
		o.at(o.now+takes, func() { o.busy-- })
	}
	return takes, breaker.OK
}

// begin is when the outage begins.
func (o *outage) begin() time.Duration {
	for _, i := range o.ill {
		return i.from
	}
	return 0
}

func (o *outage) done(r request, _ *breaker.Slot, outcome breaker.Outcome, refusal *breaker.Refusal) {
	i := o.illness(r.zone, r.store)
	if r.sent < o.begin() || i.to > 0 && r.sent < i.to {
		return
	}
	all, bad := &o.asked, &o.bad
	if i.to > 0 {
		all, bad = &o.healed, &o.badAfter
	}
	*all++
	if refusal != nil || outcome != breaker.OK {
		*bad++
		if refusal != nil {
			o.reasons[refusal.Detail]++
		}
	}
}

// innocentOK is the share of the requests of what is not ill that were answered.
func (o *outage) innocentOK() float64 { return 1 - float64(o.bad)/float64(max(1, o.asked)) }

// oracle is the guard that knows what is ill from the first moment to the last. It
// refuses that, and everything else if no worker is free.
type oracle struct {
	*outage
	occupied int
}

func (g *oracle) send(zone, store string) {
	r := request{zone, store, g.now}
	if i := g.illness(zone, store); g.now >= i.from && g.now < i.to || g.occupied >= g.workers {
		g.done(r, nil, 0, &breaker.Refusal{})
		return
	}
	g.occupied++
	takes, _ := g.serve(zone, store)
	g.at(g.now+takes, func() {
		g.occupied--
		g.done(r, nil, breaker.OK, nil)
	})
}

// TestOracle compares the guard with one that knows the truth, in random outages:
// how many workers are lost to what is ill, and how many requests of what is not ill
// are not answered. FIREBREAK_OUTAGES asks for more of them.
func TestOracle(t *testing.T) {
	outages, _ := strconv.Atoi(cmp.Or(os.Getenv("FIREBREAK_OUTAGES"), thorough("40", "10")))
	type figures struct{ lost, worst, asked, bad, healed, badAfter int }
	guard, oracles, byKind := figures{}, figures{}, map[string]*figures{}
	add := func(f *figures, o *outage) {
		f.lost, f.worst = f.lost+o.worst, max(f.worst, o.worst)
		f.asked, f.bad = f.asked+o.asked, f.bad+o.bad
		f.healed, f.badAfter = f.healed+o.healed, f.badAfter+o.badAfter
	}
	for seed := range uint64(outages) {
		o, kind, end := randomOutage(t, seed)
		o.run(end)
		add(&guard, o)
		if byKind[kind] == nil {
			byKind[kind] = new(figures)
		}
		add(byKind[kind], o)
		truth, _, end := randomOutage(t, seed)
		g := &oracle{outage: truth}
		g.runWith(g.send, end)
		add(&oracles, truth)
		if share := o.innocentOK(); share < .98 {
			t.Logf("outage %d, %s, %d workers, %d zones, %.0f requests/s each: %.2f %% of the innocent requests were answered, %d workers lost: %v",
				seed, kind, o.workers, o.zones, o.rate, 100*share, o.worst, o.reasons)
		}
	}
	n := float64(outages)
	refused := func(f *figures) float64 { return 100 * float64(f.bad) / float64(max(1, f.asked)) }
	after := func(f *figures) float64 { return 100 * float64(f.badAfter) / float64(max(1, f.healed)) }
	t.Logf("%d outages: %.2f workers lost to each (at most %d), the oracle loses %.2f (%d): ratio %.1f; innocent requests without an answer %.4f %%, the oracle's %.4f %%; after the heal %.2f %%",
		outages, float64(guard.lost)/n, guard.worst, float64(oracles.lost)/n, oracles.worst, float64(guard.lost)/float64(max(1, oracles.lost)), refused(&guard), refused(&oracles), after(&guard))
	for kind, f := range byKind {
		t.Logf("%s: innocent requests without an answer %.4f %%, after the heal %.2f %%, at most %d workers lost", kind, refused(f), after(f), f.worst)
	}
	if got := refused(&guard); got > oracleRefused {
		t.Errorf("%.3f %% of the innocent requests had no answer, want at most %.2f %%", got, oracleRefused)
	}
	if got := float64(guard.lost) / float64(max(1, oracles.lost)); got > oracleLost {
		t.Errorf("the guard loses %.1f times as many workers as the oracle, want at most %.1f", got, oracleLost)
	}
}

// The budgets of docs/budgets.md.
const (
	oracleRefused = 0.05 // percent
	oracleLost    = 12.0
)

// randomOutage is an outage of a random pool. It ends 15 s after the heal.
func randomOutage(t testing.TB, seed uint64) (o *outage, kind string, end time.Duration) {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 7))
	app := twoSeconds()
	app.Workers = []int{16, 32, 64, 128}[random.IntN(4)]
	zones := []int{4, 12, 24}[random.IntN(3)]
	busy := .1 + .3*random.Float64()
	o = newOutage(t, &app, zones, 100, float64(app.Workers)*busy/.023/float64(zones), seed)
	from, lasts := 10*time.Second, time.Duration(5+random.IntN(40))*time.Second
	switch u := random.Float64(); {
	case u < .45:
		kind = "one zone"
		o.freeze(from, lasts, fmt.Sprint("z", random.IntN(zones)))
	case u < .55 && zones > 4:
		kind = "two zones"
		for _, zone := range random.Perm(zones)[:2] {
			o.freeze(from, lasts, fmt.Sprint("z", zone))
		}
	default:
		k := []int{1, 3, 6}[random.IntN(3)]
		kind = fmt.Sprintf("%d stores", k)
		zone := random.IntN(zones)
		for _, store := range random.Perm(o.stores)[:k] {
			o.freeze(from, lasts, fmt.Sprintf("z%d/s%d", zone, store))
		}
	}
	return o, kind, from + lasts + 15*time.Second
}
