package breaker

import (
	"fmt"
	"slices"
	"time"
)

// testimony is what a zone's database said lately. It is evidence about stores
// that have requests without an answer, or that failed a probe while others passed;
// a zone is never opened for it.
type testimony struct {
	hanging  map[string]HangingQuery
	blockers []Blocker
	listedAt int64 // when the list was asked for; 0: never

	tried    map[string]trialOf
	underWay int   // probes that are running
	handedAt int64 // when a store was last handed out to be tried
	since    int64 // when stores were first tried in this trouble
	passedAt int64 // when a probe that passed began, the latest
	failedAt int64 // when one began that was the first of its store to fail, the latest
	trouble  string
}

// trialOf is the latest probe of a store.
type trialOf struct {
	at      int64 // when it began
	verdict Verdict
	running bool
	fails   int // in a row
}

// testify takes in what the zone's database says.
func (z *zone) testify(f *Findings, began, now int64) {
	if f.Listed {
		z.said.hanging = make(map[string]HangingQuery, len(f.Hanging))
		for _, q := range f.Hanging {
			if old, ok := z.said.hanging[q.Store]; !ok || q.Blocked && !old.Blocked || q.Blocked == old.Blocked && q.For > old.For {
				z.said.hanging[q.Store] = q
			}
		}
		z.said.blockers, z.said.listedAt = f.Blockers, began
	}
	if f.Tried != "" && z.said.tried != nil {
		z.noteTrial(f.Tried, f.Verdict, now)
	}
	if f.Cancelled != nil {
		z.noteCancelled(f.Cancelled, now)
	}
	z.lookForLate(now)
	z.judge(now)
}

// noteTrial takes in how a probe of a store went. A store that was put into
// quarantine for its probe comes back with it.
func (z *zone) noteTrial(store string, v Verdict, now int64) {
	t := z.said.tried[store]
	if t.at == 0 {
		return
	}
	if t.running {
		z.said.underWay--
	}
	t.running, t.verdict = false, v
	z.said.tried[store] = t
	rec := z.books.get(store)
	switch v {
	case Failed:
		if t.fails++; t.fails == 1 {
			z.said.failedAt = max(z.said.failedAt, t.at)
		}
		z.said.tried[store] = t
		if rec != nil && rec.state != Calm {
			rec.byProbe = true
		}
		return
	case Unknown:
		return
	case Passed:
		t.fails = 0
		z.said.tried[store] = t
	}
	z.said.passedAt = max(z.said.passedAt, t.at)
	if l := z.waiters.lines[store]; l != nil {
		z.waiters.order.MoveToFront(l.place) // what it waits for is there
	}
	switch {
	case rec == nil || !rec.byProbe || rec.state == Calm:
	case rec.late == 0 && rec.hung == 0:
		z.release(rec, now, "its probe passes")
	case rec.state == Open:
		z.storeHalfOpen(rec, now, "its probe passes")
	}
}

// vouched reports whether the store passed a probe that began after t, lately.
func (z *zone) vouched(store string, t int64) bool {
	got, ok := z.said.tried[store]
	return ok && got.verdict == Passed && got.at > t && z.g.now()-got.at < int64(2*findingsHold)
}

// probeFails reports whether the store failed its probe lately.
func (z *zone) probeFails(store string, now int64) bool {
	t, ok := z.said.tried[store]
	return ok && t.fails > 0 && now-t.at < int64(findingsHold)
}

// probesWork reports whether probes tell soon what the zone's stores are like, so that
// their requests need not find out: they can be run, and are not failing one after the
// other without one that passes.
func (z *zone) probesWork(now int64) bool {
	if z.policy.Check == nil || z.policy.Check.StoreProbe == "" || z.said.trouble != "" || z.inquiredAt == 0 || now-z.inquiredAt > int64(findingsHold) {
		return false
	}
	return z.said.failedAt == 0 || z.said.failedAt-max(z.said.passedAt, z.said.since) < int64(z.policy.SlowAfter)
}

// hangingQuery is the store's query that was seen to hang lately, if it may be the
// one of a request that began then.
func (z *zone) hangingQuery(store string, start, now int64) (q HangingQuery, ok bool) {
	if z.said.listedAt == 0 || now-z.said.listedAt > int64(findingsHold) || z.said.listedAt < start {
		return q, false
	}
	q, ok = z.said.hanging[store]
	// A query that is older than the request is another one's.
	return q, ok && int64(q.For) <= z.said.listedAt-start+int64(querySlack)
}

// querySlack is by how much a query may seem to be older than its request.
const querySlack = 250 * time.Millisecond

// asksDatabase reports whether the requests of a store that is not proven wait for
// what the database says of it, rather than take a worker to find out.
func (z *zone) asksDatabase(store string, rec *record, now int64) bool {
	if z.probesWork(now) {
		return true
	}
	if rec == nil || rec.questions == 0 {
		return false
	}
	for s := z.lates.head; s != nil; s = s.lnext {
		if s.question && s.store == store {
			q, ok := z.hangingQuery(store, s.start, now)
			return ok && q.Blocked
		}
	}
	return false
}

// judgeWitnessed puts stores into quarantine on the word of the database: those
// with a request without an answer whose query was seen to hang, and those whose
// probe failed. Both only while other stores are well.
func (z *zone) judgeWitnessed(now int64) {
	if z.said.listedAt == 0 && len(z.said.tried) == 0 {
		return
	}
	guilty := make(map[*record]string)
	for s := z.lates.head; s != nil; s = s.lnext {
		if !s.question || z.heldStores[s.store] != nil {
			continue
		}
		if why := z.queryAgainst(s, now); why != "" {
			guilty[z.books.ensure(s.store)] = why
		}
	}
	for store, t := range z.said.tried {
		if t.verdict != Failed || now-t.at > int64(findingsHold) || z.heldStores[store] != nil {
			continue
		}
		if !z.probesTell(store, t) {
			continue
		}
		if rec := z.books.ensure(store); rec.state == Calm && max(rec.since, rec.answeredAt) < t.at && (t.fails > 1 || rec.questions > 0) {
			rec.byProbe = true
			guilty[rec] = "its probe in the database has no answer, while those of other stores have" + z.blockerOf(store)
		}
	}
	var named []*record
	for rec := range guilty {
		if rec.state == Calm {
			named = append(named, rec)
		}
	}
	slices.SortFunc(named, byStore)
	for _, rec := range named {
		z.confirmed = true
		z.quarantine(rec, now, guilty[rec])
		z.confirmed = false
	}
}

// probesTell reports whether a probe that failed speaks against its store: probes of
// others pass, and the zone has answered since it began.
func (z *zone) probesTell(store string, t trialOf) bool {
	return z.said.passedAt > t.at || z.said.passedAt > t.at-int64(findingsHold) && z.answered.elsewhereSince(z.g.hashOf(store), t.at)
}

// queryAgainst says what the database has against the store of a request that is
// late, or nothing: its query is blocked, for half of slow_after at least; or it is
// not blocked, and runs on though its client was sent away.
func (z *zone) queryAgainst(s *Slot, now int64) string {
	if z.blame(s) != blameStore {
		return ""
	}
	q, ok := z.hangingQuery(s.store, s.start, now)
	switch {
	case !ok:
		return ""
	case q.Blocked && int64(q.For) >= s.slowAfter/2 && now-s.start >= s.slowAfter/2:
		return fmt.Sprintf("a request has no answer for %s, and its query waits for a lock in the database%s", brief(now-s.start), z.blockerOf(s.store))
	case !q.Blocked && s.phase == hung && s.struck && int64(q.For) >= s.timeout && z.mixed():
		return fmt.Sprintf("a request has no answer for %s, and its query runs in the database for %s", brief(now-s.start), brief(int64(q.For)))
	}
	return ""
}

// blocked says which session most queries of the zone wait for, if any do.
func (z *zone) blocked(now int64) string {
	if len(z.said.blockers) == 0 || now-z.said.listedAt > int64(findingsHold) {
		return ""
	}
	b := &z.said.blockers[0]
	return fmt.Sprintf("; %d queries in its database wait for %s", b.Blocks, b.words())
}

// blockerOf names what the store's query waits for.
func (z *zone) blockerOf(store string) string {
	pid := z.said.hanging[store].Blocker
	for i := range z.said.blockers {
		if b := &z.said.blockers[i]; b.PID == pid || pid == 0 && i == 0 && z.said.tried[store].verdict == Failed {
			return "; held by " + b.words()
		}
	}
	return ""
}
