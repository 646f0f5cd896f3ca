package recovery

import (
	"context"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/routing"
)

// Prober tries stores in their zone's database.
type Prober interface {
	// Probe runs the check's store_probe for one store, which costs no worker of the
	// pool; the database ends it after limit. The error says why the store failed, or
	// why the probe could not be run.
	Probe(ctx context.Context, zone string, c *config.Check, store string, limit time.Duration) (breaker.Verdict, error)
}

const (
	// mostProbes is how many probes of a job are under way at a time.
	mostProbes = 4

	// probesOff and probesOffMax are how long a zone's stores are not tried after a
	// probe that could not be run.
	probesOff    = 5 * time.Second
	probesOffMax = time.Minute
)

// zoneProbes is what a job knows of the probes of a zone.
type zoneProbes struct {
	passed   string // the store that passed last
	offUntil time.Time
	offFor   time.Duration
	trouble  string
}

// wantsProbe reports whether the store is to be tried in its database before its
// next check. Call it with mu held.
func (j *job) wantsProbe(w *Deps, s *storeState, now time.Time) bool {
	if w == nil || j.all.opts.Prober == nil || s.probed || s.passes > 0 {
		return false
	}
	if p := j.probes[s.zone]; p != nil && now.Before(p.offUntil) {
		return false
	}
	zone := w.Policy.Zone(s.zone)
	return zone.StoreCheck != nil && zone.Check != nil && zone.Check.StoreProbe != "" && (j.spec.DryRun || w.Board.Lookup(s.zone, s.store) != nil)
}

// tryFirst is wantsProbe as the queue asks for it.
func (j *job) tryFirst(w *Deps, now time.Time) func(*storeState) bool {
	return func(s *storeState) bool { return j.wantsProbe(w, s, now) }
}

// beginProbes tries the stores whose turn it is.
func (j *job) beginProbes(ctx context.Context, w *Deps, now time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for w != nil && j.state == Running && j.probing < mostProbes {
		s, pop := j.queue.nextProbe(now, j.tryFirst(w, now))
		if s == nil {
			return
		}
		pop()
		s.phase = probing
		j.probing++
		zone := w.Policy.Zone(s.zone)
		j.all.work.Go(func() {
			v, err := j.try(ctx, w, zone.Check, s.placed, zone.StoreCheck.Timeout)
			if ctx.Err() == nil {
				j.report(ctx, func() { j.probedStore(s, v, err, time.Now()) })
			}
		})
	}
}

// try runs the probe of a store. That it fails counts only if another store passes
// at that time: else it may be the database that is not well, which a check finds
// out without a verdict on the store alone.
func (j *job) try(ctx context.Context, w *Deps, c *config.Check, s placed, limit time.Duration) (breaker.Verdict, error) {
	v, err := j.all.opts.Prober.Probe(ctx, s.zone, c, s.store, limit)
	if v != breaker.Failed {
		return v, err
	}
	other := j.otherStore(w, s)
	if other == "" {
		return breaker.Unknown, nil
	}
	if v, _ := j.all.opts.Prober.Probe(ctx, s.zone, c, other, limit); v != breaker.Passed {
		return breaker.Unknown, nil
	}
	return breaker.Failed, err
}

// otherStore is a store of the same zone that is probably well, or "".
func (j *job) otherStore(w *Deps, s placed) (other string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if p := j.probes[s.zone]; p != nil && p.passed != "" && p.passed != s.store {
		return p.passed
	}
	for _, o := range j.stores {
		if o.zone == s.zone && o.store != s.store && (o.phase == released || o.phase == passed || o.passes > 0) {
			return o.store
		}
	}
	if lister, ok := w.Directory.(routing.Lister); ok {
		lister.EachStore(s.zone, func(store string) bool {
			if known := j.byName[store]; store != s.store && (known == nil || known.failures == 0) {
				other = store
			}
			return other == ""
		})
	}
	return other
}

// probedStore takes in how the probe of a store went.
func (j *job) probedStore(s *storeState, v breaker.Verdict, err error, now time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.probing--
	s.phase = waiting
	if j.over() {
		return
	}
	p := j.probes[s.zone]
	if p == nil {
		p = new(zoneProbes)
		j.probes[s.zone] = p
	}
	if v == breaker.Failed {
		s.checked = true
		s.probeFails++
		j.dirty = true
		reason := "its store_probe failed"
		if err != nil {
			reason += ": " + err.Error()
		}
		j.failed(s, now, reason)
		j.keep(s)
		return
	}
	switch {
	case v == breaker.Passed:
		p.passed, p.offFor, p.trouble = s.store, 0, ""
	case err != nil && !now.Before(p.offUntil):
		p.offFor = min(max(2*p.offFor, probesOff), probesOffMax)
		p.offUntil, p.trouble = now.Add(p.offFor), err.Error()
	}
	if j.state != Running {
		j.queue.retry(s) // the next check may be a long time off
		return
	}
	s.probed = true
	j.queue.ready = append(j.queue.ready, s)
}

// probeTrouble says why stores are checked without a probe, if they are. Call it
// with mu held.
func (j *job) probeTrouble() (why string) {
	for _, p := range j.probes {
		why = max(why, p.trouble)
	}
	return why
}

// nextProbeAt is when the next store is tried; zero: none is. Call it with mu held.
func (j *job) nextProbeAt(now time.Time) (at time.Time) {
	w := j.all.Deps()
	if j.probing >= mostProbes || len(j.queue.failed) == 0 || !j.wantsProbe(w, j.queue.failed[0], now) {
		return at
	}
	return j.queue.failed[0].nextAt
}
