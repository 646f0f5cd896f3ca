package scenario

import (
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/replay/virtual"
)

// Figures is what came of an outage, while the fault lasted.
type Figures struct {
	Outage *Outage

	// IsolatedAfter is how many seconds after the fault began the zone was
	// open, or the first store that the fault touched was in quarantine.
	// Negative: never.
	IsolatedAfter float64
	// SuspectAfter is the same until firebreak suspected the pool.
	SuspectAfter float64
	// Named is how many of the touched stores that sent anything were named as
	// culprits, and Blamed how many of the others.
	Named, Guilty, Blamed int
	// BlamedZones is how many zones opened that were not ill.
	BlamedZones int
	// Worst is how many workers were busy at worst: with the ill zone, and in
	// all.
	WorstZone, Worst int

	// Neighbours are the requests of the ill zone that the fault does not
	// touch, Others those of the other zones.
	Neighbours, Others Share
	// PlainNeighbours and PlainOthers are the same behind a plain proxy.
	PlainNeighbours, PlainOthers Share

	// BackAfter is how many seconds after the repair the last request was
	// refused. Negative: none was.
	BackAfter float64
}

// PlayMany plays the outage so many times, each time with other clients, some at
// the same time.
func (o *Outage) PlayMany(times int) (Series, error) {
	all, errs := make(Series, times), make([]error, times)
	var wg sync.WaitGroup
	turns := make(chan struct{}, runtime.GOMAXPROCS(0))
	for i := range times {
		turns <- struct{}{}
		wg.Go(func() {
			all[i], errs[i] = o.Again(i).Play()
			<-turns
		})
	}
	wg.Wait()
	return all, errors.Join(errs...)
}

// Series is what came of an outage that was played several times.
type Series []*Figures

// MedianAndWorst are those of a figure. Negative figures, which mean never, are
// the worst.
func (s Series) MedianAndWorst(of func(*Figures) float64) (median, worst float64) {
	values := make([]float64, len(s))
	for i, f := range s {
		if values[i] = of(f); values[i] < 0 {
			values[i] = math.Inf(1)
		}
	}
	slices.Sort(values)
	return values[len(values)/2], values[len(values)-1]
}

// Share is how some requests fared.
type Share struct{ All, OK, Refused int }

// OKPercent is how many were answered well and within the deadline.
func (s Share) OKPercent() float64 { return percent(s.OK, s.All) }

// RefusedPercent is how many were refused.
func (s Share) RefusedPercent() float64 { return percent(s.Refused, s.All) }

func percent(n, of int) float64 {
	if of == 0 {
		return 100
	}
	return 100 * float64(n) / float64(of)
}

// deadline is how long an answer may take to be a good one, with or without a
// guard.
const deadline = 2 * time.Second

// job is a request on its way.
type job struct {
	o    *Outage
	r    *request
	pool interface {
		Now() time.Duration
		Busy(zone string) int
	}
	done func(*request, virtual.Result)
}

// Request implements virtual.Job.
func (j *job) Request() breaker.Request { return j.r.name }

// Patience implements virtual.Job.
func (j *job) Patience() time.Duration { return patience }

// Start implements virtual.Job.
func (j *job) Start() (time.Duration, breaker.Outcome) {
	return j.o.fare(j.r, j.pool.Now(), j.pool.Busy(j.r.name.Zone)+1)
}

// Done implements virtual.Job.
func (j *job) Done(result virtual.Result) { j.done(j.r, result) }

// Play plays the outage behind a plain proxy and behind a guard.
func (o *Outage) Play() (*Figures, error) {
	demand := o.demand()
	f := &Figures{Outage: o, IsolatedAfter: -1, SuspectAfter: -1, BackAfter: -1}
	o.playPlain(demand, func(r *request, _ time.Duration, result virtual.Result) {
		f.count(r, result, &f.PlainNeighbours, &f.PlainOthers)
	})
	return f, f.playGuarded(demand)
}

// playPlain plays it behind a plain proxy.
func (o *Outage) playPlain(demand []*request, done func(*request, time.Duration, virtual.Result)) {
	pool := virtual.NewPlain(workers, backlog)
	for _, r := range demand {
		j := &job{o: o, r: r, pool: pool, done: func(r *request, result virtual.Result) { done(r, pool.Now(), result) }}
		pool.At(r.at, func() { pool.Send(j) })
	}
	pool.Run(o.length() + patience + time.Minute)
}

func (f *Figures) playGuarded(demand []*request) error {
	o, app := f.Outage, App()
	policy, err := app.Policy()
	if err != nil {
		return fmt.Errorf("settings of the scenario: %w", err)
	}
	watch := watcher{f: f, guilty: make(map[string]bool), blamed: make(map[string]bool), zones: make(map[string]bool)}
	for _, r := range demand {
		if r.touched && o.zone != 0 {
			watch.guilty[r.name.Store] = true
		}
	}
	world := virtual.New(policy, Zones(), Start, o.seed, watch.hear)
	done := func(r *request, result virtual.Result) {
		f.count(r, result, &f.Neighbours, &f.Others)
		if now := world.Now(); result.Refusal != nil && now > o.healed() {
			f.BackAfter = (now - o.healed()).Seconds()
		}
	}
	for _, r := range demand {
		j := &job{o: o, r: r, pool: world, done: done}
		world.At(r.at, func() { world.Send(j) })
	}
	world.Run(o.length() + patience + time.Minute)
	f.WorstZone, f.Worst = world.Worst(zoneName(o.zone)), world.Worst("")
	watch.sum()
	return nil
}

// count counts a request that was sent during the fault and that it does not
// touch.
func (f *Figures) count(r *request, result virtual.Result, neighbours, others *Share) {
	if r.touched || !f.Outage.faulty(r.at) {
		return
	}
	share := others
	if r.zone == f.Outage.zone {
		share = neighbours
	}
	share.All++
	switch {
	case result.Refusal != nil:
		share.Refused++
	case result.Outcome == breaker.OK && result.Took <= deadline:
		share.OK++
	}
}

// watcher listens to a guard.
type watcher struct {
	f      *Figures
	guilty map[string]bool // stores that the fault touches
	blamed map[string]bool // stores that were in quarantine
	zones  map[string]bool // zones that opened
}

func (w *watcher) hear(e breaker.Event) {
	o, after := w.f.Outage, e.At.Sub(Start)-calm
	ill := e.Zone == zoneName(o.zone)
	switch e.Kind {
	case breaker.EventPoolSuspect:
		first(&w.f.SuspectAfter, after)
	case breaker.EventZoneOpened:
		w.zones[e.Zone] = true
		if ill && o.Verdict == VerdictZone {
			first(&w.f.IsolatedAfter, after)
		}
	case breaker.EventStoreQuarantined:
		w.blamed[e.Store] = true
		if ill && o.Verdict == VerdictStores && w.guilty[e.Store] {
			first(&w.f.IsolatedAfter, after)
		}
	}
}

func first(at *float64, after time.Duration) {
	if *at < 0 && after >= 0 {
		*at = after.Seconds()
	}
}

func (w *watcher) sum() {
	w.f.Guilty = len(w.guilty)
	for store := range w.blamed {
		if w.guilty[store] {
			w.f.Named++
		} else {
			w.f.Blamed++
		}
	}
	for zone := range w.zones {
		if zone != zoneName(w.f.Outage.zone) {
			w.f.BlamedZones++
		}
	}
}
