package replay

import (
	"cmp"
	"slices"

	"github.com/firebreak-proxy/firebreak/config"
)

// Inferred says how much of what the workers did is not in the log.
type Inferred struct {
	Queued     int            `json:"queued"`     // answered, but stood in the pool's queue first
	Unanswered int            `json:"unanswered"` // the end of its worker is not in the log
	Guessed    int            `json:"guessed"`    // never got a worker, or was refused: taken from others
	WorstBusy  int            `json:"worst_busy"` // workers, in the log
	ZoneWorst  map[string]int `json:"-"`
}

// Infer finds out how long the worker of each request was busy. The policy says
// how many workers there were, 0: the log's times are taken as they are, and
// what is late in each zone.
func (l *Log) Infer(p *config.Policy) Inferred {
	v := &inference{log: l, policy: p, found: Inferred{ZoneWorst: make(map[string]int)}}
	v.zones()
	v.answers()
	v.usualTimes()
	v.serve()
	return v.found
}

// inference is what Infer works with.
type inference struct {
	log    *Log
	policy *config.Policy
	found  Inferred

	zone   []int32             // of each store
	names  []string            // of the zones
	rules  []config.ZonePolicy // of the zones
	nextOK []int64             // of each request without an end: when its store is answered next; 0: never
	usual  []int64             // what a worker takes for each store
	stuck  []bool              // of each store: its latest known request got stuck
	silent [][]uint32          // of each zone: the stores that got stuck since one was last served in time
}

func (v *inference) zones() {
	index := make(map[string]int32)
	for _, s := range v.log.Stores {
		i, ok := index[s.Zone]
		if !ok {
			i = int32(len(v.names))
			index[s.Zone] = i
			v.names, v.rules = append(v.names, s.Zone), append(v.rules, v.policy.Zone(s.Zone))
		}
		v.zone = append(v.zone, i)
	}
}

func (v *inference) rule(r *Request) *config.ZonePolicy { return &v.rules[v.zone[r.Store]] }

// known reports whether the log shows the worker's end.
func known(r *Request) bool { return !r.has(refusedByUs | unanswered) }

// good reports whether the request is known to have been answered well, if late.
func (v *inference) good(r *Request) bool {
	return known(r) && !r.has(noUpstream|brokenOff) && !v.rule(r).Fails(int(r.Status))
}

// late reports whether the worker was busy beyond the deadline.
func (v *inference) late(r *Request) bool { return r.Worker >= int64(v.rule(r).Timeout) }

// answers finds out for every request without an end when its store was
// answered next: until then its worker waited, if it waited for the store.
func (v *inference) answers() {
	requests := v.log.Requests
	byEnd := make([]uint32, len(requests))
	for i := range byEnd {
		byEnd[i] = uint32(i)
	}
	slices.SortFunc(byEnd, func(a, b uint32) int {
		return cmp.Compare(requests[b].End(), requests[a].End()) // the last first
	})
	last := make([]int64, len(v.log.Stores))
	v.nextOK = make([]int64, len(requests))
	for _, i := range byEnd {
		r := &requests[i]
		if v.good(r) {
			last[r.Store] = r.End()
		} else if !known(r) {
			v.nextOK[i] = last[r.Store]
		}
	}
}

// hang is how long a worker hangs that began then.
func (v *inference) hang(i uint32, began int64) int64 {
	r := &v.log.Requests[i]
	if next := v.nextOK[i]; next > began {
		return max(r.End(), next) - began
	}
	r.flags |= lost
	return max(r.End()-began, int64(v.rule(r).HungHold))
}

// guess gives a request whose worker is not known the fate of others.
func (v *inference) guess(i uint32) {
	r := &v.log.Requests[i]
	v.found.Guessed++
	r.flags |= guessed
	r.Worker = v.usual[r.Store]
	zone := v.zone[r.Store]
	if stuck := v.stuck[r.Store] || len(v.silent[zone]) >= v.rules[zone].MinBadStores; stuck && !known(r) {
		r.flags |= guessedHung
		r.Worker = v.hang(i, r.Begin)
	}
}

// learn takes in how a request fares that a worker takes now.
func (v *inference) learn(r *Request) {
	zone, late := v.zone[r.Store], v.late(r)
	v.stuck[r.Store] = late
	switch silent := v.silent[zone]; {
	case !late:
		v.silent[zone] = silent[:0]
	case len(silent) < v.rules[zone].MinBadStores && !slices.Contains(silent, r.Store):
		v.silent[zone] = append(silent, r.Store)
	}
}

// usualTimes finds out what a worker usually takes for a store: the median of
// those requests that were answered well and not slowly, else that of its zone.
func (v *inference) usualTimes() {
	var sure []uint32
	for i := range v.log.Requests {
		if r := &v.log.Requests[i]; v.good(r) && r.Took < int64(v.rule(r).SlowAfter) {
			sure = append(sure, uint32(i))
		}
	}
	zones := v.medians(sure, func(store uint32) uint32 { return uint32(v.zone[store]) }, len(v.names))
	v.usual = v.medians(sure, func(store uint32) uint32 { return store }, len(v.log.Stores))
	for store, d := range v.usual {
		if d == 0 {
			v.usual[store] = zones[v.zone[store]]
		}
	}
}

// medians are the median times of some requests, by group.
func (v *inference) medians(of []uint32, group func(store uint32) uint32, groups int) []int64 {
	slices.SortFunc(of, func(a, b uint32) int {
		x, y := &v.log.Requests[a], &v.log.Requests[b]
		return cmp.Or(cmp.Compare(group(x.Store), group(y.Store)), cmp.Compare(x.Took, y.Took))
	})
	all := make([]int64, groups)
	for from := 0; from < len(of); {
		g, to := group(v.log.Requests[of[from]].Store), from
		for to < len(of) && group(v.log.Requests[of[to]].Store) == g {
			to++
		}
		all[g] = v.log.Requests[of[(from+to)/2]].Took
		from = to
	}
	return all
}
