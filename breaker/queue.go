package breaker

import (
	"container/list"
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// waiter is a request that waits for a worker.
type waiter struct {
	request Request
	hash    uint64
	began   int64
	result  chan admission // capacity 1; written once, by what takes the waiter out of the queue

	line  *line         // guarded by z.mu, as all below; nil: it no longer waits
	place *list.Element // in line
}

type admission struct {
	slot    *Slot
	refusal *Refusal
}

// line is the waiting requests of one store.
type line struct {
	store   string
	hash    uint64
	waiters list.List // of *waiter
	place   *list.Element
}

// waitQueue is the requests of a zone that wait, by store: each store has its
// own line, and the lines take turns. All its methods take constant time.
type waitQueue struct {
	lines map[string]*line
	order list.List // of *line; the next to be served first
	count int
}

func (q *waitQueue) len() int { return q.count }

func (q *waitQueue) has(store string) bool { return q.count > 0 && q.lines[store] != nil }

func (q *waitQueue) push(w *waiter) {
	if q.lines == nil {
		q.lines = make(map[string]*line)
	}
	l := q.lines[w.request.Store]
	if l == nil {
		l = &line{store: w.request.Store, hash: w.hash}
		l.place = q.order.PushBack(l)
		q.lines[l.store] = l
	}
	w.line, w.place = l, l.waiters.PushBack(w)
	q.count++
}

// remove takes a waiter out of the queue.
func (q *waitQueue) remove(w *waiter) {
	l := w.line
	l.waiters.Remove(w.place)
	w.line = nil
	q.count--
	if l.waiters.Len() == 0 {
		q.order.Remove(l.place)
		delete(q.lines, l.store)
	}
}

const (
	// mostWaiting is how many requests of one zone may wait.
	mostWaiting = 4096

	// looked is how many lines are looked at in one go: for one that can be
	// served, or one that is long.
	looked = 8
)

// longest is the longest of the next lines to be served.
func (q *waitQueue) longest() (longest *line) {
	e := q.order.Front()
	for range looked {
		if e == nil {
			break
		}
		if l := e.Value.(*line); longest == nil || l.waiters.Len() > longest.waiters.Len() {
			longest = l
		}
		e = e.Next()
	}
	return longest
}

// enqueue lets the request wait. The queue is bounded: when it is full, a long
// line loses its last waiter, so that the store that floods the zone is the one
// that pays. It returns nil if that is this request's own line.
func (z *zone) enqueue(r *Request, hash uint64, now int64) *waiter {
	if z.waiters.count >= mostWaiting {
		l := z.waiters.longest()
		if own := z.waiters.lines[r.Store]; l.waiters.Len() <= 1 || own != nil && own.waiters.Len() >= l.waiters.Len() {
			return nil
		}
		z.settleWaiter(l.waiters.Back().Value.(*waiter), admission{refusal: z.refuse(z.busy(admitted))})
	}
	z.countStores()
	w := &waiter{request: *r, hash: hash, began: now, result: make(chan admission, 1)}
	z.waiters.push(w)
	z.g.queue.waiting.Add(1)
	return w
}

func (z *zone) settleWaiter(w *waiter, a admission) {
	z.waiters.remove(w)
	z.g.queue.waiting.Add(-1)
	w.result <- a
}

// wait waits for a worker until its time is over or the client leaves.
func (w *waiter) wait(ctx context.Context, g *Guard, z *zone, until time.Duration) (*Slot, *Refusal) {
	defer func(began time.Time) { g.queue.waits.note(time.Since(began)) }(time.Now())
	timer := time.NewTimer(until)
	defer timer.Stop()
	g.enlist(z)
	for {
		select {
		case a := <-w.result:
			return a.slot, a.refusal
		case <-timer.C:
			s, refusal, more := z.giveUp(w, false)
			if more <= 0 {
				return s, refusal
			}
			timer.Reset(more)
		case <-ctx.Done():
			s, refusal, _ := z.giveUp(w, true)
			return s, refusal
		}
	}
}

// giveUp takes the waiter out of the queue, unless it was served meanwhile or,
// since what it waits for has changed, may wait for longer.
func (z *zone) giveUp(w *waiter, left bool) (_ *Slot, _ *Refusal, more time.Duration) {
	now := z.g.now()
	z.mu.Lock()
	if w.line == nil {
		z.mu.Unlock()
		a := <-w.result
		if a.slot != nil && left {
			a.slot.End(Gone)
			return nil, &Refusal{Reason: ReasonGone}, 0
		}
		return a.slot, a.refusal, 0
	}
	defer z.mu.Unlock()
	v := verdict{reason: ReasonGone}
	if !left {
		v = z.decide(&w.request, w.hash, now)
		if more = z.mayWait(&w.request, v.why) - time.Duration(now-w.began); v.wait && more > 0 {
			return nil, nil, more
		}
		if v.wait || v.admit {
			v = z.busy(v.why)
		}
	}
	z.waiters.remove(w)
	z.g.queue.waiting.Add(-1)
	return nil, z.refuse(v), 0
}

// mayWait is how long a request may wait in all. A request that waits for an
// answer that is late waits up to slow_after, and max_wait to be served,
// which costs no worker; one that waits for a worker, max_wait, unless the whole
// pool stood still a moment ago.
func (z *zone) mayWait(r *Request, why why) time.Duration {
	patient := why.patient() || z.window > 0 || why == poolFull && z.g.now()-z.g.stoodAt.Load() < int64(z.policy.SlowAfter)
	if !patient || z.policy.MaxWait == 0 {
		return z.policy.MaxWait
	}
	d := z.policy.SlowAfter + z.policy.MaxWait
	if z.window > 0 || z.g.now()-z.answered.last < z.patience() {
		d += d / 2 // the zone is answered again, and serves what waits
	}
	if r.Timeout > 0 {
		d = min(d, r.Timeout)
	}
	return d
}

// stands reports whether no request at all was answered for longer than patience:
// the whole pool stands still, as for a collection of garbage.
func (g *Guard) stands(patience int64) bool { return g.now()-g.answeredAt.Load() > patience }

// serve admits the waiting requests whose turn it is and for which there is
// room. Those that can no longer be admitted at all are refused. It looks at a
// bounded number of lines; the sweeper goes on with the rest.
func (z *zone) serve(now int64) {
	for misses := 0; misses < looked && z.waiters.count > 0; {
		if z.overShare() {
			return // the dispatcher serves those first that have less
		}
		l := z.nextLine()
		w := l.waiters.Front().Value.(*waiter)
		v := z.decide(&w.request, w.hash, now)
		switch {
		case v.wait && v.why.zoneWide():
			return
		case v.wait:
			misses++
			z.waiters.order.MoveToBack(l.place)
		case v.admit:
			s := z.open(&w.request, w.hash, now, v, false)
			if s == nil {
				return // another zone took the last worker
			}
			z.waiters.order.MoveToBack(l.place)
			z.settleWaiter(w, admission{slot: s})
		default:
			z.settleWaiter(w, admission{refusal: z.refuse(v)})
		}
	}
}

// nextLine is the line to be served next: of the lines whose turn it is, that
// of the store with the fewest unanswered requests, so that stores share the
// workers of their zone max-min fairly, also if the requests of one take much
// longer.
func (z *zone) nextLine() *line {
	var next *line
	least := 0
	e := z.waiters.order.Front()
	for range looked {
		if e == nil {
			break
		}
		l := e.Value.(*line)
		if n := z.inFlight[l.hash]; next == nil || n < least {
			next, least = l, n
		}
		e = e.Next()
	}
	return next
}

// overShare reports whether the zone has more than its fair share of the pool
// while requests of other zones wait.
func (z *zone) overShare() bool {
	if z.g.queue.waiting.Load() == int64(z.waiters.count) {
		return false
	}
	return z.live > z.g.capacity()/max(1, int(z.g.busyZones.Load()))
}

// dispatcher wakes zones that wait for a worker of the pool when one comes
// free. It is a goroutine of its own: no request waits for another zone's.
type dispatcher struct {
	waiting atomic.Int64 // requests that wait, in all zones
	poke    chan struct{}

	mu    sync.Mutex // guards below; held for a moment, never together with a zone's lock
	zones []*zone    // zones in which requests wait; the next to be served first

	waits waits
}

// enlist has the dispatcher look after the zone while requests wait in it.
func (g *Guard) enlist(z *zone) {
	if z.queued.CompareAndSwap(false, true) {
		g.queue.mu.Lock()
		g.queue.zones = append(g.queue.zones, z)
		g.queue.mu.Unlock()
	}
	g.wake() // a worker may have come free before
}

// wake tells the dispatcher that a worker may be free. With no request waiting
// it costs one load.
func (g *Guard) wake() {
	if g.queue.waiting.Load() == 0 {
		return
	}
	if g.simulation != nil {
		g.serveZones()
		return
	}
	select {
	case g.queue.poke <- struct{}{}:
	default:
	}
}

// dispatch serves waiting requests whenever a worker may be free, until ctx is
// done.
func (g *Guard) dispatch(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.queue.poke:
			g.serveZones()
		}
	}
}

// serveZones serves the zones in which requests wait: those with the fewest
// workers first, so that zones share the pool max-min fairly.
func (g *Guard) serveZones() {
	defer g.survive()
	d := &g.queue
	d.mu.Lock()
	zones := slices.Clone(d.zones)
	d.mu.Unlock()
	if len(zones) > 1 {
		slices.SortStableFunc(zones, func(a, b *zone) int { return int(a.occupied.Load() - b.occupied.Load()) })
	}
	var idle []*zone
	for _, z := range zones {
		z.do(func(z *zone, _ int64) { // do serves
			if z.waiters.count == 0 {
				idle = append(idle, z)
			}
		})
	}
	if len(idle) == 0 {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.zones = slices.DeleteFunc(d.zones, func(z *zone) bool {
		if !slices.Contains(idle, z) {
			return false
		}
		z.queued.Store(false)
		return true
	})
}
