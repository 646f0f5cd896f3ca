package caddymodule

import (
	"net/http"
	"sync"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// crew is goroutines that run what comes after a handler. They are kept when
// they have nothing to do, because a new goroutine would have to grow its
// stack, by copying it several times, down into reverse_proxy for every
// request. Those who are held up by a hung worker are not waited for: a new
// one takes their place.
type crew struct {
	mu      sync.Mutex
	idle    []chan job // each is one who waits; the last to come is the first to go, while its stack is warm
	stopped bool
}

// job is one request on its way.
type job struct {
	f    *flight
	next caddyhttp.Handler
	r    *http.Request
}

// crewIdle is how many goroutines wait for work at most.
const crewIdle = 256

func newCrew() *crew { return new(crew) }

// do runs a job on a goroutine of its own.
func (c *crew) do(j job) {
	c.mu.Lock()
	n := len(c.idle) - 1
	if n < 0 {
		c.mu.Unlock()
		go c.member(j)
		return
	}
	jobs := c.idle[n]
	c.idle = c.idle[:n]
	c.mu.Unlock()
	jobs <- j
}

// member runs a job, and then others.
func (c *crew) member(j job) {
	jobs := make(chan job, 1)
	for ok := true; ok; j, ok = <-jobs {
		j.f.run(j.next, j.r)
		j = job{} //nolint:wastedassign // one that waits holds on to no request
		if !c.wait(jobs) {
			return
		}
	}
}

// wait puts a member among those who wait, unless enough others do.
func (c *crew) wait(jobs chan job) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped || len(c.idle) >= crewIdle {
		return false
	}
	c.idle = append(c.idle, jobs)
	return true
}

// stop ends those who wait, and the others when they are done.
func (c *crew) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopped = true
	for _, jobs := range c.idle {
		close(jobs)
	}
	c.idle = nil
}
