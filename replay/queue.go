package replay

// serve lets the log's requests meet its own pool, whose queue is first come,
// first served.
func (v *inference) serve() {
	v.stuck, v.silent = make([]bool, len(v.log.Stores)), make([][]uint32, len(v.names))
	q := &queue{v: v, workers: v.policy.Pool(), busy: make([]int, len(v.names)), worst: make([]int, len(v.names))}
	for i := range v.log.Requests {
		q.arrive(uint32(i))
	}
	q.pass(endless)
	for i, n := range q.worst {
		v.found.ZoneWorst[v.names[i]] = n
	}
}

// endless is later than anything.
const endless = int64(1) << 62

// queue is the workers of the log, and the requests that wait for one.
type queue struct {
	v       *inference
	workers int
	running []work   // a heap by end
	waiting []uint32 // from head on, the first first
	head    int

	busy, worst []int // by zone
}

// work is a worker that is busy.
type work struct {
	end     int64
	request uint32
}

func (q *queue) request(i uint32) *Request { return &q.v.log.Requests[i] }

// arrive is a request's beginning.
func (q *queue) arrive(i uint32) {
	r := q.request(i)
	q.pass(r.Begin)
	switch {
	case r.has(noUpstream):
		r.Worker = r.Took // no worker heard of it
	case r.has(refusedByUs):
		q.v.guess(i)
	case q.workers == 0 || len(q.running) < q.workers:
		q.startAtOnce(i)
	default:
		if r.has(brokenOff) {
			r.flags ^= brokenOff | unanswered // the proxy did not get through
		}
		q.waiting = append(q.waiting, i)
		if !known(r) {
			q.v.guess(i)
		}
	}
}

// startAtOnce gives a worker to a request that did not wait for one.
func (q *queue) startAtOnce(i uint32) {
	r := q.request(i)
	switch {
	case known(r):
		r.Worker = r.Took
		q.v.learn(r)
	case r.Took >= int64(q.v.rule(r).SlowAfter):
		q.v.found.Unanswered++
		r.Worker = q.v.hang(i, r.Begin)
		q.v.learn(r)
	default: // a client that left so early says nothing
		q.v.found.Unanswered++
		q.v.guess(i)
		r.Worker = max(r.Worker, r.Took)
	}
	q.run(i, r.Begin, r.Worker)
}

// pass lets the time pass until now.
func (q *queue) pass(now int64) {
	for {
		end := endless
		if len(q.running) > 0 {
			end = q.running[0].end
		}
		switch {
		case q.isWrong(min(now, end)):
			q.correct()
		case end > now || end == endless:
			return
		default:
			q.finish(0)
			q.next(end)
		}
	}
}

// isWrong reports whether the first in the queue was answered before now, so that it
// had a worker after all.
func (q *queue) isWrong(now int64) bool {
	if q.head == len(q.waiting) {
		return false
	}
	r := q.request(q.waiting[q.head])
	return known(r) && r.End() <= now
}

// correct frees a worker that was only thought to be busy. How long the first in
// the queue kept it is not known.
func (q *queue) correct() {
	i := q.waiting[q.head]
	q.head++
	q.v.found.Queued++
	q.v.guess(i)
	for at := range q.running {
		if !known(q.request(q.running[at].request)) {
			q.finish(at)
			q.next(q.request(i).End())
			return
		}
	}
}

// next gives a worker that came free to the first in the queue. The worker does
// not notice if that one's client is gone by now.
func (q *queue) next(now int64) {
	if q.head == len(q.waiting) {
		return
	}
	i := q.waiting[q.head]
	q.head++
	if q.head == len(q.waiting) {
		q.waiting, q.head = q.waiting[:0], 0
	}
	r := q.request(i)
	if known(r) {
		q.v.found.Queued++
		r.Worker = r.End() - now
		q.v.learn(r)
		q.run(i, now, r.Worker)
		return
	}
	takes := q.v.usual[r.Store]
	if r.has(guessedHung) && (q.v.nextOK[i] == 0 || q.v.nextOK[i] > now) {
		takes = q.v.hang(i, now)
	}
	q.run(i, now, takes)
}

// run keeps a worker busy.
func (q *queue) run(i uint32, now, takes int64) {
	zone := q.v.zone[q.request(i).Store]
	q.busy[zone]++
	q.worst[zone] = max(q.worst[zone], q.busy[zone])
	q.running = append(q.running, work{now + takes, i})
	q.up(len(q.running) - 1)
	q.v.found.WorstBusy = max(q.v.found.WorstBusy, len(q.running))
}

// finish frees the worker at this place of the heap.
func (q *queue) finish(at int) {
	q.busy[q.v.zone[q.request(q.running[at].request).Store]]--
	last := len(q.running) - 1
	q.running[at] = q.running[last]
	q.running = q.running[:last]
	if at < last {
		q.down(at)
		q.up(at)
	}
}

func (q *queue) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if q.running[parent].end <= q.running[i].end {
			return
		}
		q.running[parent], q.running[i] = q.running[i], q.running[parent]
		i = parent
	}
}

func (q *queue) down(i int) {
	for {
		child := 2*i + 1
		if child >= len(q.running) {
			return
		}
		if child+1 < len(q.running) && q.running[child+1].end < q.running[child].end {
			child++
		}
		if q.running[i].end <= q.running[child].end {
			return
		}
		q.running[i], q.running[child] = q.running[child], q.running[i]
		i = child
	}
}
