package virtual

import "time"

// agenda is what is going to happen, in order of time. Of things at the same
// time the one that was entered first comes first.
type agenda struct {
	entries []entry // a heap
	count   uint64
}

type entry struct {
	at    time.Duration
	order uint64
	do    func()
}

func (e *entry) before(o *entry) bool {
	return e.at < o.at || e.at == o.at && e.order < o.order
}

func (a *agenda) add(at time.Duration, do func()) {
	a.count++
	a.entries = append(a.entries, entry{at, a.count, do})
	for i := len(a.entries) - 1; i > 0; {
		parent := (i - 1) / 2
		if !a.entries[i].before(&a.entries[parent]) {
			return
		}
		a.entries[i], a.entries[parent] = a.entries[parent], a.entries[i]
		i = parent
	}
}

// next is the time of the first entry, false if there is none.
func (a *agenda) next() (time.Duration, bool) {
	if len(a.entries) == 0 {
		return 0, false
	}
	return a.entries[0].at, true
}

// pop takes the first entry.
func (a *agenda) pop() func() {
	do, last := a.entries[0].do, len(a.entries)-1
	a.entries[0] = a.entries[last]
	a.entries[last] = entry{}
	a.entries = a.entries[:last]
	for i := 0; ; {
		child := 2*i + 1
		if child >= last {
			return do
		}
		if child+1 < last && a.entries[child+1].before(&a.entries[child]) {
			child++
		}
		if !a.entries[child].before(&a.entries[i]) {
			return do
		}
		a.entries[i], a.entries[child] = a.entries[child], a.entries[i]
		i = child
	}
}
