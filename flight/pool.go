package flight

import (
	"net/http"
	"sync"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// pool is goroutines that run the next handlers. They are kept when
// they have nothing to do, because a new goroutine would have to grow its
// stack, by copying it several times, down into reverse_proxy for every
// request. One that is held up by a hung request is not waited for: a new
// one takes their place.
type pool struct {
	mu      sync.Mutex // guards below
	idle    []chan job // each is an idle goroutine; the last one in is the first one out, while its stack is warm
	stopped bool
}

// job is one request on its way.
type job struct {
	f    *Flight
	next caddyhttp.Handler
	r    *http.Request
}

// maxIdleWorkers is how many goroutines wait for work at most.
const maxIdleWorkers = 256

// do runs a job on a goroutine of its own.
func (c *pool) do(j job) {
	c.mu.Lock()
	n := len(c.idle) - 1
	if n < 0 {
		c.mu.Unlock()
		go c.worker(j)
		return
	}
	jobs := c.idle[n]
	c.idle = c.idle[:n]
	c.mu.Unlock()
	jobs <- j
}

// worker runs a job, and then others.
func (c *pool) worker(j job) {
	jobs := make(chan job, 1)
	for ok := true; ok; j, ok = <-jobs {
		j.f.run(j.next, j.r)
		j = job{} //nolint:wastedassign // one that waits holds on to no request
		if !c.wait(jobs) {
			return
		}
	}
}

// wait puts a goroutine among the idle ones, unless there are enough of them.
func (c *pool) wait(jobs chan job) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped || len(c.idle) >= maxIdleWorkers {
		return false
	}
	c.idle = append(c.idle, jobs)
	return true
}

// stop ends the idle goroutines, and the others when they are done.
func (c *pool) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopped = true
	for _, jobs := range c.idle {
		close(jobs)
	}
	c.idle = nil
}
