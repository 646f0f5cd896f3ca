package replay

import (
	"slices"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/replay/virtual"
)

// Options is what Run needs beside the log and the policy.
type Options struct {
	// Zones names all zones there are, those without requests included.
	Zones []string

	// Progress is told now and then how many of the requests have begun.
	Progress func(done int)
}

// seed makes the jitter of every run the same.
const seed = 1

// Run lets the requests of the log meet a guard of that policy, and says what
// came of it. The log must have been inferred.
func Run(l *Log, p *config.Policy, opts Options) *Report {
	r := &run{log: l, policy: p, opts: opts, zones: make(map[string]*zoneRun)}
	if len(l.Requests) == 0 {
		return new(Report)
	}
	r.first = l.Requests[0].Begin
	zones := slices.Compact(slices.Sorted(slices.Values(slices.Concat(opts.Zones, l.Zones()))))
	r.world = virtual.New(p, zones, time.Unix(0, r.first).UTC(), seed, r.hear)
	r.stores = make([]storeRun, len(l.Stores))
	for i, s := range l.Stores {
		r.stores[i].zone = r.zone(s.Zone)
	}
	r.world.At(0, r.arrive)
	_, last := l.Span()
	r.world.Run(time.Duration(last.UnixNano()-r.first) + afterwards)
	return r.report()
}

// afterwards is how long the replay goes on after the log's end: until everybody
// has an answer.
const afterwards = time.Minute

// run is one replay.
type run struct {
	log    *Log
	policy *config.Policy
	opts   Options
	world  *virtual.World
	first  int64
	next   int // the request that begins next

	zones    map[string]*zoneRun
	stores   []storeRun
	suspects []Suspicion
}

// zoneRun is what happens in a zone.
type zoneRun struct {
	name   string
	policy config.ZonePolicy
	report ZoneReport
	bad    badSince
	blamed map[string]int // place in report.Quarantines of the stores in quarantine
}

// storeRun is what happens to a store.
type storeRun struct {
	zone *zoneRun
	bad  badSince
}

// badSince tells since when requests come to nothing good, or late: the moment
// the first of them began.
type badSince struct{ since, last time.Duration }

func (b *badSince) note(now, window time.Duration) {
	if b.since == 0 || now-b.last > window {
		b.since = max(1, now)
	}
	b.last = now
}

func (r *run) zone(name string) *zoneRun {
	z, ok := r.zones[name]
	if !ok {
		z = &zoneRun{name: name, policy: r.policy.Zone(name), blamed: make(map[string]int)}
		z.report.Zone = name
		r.zones[name] = z
	}
	return z
}

// arrive lets the next requests begin.
func (r *run) arrive() {
	for r.next < len(r.log.Requests) {
		request := &r.log.Requests[r.next]
		if at := time.Duration(request.Begin - r.first); at > r.world.Now() {
			r.world.At(at, r.arrive)
			return
		}
		r.next++
		if r.opts.Progress != nil && r.next%progressEvery == 0 {
			r.opts.Progress(r.next)
		}
		j := &job{run: r, request: request, zone: r.stores[request.Store].zone}
		j.zone.report.Log.add(j.logged())
		r.world.Send(j)
	}
}

const progressEvery = 10_000

// hear takes in a transition.
func (r *run) hear(e breaker.Event) {
	if e.Kind == breaker.EventPoolSuspect {
		r.suspects = append(r.suspects, Suspicion{At: e.At, Evidence: e.Evidence})
		return
	}
	if e.Kind == breaker.EventPoolTrusted && len(r.suspects) > 0 {
		r.suspects[len(r.suspects)-1].Until = e.At
		return
	}
	z := r.zone(e.Zone)
	switch e.Kind {
	case breaker.EventZoneTroubled:
		z.report.Episodes++
	case breaker.EventZoneOpened:
		z.opened(e, r.world.Now())
	case breaker.EventZoneClosed:
		if n := len(z.report.Openings); n > 0 && z.report.Openings[n-1].Until.IsZero() {
			z.report.Openings[n-1].Until = e.At
		}
	case breaker.EventZoneCalm:
		z.bad = badSince{}
	case breaker.EventStoreQuarantined:
		r.quarantined(z, e)
	case breaker.EventStoreReleased:
		if i, ok := z.blamed[e.Store]; ok {
			z.report.Quarantines[i].Until = e.At
			delete(z.blamed, e.Store)
		}
	}
}

func (z *zoneRun) opened(e breaker.Event, now time.Duration) {
	if n := len(z.report.Openings); n > 0 && z.report.Openings[n-1].Until.IsZero() {
		z.report.Openings[n-1].Turns++ // tried again in vain
		return
	}
	z.report.Openings = append(z.report.Openings, Opening{At: e.At, Turns: 1, Evidence: e.Evidence, After: z.bad.until(now)})
	z.report.isolated(z.bad.until(now))
}

// quarantined takes in a quarantine. One that goes on after a try in vain is
// the same.
func (r *run) quarantined(z *zoneRun, e breaker.Event) {
	if _, ok := z.blamed[e.Store]; ok {
		return
	}
	z.blamed[e.Store] = len(z.report.Quarantines)
	after := r.stores[r.log.byName[Store{Zone: e.Zone, Name: e.Store}]].bad.until(r.world.Now())
	z.report.Quarantines = append(z.report.Quarantines, Quarantine{Store: e.Store, At: e.At, Evidence: e.Evidence, After: after})
	z.report.isolated(after)
}

// until is how long it has been bad, in seconds.
func (b *badSince) until(now time.Duration) float64 {
	if b.since == 0 {
		return 0
	}
	return (now - b.since).Seconds()
}

// job is a request of the log in the replay.
type job struct {
	run     *run
	request *Request
	zone    *zoneRun
}

// Request implements virtual.Job.
func (j *job) Request() breaker.Request {
	s := &j.run.log.Stores[j.request.Store]
	return breaker.Request{Zone: s.Zone, Store: s.Name, Shared: s.Zone == config.UnknownZone}
}

// Patience implements virtual.Job: whoever left will leave again, unless there
// is an answer before.
func (j *job) Patience() time.Duration {
	if r := j.request; r.has(unanswered) && (r.Status == 0 || r.Status == statusClientGone) {
		return time.Duration(max(1, r.Took))
	}
	return 0
}

// Start implements virtual.Job.
func (j *job) Start() (time.Duration, breaker.Outcome) {
	if j.isBad() || j.request.Worker >= int64(j.zone.policy.SlowAfter) {
		now := j.run.world.Now()
		j.zone.bad.note(now, j.zone.policy.Window)
		j.run.stores[j.request.Store].bad.note(now, j.zone.policy.Window)
	}
	return time.Duration(j.request.Worker), j.outcome()
}

// outcome is what the request comes to, if it is not late.
func (j *job) outcome() breaker.Outcome {
	r := j.request
	switch {
	case r.has(noUpstream):
		return breaker.NoUpstream
	case r.has(brokenOff | lost):
		return breaker.Broken
	case r.has(guessedHung):
		return breaker.OK // late
	case !r.has(unanswered|refusedByUs) && j.zone.policy.Fails(int(r.Status)):
		return breaker.Failure
	}
	return breaker.OK
}

// isBad reports whether nothing good comes of the request.
func (j *job) isBad() bool {
	return j.outcome() != breaker.OK || j.request.Worker >= int64(j.zone.policy.Timeout)
}

// Done implements virtual.Job.
func (j *job) Done(result virtual.Result) {
	out := &j.zone.report.Replay
	if result.Refusal == nil {
		out.add(j.named(result))
		return
	}
	out.Requests++
	if j.zone.report.Refused == nil {
		j.zone.report.Refused = make(map[string]int)
	}
	j.zone.report.Refused[string(result.Refusal.Reason)]++
	if j.isBad() {
		out.RefusedBad++
	} else {
		out.RefusedInnocent++
	}
}

// named is how the request ended in the replay.
func (j *job) named(result virtual.Result) ending {
	switch o := result.Outcome; {
	case o == breaker.Hung:
		return endHung
	case o == breaker.Gone:
		return endLeft
	case o != breaker.OK:
		return endFailed
	case result.Took-result.Waited >= j.zone.policy.SlowAfter:
		return endSlow
	}
	return endOK
}

// logged is how it ended in the log.
func (j *job) logged() ending {
	r := j.request
	switch {
	case r.has(refusedByUs):
		return endRefused
	case r.has(unanswered) && (r.Status == 0 || r.Status == statusClientGone):
		return endLeft
	case r.has(noUpstream|brokenOff) || j.zone.policy.Fails(int(r.Status)):
		return endFailed
	case r.Took >= int64(j.zone.policy.Timeout) || r.has(unanswered):
		return endHung
	case r.Took >= int64(j.zone.policy.SlowAfter):
		return endSlow
	}
	return endOK
}
