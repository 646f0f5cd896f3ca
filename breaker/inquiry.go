package breaker

import (
	"context"
	"fmt"
	"time"

	"github.com/firebreak-proxy/firebreak/config"
)

// AskFunc asks a zone's database which queries hang and how stores are, and calls
// report with what it finds, as often as it likes and until it returns.
type AskFunc func(ctx context.Context, zone string, c *config.Check, q *Inquiry, report func(Findings)) error

// Inquiry is what the guard wants to know of a zone's database.
type Inquiry struct {
	// Calm reports whether nothing is wrong with the zone: the connection is kept
	// alive, and nothing else is asked.
	Calm bool

	// SlowAfter is from which age on a query that is not blocked is of interest.
	SlowAfter time.Duration

	// Next is the store to try next; "": there is none now, and Next should be called
	// again in a few milliseconds; false: no more are to be tried. It may be called
	// concurrently.
	Next func() (store string, ok bool)

	// Cancel reports whether the query is to be cancelled whose comment names this
	// request, and this store if it names one; nil: none is. The answer is yes at
	// most once, and what came of it is to be reported.
	Cancel func(request, store string) bool
}

// Findings is what a zone's database says.
type Findings struct {
	// Listed reports whether Hanging and Blockers are a complete list.
	Listed   bool
	Hanging  []HangingQuery
	Blockers []Blocker

	// The store that was tried, if any, and how that went.
	Tried   string
	Verdict Verdict

	// What came of a query that was to be cancelled, if there was one.
	Cancelled *Cancellation
}

// Verdict is how a store is according to its database.
type Verdict uint8

// A probe that could not be run says nothing.
const (
	Unknown Verdict = iota
	Passed          // its probe was answered
	Failed          // its probe was not answered in time, and the database cancelled it
)

// HangingQuery is a query of a store that is blocked, or runs for long.
type HangingQuery struct {
	Store   string
	For     time.Duration // since the query began
	Blocked bool          // it waits for a lock
	Blocker int           // process that holds the lock, at the end of the chain; 0: not known
}

// Blocker is a session of a zone's database that other queries wait for.
type Blocker struct {
	PID    int     `json:"pid"`
	State  string  `json:"state"`         // as in pg_stat_activity, like "idle in transaction"
	Age    float64 `json:"age_s"`         // seconds since its transaction began
	Query  string  `json:"query"`         // its latest query, without literals
	App    string  `json:"app,omitempty"` // its application_name; in MySQL its user
	Blocks int     `json:"blocks"`        // queries that wait for it, directly or in a chain
}

func (b *Blocker) words() string {
	text := fmt.Sprintf("process %d (%s, for %s", b.PID, b.State, brief(int64(b.Age*float64(time.Second))))
	if b.Query != "" {
		text += ": " + b.Query
	}
	return text + ")"
}

const (
	// findingsHold is for how long what a database said counts.
	findingsHold = 3 * time.Second

	// probeSoon is how long after the first probe of a store that failed began it is
	// tried again, and probeAgain after further ones.
	probeSoon  = 500 * time.Millisecond
	probeAgain = 1500 * time.Millisecond

	// inquiryLength is for how long stores are tried until the list is asked for again.
	inquiryLength = 750 * time.Millisecond

	// inquiryIdle is for how long an inquiry waits for stores to try.
	inquiryIdle = 100 * time.Millisecond

	// inquiryGap is the least time between two inquiries of a zone.
	inquiryGap = 50 * time.Millisecond

	// mostTried bounds the stores of one zone on which verdicts are kept.
	mostTried = 10000
)

// asks reports whether the zone's database is asked about its stores.
func (z *zone) asks() bool {
	return z.policy.Check.Asks() && z.g.opts.Ask != nil && !z.shared()
}

// wantsInquiry reports whether it is time to ask the zone's database about its
// stores: four times as often as its check says while something is wrong.
func (z *zone) wantsInquiry(now int64) (q *Inquiry, c *config.Check) {
	if !z.asks() {
		return nil, nil
	}
	c = z.policy.Check
	calm := z.state == Calm && z.lates.len == 0 && !z.lost
	gap := c.Every
	if !calm {
		gap = max(gap/4, config.Duration(inquiryGap))
		if _, urgent := z.nextTrial(now, true); urgent {
			gap = config.Duration(inquiryGap)
		}
	}
	if now-z.inquiredAt < int64(gap) || !z.inquiring.CompareAndSwap(false, true) {
		return nil, nil
	}
	z.inquiredAt = now
	if !calm && z.said.since == 0 {
		z.said.since = now
	}
	q = &Inquiry{Calm: calm, SlowAfter: z.policy.SlowAfter, Next: z.nextToTry}
	if c.OnHung != nil {
		z.cancels.count(z.totals.admitted, now)
		if !z.policy.Observe {
			q.Cancel = z.mayCancel
		}
	}
	return q, c
}

// inquire asks the zone's database, and takes in what it says as it comes.
func (z *zone) inquire(ctx context.Context, q *Inquiry, c *config.Check) {
	defer z.inquiring.Store(false)
	defer z.g.survive()
	ctx, cancel := context.WithTimeout(ctx, 2*time.Duration(c.Timeout)+z.policyNow().Timeout)
	defer cancel()
	began := z.g.now()
	err := z.g.opts.Ask(ctx, z.name, c, q, func(f Findings) {
		z.do(func(z *zone, now int64) { z.testify(&f, began, now) })
		z.g.wake()
	})
	z.do(func(z *zone, _ int64) {
		z.said.trouble = ""
		if err != nil {
			z.said.trouble = err.Error()
		}
		z.said.underWay = 0
		for store, t := range z.said.tried {
			if t.running {
				delete(z.said.tried, store)
			}
		}
		if q.Calm {
			z.said = testimony{trouble: z.said.trouble}
		}
	})
}

func (z *zone) policyNow() config.ZonePolicy {
	z.mu.Lock()
	defer z.mu.Unlock()
	return *z.policy
}

// nextToTry is the store to try next. When the list is due again, and only the probes
// that are under way are waited for, stores with waiting requests do not wait for them,
// for as long again. For a while without a store to try more are waited for: to begin
// anew takes longer.
func (z *zone) nextToTry() (store string, ok bool) {
	z.do(func(z *zone, now int64) {
		length := time.Duration(now - z.inquiredAt)
		switch {
		case length < inquiryLength:
			store, ok = z.nextTrial(now, false)
		case z.said.underWay > 0 && length < 2*inquiryLength:
			store, ok = z.nextWaiting(now, func(t trialOf) bool { return t.fails == 0 })
		}
		if !ok {
			idle := time.Duration(now - max(z.inquiredAt, z.said.handedAt))
			store, ok = "", z.said.underWay > 0 || length < inquiryLength && idle < inquiryIdle
			return
		}
		z.said.handedAt = now
		z.said.tried[store] = trialOf{at: now, running: true, fails: z.said.tried[store].fails}
		z.said.underWay++
	})
	return store, ok
}

// nextWaiting is a store with waiting requests whose latest probe is as wanted.
func (z *zone) nextWaiting(now int64, wanted func(trialOf) bool) (string, bool) {
	for e := z.waiters.order.Front(); e != nil; e = e.Next() {
		if store := e.Value.(*line).store; z.wantsTrial(store, now) && wanted(z.said.tried[store]) {
			return store, true
		}
	}
	return "", false
}

// nextTrial chooses the store to try: one with waiting requests, else one with a
// request that is late, else one in quarantine, else any that requests came for
// lately. urgent leaves the latter two out.
func (z *zone) nextTrial(now int64, urgent bool) (string, bool) {
	if z.policy.Check.StoreProbe == "" || z.state == Open || len(z.said.tried) >= mostTried {
		return "", false
	}
	if z.said.tried == nil {
		z.said.tried = make(map[string]trialOf)
	}
	if store, ok := z.nextWaiting(now, func(trialOf) bool { return true }); ok {
		return store, true
	}
	for s := z.lates.head; s != nil; s = s.lnext {
		if z.wantsTrial(s.store, now) {
			return s.store, true
		}
	}
	if urgent {
		return "", false
	}
	found := ""
	z.books.each(func(rec *record) bool { // those in quarantine come first
		if z.said.tried[rec.store].verdict != Passed && z.wantsTrial(rec.store, now) {
			found = rec.store
		}
		return found == ""
	})
	return found, found != ""
}

// wantsTrial reports whether no verdict on the store counts any more.
func (z *zone) wantsTrial(store string, now int64) bool {
	t, ok := z.said.tried[store]
	switch {
	case z.heldStores[store] != nil:
		return false
	case !ok:
		return true
	case t.running:
		return false
	case t.verdict == Failed && t.fails == 1:
		return now-t.at >= int64(probeSoon)
	case t.verdict == Failed:
		return now-t.at >= int64(probeAgain)
	case t.verdict == Passed && z.lates.head != nil && t.at <= z.lates.head.start:
		return true
	}
	return now-t.at >= int64(findingsHold)
}
