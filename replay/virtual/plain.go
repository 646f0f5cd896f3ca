package virtual

import (
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
)

// Plain is a pool behind a proxy that does nothing but pass on: its queue is
// first come, first served, and a worker does not notice that the client of the
// request it takes next has left. The queue is the kernel's, and bounded: once it
// is full the proxy cannot connect any more.
type Plain struct {
	workers int
	backlog int
	now     time.Duration
	agenda  agenda
	queue   []*plainLife // from head on
	head    int

	Occupancy
}

// dialTimeout is Caddy's.
const dialTimeout = 3 * time.Second

// NewPlain makes a pool of so many workers, for which so many requests can wait.
func NewPlain(workers, backlog int) *Plain {
	return &Plain{workers: workers, backlog: backlog, Occupancy: newOccupancy()}
}

// Now is the time since the beginning.
func (p *Plain) Now() time.Duration { return p.now }

// At lets something happen at a time since the beginning.
func (p *Plain) At(at time.Duration, do func()) { p.agenda.add(max(at, p.now), do) }

// Run lets the time pass until then.
func (p *Plain) Run(until time.Duration) {
	for {
		next, ok := p.agenda.next()
		if !ok || next >= until {
			p.now = until
			return
		}
		p.now = next
		p.agenda.pop()()
	}
}

// plainLife is a request in the queue or with a worker.
type plainLife struct {
	job     Job
	sent    time.Duration
	began   time.Duration
	started bool
	done    bool
}

// Send sends a request now.
func (p *Plain) Send(job Job) {
	l := &plainLife{job: job, sent: p.now}
	if patience := job.Patience(); patience > 0 {
		p.At(p.now+patience, func() { p.finish(l, breaker.Gone) })
	}
	if len(p.queue)-p.head >= p.backlog {
		p.At(p.now+dialTimeout, func() { p.finish(l, breaker.NoUpstream) })
		return
	}
	p.queue = append(p.queue, l)
	p.serve()
}

func (p *Plain) serve() {
	for p.busy < p.workers && p.head < len(p.queue) {
		l := p.queue[p.head]
		p.queue[p.head] = nil
		p.head++
		if p.head == len(p.queue) {
			p.queue, p.head = p.queue[:0], 0
		}
		zone := l.job.Request().Zone
		l.started, l.began = true, p.now
		p.occupy(zone)
		takes, outcome := l.job.Start()
		p.At(p.now+takes, func() {
			p.release(zone)
			p.finish(l, outcome)
			p.serve()
		})
	}
}

func (p *Plain) finish(l *plainLife, o breaker.Outcome) {
	if l.done {
		return
	}
	l.done = true
	waited := p.now - l.sent
	if l.started {
		waited = l.began - l.sent
	}
	l.job.Done(Result{Outcome: o, Waited: waited, Took: p.now - l.sent})
}
