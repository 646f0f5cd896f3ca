package recovery

import (
	"cmp"
	"container/heap"
	"slices"
	"time"
)

// queue is the stores of a job that wait for a check: in which order they come.
type queue struct {
	fresh  []*storeState // never checked, those with the most traffic first
	ready  []*storeState // whose probe found nothing against them, likewise
	second dueHeap       // passed before; they come first, so that stores come back early
	failed dueHeap       // failed before; they come last
}

// again lets a store that passed wait for its next check.
func (q *queue) again(s *storeState) { heap.Push(&q.second, s) }

// retry lets a store wait that has to begin anew.
func (q *queue) retry(s *storeState) { heap.Push(&q.failed, s) }

// drain takes out the stores that have passed a check.
func (q *queue) drain() []*storeState {
	all := q.second
	q.second = nil
	return all
}

// empty reports whether no store waits.
func (q *queue) empty() bool { return len(q.fresh)+len(q.ready)+len(q.second)+len(q.failed) == 0 }

// next is the store whose turn it is, nil if none is due; begin says whether
// stores may be begun with, or only gone on with. Stores that are to be tried in
// their database first wait for that. pop takes the store out.
func (q *queue) next(now time.Time, begin bool, tryFirst func(*storeState) bool) (s *storeState, pop func()) {
	switch {
	case q.second.due(now):
		return q.second[0], func() { heap.Pop(&q.second) }
	case !begin:
		return nil, nil
	case len(q.ready) > 0:
		return q.ready[0], func() { q.ready = q.ready[1:] }
	case len(q.fresh) > 0 && !tryFirst(q.fresh[0]):
		return q.fresh[0], func() { q.fresh = q.fresh[1:] }
	case q.failed.due(now) && !tryFirst(q.failed[0]):
		return q.failed[0], func() { heap.Pop(&q.failed) }
	}
	return nil, nil
}

// nextProbe is the store to be tried in its database next, nil if there is none.
// pop takes it out.
func (q *queue) nextProbe(now time.Time, wanted func(*storeState) bool) (s *storeState, pop func()) {
	switch {
	case len(q.fresh) > 0 && wanted(q.fresh[0]):
		return q.fresh[0], func() { q.fresh = q.fresh[1:] }
	case q.failed.due(now) && wanted(q.failed[0]):
		return q.failed[0], func() { heap.Pop(&q.failed) }
	}
	return nil, nil
}

// nextAt is when the next store is due for a check; zero: none is.
func (q *queue) nextAt(now time.Time, begin bool, tryFirst func(*storeState) bool) (at time.Time) {
	if begin && (len(q.ready) > 0 || len(q.fresh) > 0 && !tryFirst(q.fresh[0])) {
		return now
	}
	if len(q.second) > 0 {
		at = q.second[0].nextAt
	}
	if begin && len(q.failed) > 0 && !tryFirst(q.failed[0]) && (at.IsZero() || q.failed[0].nextAt.Before(at)) {
		at = q.failed[0].nextAt
	}
	return at
}

// dueHeap is stores by when they are due.
type dueHeap []*storeState

func (h dueHeap) due(now time.Time) bool { return len(h) > 0 && !h[0].nextAt.After(now) }

// Len, Less, Swap, Push and Pop implement heap.Interface.
func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, k int) bool { return h[i].nextAt.Before(h[k].nextAt) }
func (h dueHeap) Swap(i, k int)      { h[i], h[k] = h[k], h[i] }

func (h *dueHeap) Push(s any) { *h = append(*h, s.(*storeState)) }

func (h *dueHeap) Pop() any {
	last := len(*h) - 1
	s := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return s
}

// sortEvery is how often the stores that wait for their first check are put in
// order anew: their clients go on knocking.
const sortEvery = 10 * time.Second

// sortByTraffic puts the stores first whose clients knock most, then those that
// were served most recently.
func sortByTraffic(w *Deps, stores []*storeState) {
	type rank struct {
		s      *storeState
		knocks uint64
		ago    time.Duration
	}
	const never = time.Duration(1<<63 - 1)
	ranks := make([]rank, 0, len(stores))
	for zone, list := range byZone(stores) {
		served := w.Guard.Served(zone)
		for _, s := range list {
			r := rank{s: s, ago: never}
			if ago, ok := served.Ago(s.store); ok {
				r.ago = ago
			}
			if w.Knocks != nil {
				r.knocks = w.Knocks(s.store)
			}
			ranks = append(ranks, r)
		}
	}
	slices.SortStableFunc(ranks, func(a, b rank) int {
		return cmp.Or(cmp.Compare(b.knocks, a.knocks), cmp.Compare(a.ago, b.ago), cmp.Compare(a.s.order, b.s.order))
	})
	for i, r := range ranks {
		stores[i] = r.s
	}
}

func byZone(stores []*storeState) map[string][]*storeState {
	zones := make(map[string][]*storeState)
	for _, s := range stores {
		zones[s.zone] = append(zones[s.zone], s)
	}
	return zones
}
