package stale

import (
	"net/http"
	"time"
)

// Keeper is a handler's part of a memory: what it keeps, and which requests are its
// own.
type Keeper struct {
	memory *Memory
	policy policy
	site   string
}

// NewKeeper makes a keeper. The site is the handler's name among those that share the
// memory: answers of one are not given by another.
func NewKeeper(m *Memory, c *Config, site string) *Keeper {
	return &Keeper{memory: m, policy: c.policy(), site: site}
}

// Ask notes a request that came at a moment, before it goes anywhere. It reports
// whether its answer can be kept, or the answer to another changed by it. q is filled
// in, and refers to parts of r until it is reset.
func (k *Keeper) Ask(q *Request, r *http.Request, zone, store string, at time.Time) bool {
	q.keeper, q.at = k, at
	q.take(r, zone, store)
	q.epoch = q.shard.epoch.Load()
	if !q.plain {
		return changes(r.Method)
	}
	q.finish()
	q.copies = k.memory.seen.Load().due(q.hash, k.memory.second(at))
	return true
}

// Look notes a request that was refused, to find an answer for it. It reports whether
// there can be one.
func (k *Keeper) Look(q *Request, r *http.Request, zone, store string) bool {
	q.keeper = k
	q.take(r, zone, store)
	return q.plain
}

// changes reports whether a method changes what its URL stands for.
func changes(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodConnect:
		return false
	}
	return true
}

// Answerable reports whether memory may have an answer for the request.
func (q *Request) Answerable() bool { return q.plain }

// Find returns an answer for a request, nil if there is none.
func (q *Request) Find(now time.Time) *Answer {
	if q.keeper == nil || !q.plain {
		return nil
	}
	e := q.shard.find(q, q.identify(q.method), now)
	if e == nil && q.method == http.MethodHead {
		e = q.shard.find(q, q.identify(http.MethodGet), now)
	}
	if e == nil {
		return nil
	}
	return &Answer{entry: e, request: q, now: now}
}

// Begin takes in the beginning of the answer to a request. h is its header; shared
// are the fields of it that others have put there before. It returns what the body is
// to be written to, nil if it is not copied.
func (q *Request) Begin(status int, h, shared http.Header) *Capture {
	switch {
	case q.keeper == nil:
	case !q.plain:
		if status >= 200 && status < 400 {
			q.shard.forgetResource(q)
		}
	case status != http.StatusOK:
		if obsoletes(status) {
			q.shard.forget(q)
		}
	case q.copies:
		return q.capture(status, h, shared)
	}
	return nil
}
