package virtual

import (
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
)

// life is an admitted request: the client on one side, the worker on the other.
// It reports to the slot as firebreak's own transport does.
type life struct {
	w       *World
	job     Job
	slot    *breaker.Slot
	zone    string
	sent    time.Duration
	began   time.Duration
	outcome breaker.Outcome

	working  bool // a worker has it
	answered bool // the client is done with
	over     bool // the worker is too, or its connection is closed
}

func (l *life) begin() {
	w := l.w
	l.slot.Track()
	deadline, leaves := w.now+l.slot.Timeout(), endless
	if patience := l.job.Patience(); patience > 0 {
		leaves = max(w.now, l.sent+patience)
	}
	ends := endless
	if w.workers > 0 && w.busy >= w.workers {
		w.backlog = append(w.backlog, l)
	} else {
		ends = l.start()
	}
	switch {
	case ends <= deadline && ends <= leaves:
	case leaves < deadline:
		w.At(leaves, l.leave)
	default:
		w.At(deadline, l.hang)
	}
}

const endless = time.Duration(1<<63 - 1)

// start gives it to a worker, and says when that will be free.
func (l *life) start() (ends time.Duration) {
	takes, outcome := l.job.Start()
	l.working, l.outcome = true, outcome
	l.w.occupy(l.zone)
	ends = l.w.now + takes
	l.w.At(ends, l.end)
	return ends
}

// end is the worker's end, in time or not.
func (l *life) end() {
	if l.over {
		return
	}
	l.over = true
	l.w.release(l.zone)
	if !l.answered {
		l.slot.Answer(l.outcome)
		l.slot.End(l.outcome)
		l.done(l.outcome)
	} else {
		l.slot.End(l.outcome)
	}
	l.w.next()
}

// hang is the deadline: the client is answered, the worker is not free, unless
// it notices a closed connection.
func (l *life) hang() {
	if l.answered {
		return
	}
	l.slot.Hang()
	l.done(breaker.Hung)
	if !l.slot.Policy().CancelOnTimeout {
		if after := l.slot.Policy().AbandonAfter; after > 0 {
			l.w.At(l.w.now+after, l.abandon)
		}
		return
	}
	l.over = true
	l.slot.End(breaker.Hung)
	if l.working {
		l.w.release(l.zone)
		l.w.next()
	}
}

// leave is the client's hanging up; the worker does not notice.
func (l *life) leave() {
	if l.answered {
		return
	}
	l.slot.Leave()
	l.done(breaker.Gone)
}

// abandon takes the worker for dead. It may still be busy.
func (l *life) abandon() {
	if !l.over {
		l.slot.End(breaker.Abandoned)
	}
}

func (l *life) done(o breaker.Outcome) {
	l.answered = true
	l.job.Done(Result{Outcome: o, Waited: l.began - l.sent, Took: l.w.now - l.sent})
}

// next gives workers that came free to requests that the guard admitted although
// none was: it had taken one for dead that was not.
func (w *World) next() {
	for len(w.backlog) > 0 && w.busy < w.workers {
		l := w.backlog[0]
		w.backlog = w.backlog[1:]
		if !l.over {
			l.start()
		}
	}
}
