package stale

import (
	"net/http"
	"strconv"
	"time"
)

// Capture is an answer that is copied while it is written to the client. It belongs
// to one goroutine at a time.
type Capture struct {
	request *Request
	id      identity
	entry   *entry
	length  int // of the body, as announced; -1: not
	body    []byte
	taken   int64 // bytes taken from the memory
	failed  bool
}

// capture begins a copy, nil if the answer is not to be kept.
func (q *Request) capture(status int, h, shared http.Header) *Capture {
	k := q.keeper
	life, ok := q.keepable(status, h)
	length := announced(h)
	if q.method == http.MethodHead {
		length = 0
	}
	if !ok || length > k.policy.maxEntry {
		k.memory.seen.Load().wait(q.hash, k.memory.second(q.at)+k.policy.refresh)
		if !ok { // what was kept is no longer what clients get
			q.shard.forget(q)
		}
		return nil
	}
	c := &Capture{request: q, id: q.identify(q.method), length: length}
	c.entry = newEntry(h, shared, nil)
	c.entry.vary = q.varies(h)
	for _, v := range c.entry.vary {
		c.entry.size += int64(32 + len(v.value))
	}
	c.entry.came, c.entry.age = time.Now(), age(h)
	c.entry.until = c.entry.came.Add(life)
	if !c.grow(max(length, 0)) {
		return nil
	}
	return c
}

func announced(h http.Header) int {
	n, err := strconv.Atoi(first(h, "Content-Length"))
	if err != nil || n < 0 {
		return -1
	}
	return n
}

// mostCaptured is the part of the memory that copies take while they are made.
const mostCaptured = 32

// grow makes room for so many bytes of a body.
func (c *Capture) grow(n int) bool {
	if n <= cap(c.body) {
		return true
	}
	m := c.request.keeper.memory
	body := append([]byte(nil), make([]byte, n)...)
	more := int64(cap(body) - cap(c.body))
	if m.capturing.Add(more) > m.max.Load()/mostCaptured || !m.makeRoom(c.request.store, more) {
		m.capturing.Add(-more)
		c.Drop()
		return false
	}
	c.taken += more
	c.body = append(body[:0], c.body...)
	return true
}

// Write copies a part of the body.
func (c *Capture) Write(p []byte) {
	if c.failed {
		return
	}
	n := len(c.body) + len(p)
	if n > c.request.keeper.policy.maxEntry || c.length >= 0 && n > c.length {
		c.Drop()
		return
	}
	if n <= cap(c.body) || c.grow(max(n, min(2*cap(c.body), c.request.keeper.policy.maxEntry))) {
		c.body = append(c.body, p...)
	}
}

// Drop gives the copy up.
func (c *Capture) Drop() {
	m := c.request.keeper.memory
	m.capturing.Add(-c.taken)
	m.used.Add(-c.taken)
	c.taken, c.body, c.failed = 0, nil, true
}

// Keep keeps the copy, if it is complete: the answer ended as it should.
func (c *Capture) Keep() {
	q, m := c.request, c.request.keeper.memory
	if c.failed || c.length >= 0 && len(c.body) != c.length {
		c.Drop()
		return
	}
	body := c.body
	if cap(body) > len(body)+len(body)/8+64 {
		body = append([]byte(nil), body...)
	}
	e := c.entry
	e.body, e.size = body[:len(body):cap(body)], e.size+int64(cap(body))
	m.capturing.Add(-c.taken)
	if more := e.size - c.taken; more > 0 && !m.makeRoom(q.store, more) {
		m.used.Add(-c.taken)
		return
	} else if more < 0 {
		m.used.Add(more)
	}
	if !q.shard.keep(q, c.id, e) {
		m.used.Add(-e.size)
		return
	}
	m.seen.Load().wait(q.hash, m.second(q.at)+q.keeper.policy.refresh)
}
