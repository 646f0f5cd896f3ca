package breaker

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// waiter is a request that waits for a slot.
type waiter struct {
	request Request
	hash    uint64
	result  chan admission // capacity 1; written once, by whoever takes the waiter out of the queue
}

type admission struct {
	slot    *Slot
	refusal *Refusal
}

// waitQueue is the requests of a zone that wait, by store: each store has its
// own line, and the lines take turns.
type waitQueue struct {
	lines map[string][]*waiter
	order []string // stores that have a line; the next to be served first
	count int
}

func (q *waitQueue) len() int { return q.count }

func (q *waitQueue) has(store string) bool { return q.count > 0 && len(q.lines[store]) > 0 }

func (q *waitQueue) push(w *waiter) {
	if q.lines == nil {
		q.lines = make(map[string][]*waiter)
	}
	store := w.request.Store
	if len(q.lines[store]) == 0 {
		q.order = append(q.order, store)
	}
	q.lines[store] = append(q.lines[store], w)
	q.count++
}

// take removes the i-th waiter of a store's line. rotate sends the line to the
// end of the order, since it had its turn.
func (q *waitQueue) take(store string, i int, rotate bool) {
	line := slices.Delete(q.lines[store], i, i+1)
	q.count--
	at := slices.Index(q.order, store)
	if len(line) == 0 {
		delete(q.lines, store)
		q.order = slices.Delete(q.order, at, at+1)
		return
	}
	q.lines[store] = line
	if rotate {
		q.order = append(slices.Delete(q.order, at, at+1), store)
	}
}

// longest is the store with the longest line.
func (q *waitQueue) longest() (store string, n int) {
	for s, line := range q.lines {
		if len(line) > n || len(line) == n && s < store {
			store, n = s, len(line)
		}
	}
	return store, n
}

// queueRoom is how many requests of a zone may wait, for each slot it has.
const queueRoom = 16

// enqueue lets the request wait. The queue is bounded: when it is full the
// longest line loses its last waiter, so that the store that floods the zone
// is the one that pays. It returns nil if that is this request's own line.
func (z *zone) enqueue(r *Request, hash uint64) *waiter {
	if z.waiters.len() >= max(64, queueRoom*z.policy.MaxInflight) {
		store, n := z.waiters.longest()
		if store == r.Store || n <= 1 {
			return nil
		}
		line := z.waiters.lines[store]
		last := line[n-1]
		z.waiters.take(store, n-1, false)
		z.g.queue.waiting.Add(-1)
		last.result <- admission{refusal: z.refuse(z.busy())}
	}
	w := &waiter{request: *r, hash: hash, result: make(chan admission, 1)}
	z.waiters.push(w)
	z.g.queue.waiting.Add(1)
	return w
}

// wait waits for a slot until max_wait has passed or the client leaves.
func (w *waiter) wait(ctx context.Context, g *Guard, z *zone) (*Slot, *Refusal) {
	defer func(began time.Time) { g.queue.waits.note(time.Since(began)) }(time.Now())
	g.queue.register(z)
	g.dispatch() // a slot may have come free before the zone was registered
	z.mu.Lock()
	maxWait := z.policy.MaxWait
	z.mu.Unlock()
	timer := time.NewTimer(maxWait)
	defer timer.Stop()
	select {
	case a := <-w.result:
		return a.slot, a.refusal
	case <-timer.C:
		return z.giveUp(w, z.busy())
	case <-ctx.Done():
		return z.giveUp(w, verdict{reason: ReasonGone})
	}
}

// giveUp takes the waiter out of the queue, unless it was served meanwhile.
func (z *zone) giveUp(w *waiter, v verdict) (*Slot, *Refusal) {
	z.mu.Lock()
	if i := slices.Index(z.waiters.lines[w.request.Store], w); i >= 0 {
		z.waiters.take(w.request.Store, i, false)
		z.g.queue.waiting.Add(-1)
		refusal := z.refuse(v)
		z.mu.Unlock()
		return nil, refusal
	}
	z.mu.Unlock()
	a := <-w.result
	if a.slot != nil && v.reason == ReasonGone {
		a.slot.End(Gone)
		return nil, &Refusal{Reason: ReasonGone}
	}
	return a.slot, a.refusal
}

// serve admits the next waiter whose turn it is and who fits. Waiters who can
// no longer be admitted at all are told so.
func (z *zone) serve(now int64) (admitted bool) {
	for _, store := range slices.Clone(z.waiters.order) {
		for len(z.waiters.lines[store]) > 0 {
			w := z.waiters.lines[store][0]
			v := z.decide(&w.request, w.hash, now)
			if v.wait {
				break
			}
			if v.admit {
				s := z.open(&w.request, w.hash, now, v, false)
				if s == nil {
					return false // the pool is full
				}
				z.served(w, admission{slot: s})
				return true
			}
			z.served(w, admission{refusal: z.refuse(v)})
		}
	}
	return false
}

func (z *zone) served(w *waiter, a admission) {
	z.waiters.take(w.request.Store, 0, a.slot != nil)
	z.g.queue.waiting.Add(-1)
	w.result <- a
}

// dispatcher hands slots that came free to the zones in turn.
type dispatcher struct {
	waiting atomic.Int64 // requests that wait, in all zones

	mu    sync.Mutex // guards below; taken before a zone's lock, never after
	zones []*zone    // zones in which somebody waits; the next to be served first

	waits waits
}

func (d *dispatcher) register(z *zone) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !slices.Contains(d.zones, z) {
		d.zones = append(d.zones, z)
	}
}

// dispatch serves waiters, zone by zone in turn, until nobody fits any more.
// It is called whenever something came free; nobody waiting costs one load.
func (g *Guard) dispatch() {
	if g.queue.waiting.Load() == 0 {
		return
	}
	d := &g.queue
	d.mu.Lock()
	defer d.mu.Unlock()
	for misses := 0; misses < len(d.zones); {
		z := d.zones[0]
		var admitted, empty bool
		z.do(func(z *zone, now int64) {
			admitted = z.serve(now)
			empty = z.waiters.len() == 0
		})
		if d.zones = d.zones[1:]; !empty {
			d.zones = append(d.zones, z)
		}
		switch {
		case admitted:
			misses = 0
		case !empty:
			misses++
		}
	}
}
