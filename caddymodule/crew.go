package caddymodule

import (
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// crew is goroutines that run what comes after a handler. They are kept when
// they have nothing to do, because a new goroutine would have to grow its
// stack, by copying it several times, down into reverse_proxy for every
// request. Those who are held up by a hung worker are not waited for: a new
// one takes their place.
type crew struct {
	jobs chan job      // unbuffered: only who waits for work gets it
	idle chan struct{} // one value for each that waits, or is about to
	quit chan struct{}
}

// job is one request on its way.
type job struct {
	f    *flight
	next caddyhttp.Handler
	r    *http.Request
}

// crewIdle is how many goroutines wait for work at most.
const crewIdle = 256

func newCrew() *crew {
	return &crew{jobs: make(chan job), idle: make(chan struct{}, crewIdle), quit: make(chan struct{})}
}

// do runs a job on a goroutine of its own.
func (c *crew) do(j job) {
	select {
	case c.jobs <- j:
	default:
		go c.member(j)
	}
}

// member runs a job, and then others.
func (c *crew) member(j job) {
	for {
		j.f.run(j.next, j.r)
		j = job{} //nolint:wastedassign // one that waits holds on to no request
		select {
		case c.idle <- struct{}{}:
		default:
			return // enough others wait
		}
		select {
		case j = <-c.jobs:
			<-c.idle
		case <-c.quit:
			return
		}
	}
}

// stop ends those who wait, and the others when they are done.
func (c *crew) stop() { close(c.quit) }
