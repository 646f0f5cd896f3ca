package breaker

import (
	"container/list"
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/firebreak-proxy/firebreak/internal/histogram"
)

// waiter is a request that waits for a worker.
type waiter struct {
	request Request
	hash    uint64
	began   int64
	result  chan admission // capacity 1; written once, by what takes the waiter out of the queue
	trial   bool           // it was queued to wait for the outcome of a trial
	hasty   bool           // it waits no longer: another answer is at hand
	lease   *trialLease    // what the fleet is to be asked for; nil: nothing

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

// look is how many lines are looked at.
func (q *waitQueue) look() int { return min(looked, q.order.Len()) }

// longest is the longest of the next lines to be served.
func (q *waitQueue) longest() (longest *line) {
	e := q.order.Front()
	for range q.look() {
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
		v := z.busy(admitted)
		z.settleWaiter(l.waiters.Back().Value.(*waiter), admission{refusal: z.refuse(&v)})
	}
	z.countStores()
	w := &waiter{request: *r, hash: hash, began: now, result: make(chan admission, 1)}
	z.waiters.push(w)
	z.publish()
	z.g.queue.waiting.Add(1)
	return w
}

func (z *zone) settleWaiter(w *waiter, a admission) {
	z.dequeue(w)
	w.result <- a
}

// dequeue takes a waiter out of the queue, and counts how long it has waited.
func (z *zone) dequeue(w *waiter) {
	z.waiters.remove(w)
	z.g.queue.waiting.Add(-1)
	if z.totals.wait == nil {
		z.totals.wait = new(histogram.Histogram)
	}
	z.totals.wait.Observe(z.g.now()-w.began, waitScale)
}

// isAnsweredOtherwise reports whether another answer is at hand. If that panics, nothing
// waits any more, and the panic goes on.
func (w *waiter) isAnsweredOtherwise(z *zone) bool {
	returned := false
	defer func() {
		if !returned {
			_, _, _ = z.giveUp(w, true)
		}
	}()
	atHand := w.request.Otherwise.AtHand()
	returned = true
	return atHand
}

// wait waits for a worker until its time is over or the client leaves.
func (w *waiter) wait(ctx context.Context, g *Guard, z *zone, until time.Duration) (*Slot, *Refusal) {
	timer := time.NewTimer(until)
	defer timer.Stop()
	g.wake() // a worker may have come free meanwhile
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
		if more = z.mayWait(&w.request, v.why) - time.Duration(now-w.began); v.wait && more > 0 && !w.hasty {
			return nil, nil, more
		}
		if v.wait || v.admit {
			v = z.busy(v.why)
		}
	}
	z.dequeue(w)
	return nil, z.refuse(&v), 0
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
	for missed := 0; missed < z.waiters.look(); {
		if z.overShare() {
			z.g.enlist(z) // zones that have less come first
			return
		}
		switch why := z.serveNext(now, missed); {
		case why == admitted:
		case why.zoneWide():
			return
		default:
			missed++
		}
	}
}

// serveNext serves the request whose turn it is, or says why it has to wait. missed
// lines were looked at before, and are the last ones now.
func (z *zone) serveNext(now int64, missed int) why {
	l := z.nextLine(missed)
	w := l.waiters.Front().Value.(*waiter)
	v := z.decide(&w.request, w.hash, now)
	if v.admit {
		if s := z.open(&w.request, w.hash, now, &v, false); s != nil {
			z.waiters.order.MoveToBack(l.place)
			z.settleWaiter(w, admission{slot: s})
			return admitted
		}
		v = verdict{wait: true, why: poolFull} // another zone took the last worker
	}
	if !v.wait {
		z.settleWaiter(w, admission{refusal: z.refuse(&v)})
		return admitted
	}
	if v.why.ofPool() {
		z.g.enlist(z)
	}
	if !v.why.zoneWide() {
		z.waiters.order.MoveToBack(l.place)
	}
	return v.why
}

// nextLine is the line to be served next: of the lines whose turn it is, that
// of the store with the fewest unanswered requests, so that stores share the
// workers of their zone max-min fairly, also if the requests of one take much
// longer.
func (z *zone) nextLine(missed int) *line {
	var next *line
	least := 0
	e := z.waiters.order.Front()
	for range z.waiters.look() - missed {
		l := e.Value.(*line)
		if n := z.inFlight[l.hash]; next == nil || n < least {
			next, least = l, n
		}
		e = e.Next()
	}
	return next
}

// overShare reports whether the zone has more than its fair share of the pool
// while other zones wait for a worker of it.
func (z *zone) overShare() bool {
	others := z.g.queue.wanting.Load()
	if z.listed {
		others--
	}
	return others > 0 && z.live > z.g.capacity()/max(1, int(z.g.busyZones.Load()))
}

// yields reports whether other zones that wait come first, whatever is free: the
// zone has its fair share, and may have stopped a moment ago.
func (z *zone) yields() bool {
	capacity := z.g.capacity()
	return z.silence.asked >= burst(z.hear(capacity), capacity) && z.overShare()
}

// dispatcher wakes zones that wait for a worker of the pool when one comes
// free. It is a goroutine of its own: no request waits for another zone's.
type dispatcher struct {
	waiting atomic.Int64 // requests that wait, in all zones
	wanting atomic.Int64 // zones that are listed
	poke    chan struct{}

	mu    sync.Mutex // guards below; held for a moment
	zones []*zone    // zones that wait for a worker of the pool; the next to be served first
}

// enlist has the dispatcher serve the zone when a worker of the pool comes free.
// The caller holds z.mu.
func (g *Guard) enlist(z *zone) {
	if !z.listed {
		z.listed = true
		g.queue.wanting.Add(1)
		g.queue.push(z)
	}
}

func (d *dispatcher) push(z *zone) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.zones = append(d.zones, z)
}

// pop takes out, of the zones whose turn it is, the one that occupies the fewest
// workers, so that zones share the pool max-min fairly; nil: no zone waits.
func (d *dispatcher) pop() *zone {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.zones) == 0 {
		return nil
	}
	next := 0
	for i := range min(looked, len(d.zones)) {
		if d.zones[i].occupied.Load() < d.zones[next].occupied.Load() {
			next = i
		}
	}
	z := d.zones[next]
	d.zones = slices.Delete(d.zones, next, next+1)
	return z
}

// wake tells the dispatcher that a worker may be free. With no zone waiting for
// one it costs one load.
func (g *Guard) wake() {
	if g.queue.wanting.Load() == 0 {
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

// serveZones gives the free workers of the pool to the zones that wait for one, one
// worker at a time. It ends when no worker is free, or when several zones may not
// have the last ones.
func (g *Guard) serveZones() {
	defer g.survive()
	var missed []*zone
	for len(missed) < looked {
		z := g.queue.pop()
		if z == nil {
			break
		}
		why, wants := z.takeTurn()
		switch {
		case wants && why == admitted:
			g.queue.push(z)
		case wants:
			missed = append(missed, z)
		}
		if why == poolFull {
			break // for all
		}
	}
	for _, z := range missed {
		g.queue.push(z)
	}
}

// takeTurn serves one request of a zone that the dispatcher has taken from its list,
// and reports whether the zone wants another worker.
func (z *zone) takeTurn() (why why, wants bool) {
	z.mu.Lock()
	defer z.mu.Unlock()
	now := z.g.now()
	why = beingTried
	if z.waiters.count > 0 && z.yields() {
		return poolReserve, true
	}
	for missed := 0; missed < z.waiters.look(); missed++ {
		why = z.serveNext(now, missed)
		wants = wants || why.ofPool()
		if why == admitted || why.zoneWide() {
			break
		}
	}
	if wants = z.waiters.count > 0 && (wants || why == admitted); !wants {
		z.listed = false
		z.g.queue.wanting.Add(-1)
	}
	return why, wants
}
