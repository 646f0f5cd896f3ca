package workers

import (
	"fmt"
	"slices"
	"time"
)

// How much is needed for a conclusion.
const (
	window      = 30 * time.Second // readings older than this count no more
	most        = 1024             // readings that are kept
	confirmed   = 3                // readings that must have shown so many busy workers
	waiting     = 8                // readings in which something waited
	agreeing    = 0.7              // the share of them that must agree
	exactExpiry = time.Minute      // for how long Next takes an exact figure for granted
	wrongBy     = 1.5              // the factor from which on a setting is wrong
)

// Estimate is how many workers a server has, as far as it is confirmed.
type Estimate struct {
	Workers int  // 0: nothing is known yet
	Exact   bool // false: there are at least so many
	At      time.Time
}

// String is the estimate in words: "8", "at least 8", "not known".
func (e Estimate) String() string {
	switch {
	case e.Workers == 0:
		return "not known"
	case e.Exact:
		return fmt.Sprint(e.Workers)
	}
	return fmt.Sprintf("at least %d", e.Workers)
}

// Contradicts reports whether a setting is wrong by a factor of 1.5 or more.
func (e Estimate) Contradicts(setting int) bool {
	if e.Workers == 0 || setting <= 0 {
		return false
	}
	if float64(e.Workers) >= wrongBy*float64(setting) {
		return true
	}
	return e.Exact && float64(setting) >= wrongBy*float64(e.Workers)
}

// Estimator concludes from readings how many workers a server has. The zero
// value is ready to use. It is not safe for use by several goroutines.
type Estimator struct {
	readings []point // the latest, oldest first
	now      Estimate
}

// point is what one reading shows.
type point struct {
	at    time.Time
	busy  int // workers there are at least; 0: it does not say
	full  int // workers there are if the reading is right: something waited; 0: nothing did
	fixed int // workers there are as the server itself says; 0: it does not
}

// Add takes in a reading. inFlight is how many requests the caller had sent at the
// time that were not answered, or were answered but still occupied a worker;
// negative: it is not known. Readings are given in the order of time.
func (e *Estimator) Add(at time.Time, inFlight int, r Reading) {
	p := point{at: at, busy: r.Busy, fixed: r.Workers}
	others := inFlight >= 0 && inFlight < r.Busy // connections that are idle, or of other clients
	if others {
		p.busy = 0
	}
	if r.Queued > 0 && r.Unclear == 0 && !others {
		p.full = r.Busy
		if inFlight >= 0 {
			p.full = max(0, inFlight-r.Queued)
		}
	}
	e.readings = append(e.readings, p)
	old := max(0, len(e.readings)-most)
	for old < len(e.readings) && at.Sub(e.readings[old].at) > window {
		old++
	}
	e.readings = slices.Delete(e.readings, 0, old)
	e.conclude()
}

// Estimate is what is confirmed so far. A figure stands until another one is
// confirmed.
func (e *Estimator) Estimate() Estimate { return e.now }

// Next is how many requests may be in flight in order to find out more: one more
// than are known to be served at once. Once the figure is exact it is that
// figure, and one more every minute, to see whether it still is.
func (e *Estimator) Next() int {
	if n := len(e.readings); e.now.Exact && n > 0 && e.readings[n-1].at.Sub(e.now.At) < exactExpiry {
		return e.now.Workers
	}
	return e.now.Workers + 1
}

// conclude draws the conclusion from the readings that count.
func (e *Estimator) conclude() {
	at := e.readings[len(e.readings)-1].at
	if n := e.said(); n > 0 {
		e.now = Estimate{n, true, at}
		return
	}
	least := e.least()
	if n := e.full(); n > 0 && n >= least {
		e.now = Estimate{n, true, at}
		return
	}
	if least > e.now.Workers {
		e.now = Estimate{least, false, at}
	}
}

// said is the figure that the server itself has given in the latest readings.
func (e *Estimator) said() int {
	n := len(e.readings)
	if n < confirmed {
		return 0
	}
	latest := e.readings[n-confirmed:]
	for _, p := range latest {
		if p.fixed != latest[0].fixed {
			return 0
		}
	}
	return latest[0].fixed
}

// least is the largest number of workers that enough readings have shown to be
// busy.
func (e *Estimator) least() int {
	var top [confirmed]int // ascending
	for _, p := range e.readings {
		if p.busy > top[0] {
			top[0] = p.busy
			slices.Sort(top[:])
		}
	}
	return top[0]
}

// full is the figure that most of the readings agree on in which something waited;
// 0 if they do not. The latest reading must be one of them, so that a conclusion
// is not renewed by readings of long ago.
func (e *Estimator) full() int {
	if e.readings[len(e.readings)-1].full == 0 {
		return 0
	}
	count, of := 0, make(map[int]int)
	best := 0
	for _, p := range e.readings {
		if p.full == 0 {
			continue
		}
		count++
		of[p.full]++
		if of[p.full] > of[best] {
			best = p.full
		}
	}
	if count < waiting || float64(of[best]) < agreeing*float64(count) {
		return 0
	}
	return best
}
