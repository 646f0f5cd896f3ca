package sizing

import (
	"fmt"
	"math"
	"time"
)

const (
	busy    = .75 // above it short peaks already wait for workers
	long    = 10 * time.Second
	windows = 3 // timeouts that must fit into the window
)

// warn says what does not fit. have is what the operator has set.
func (p *Plan) warn(have *Settings) {
	p.warnPool()
	p.warnServers()
	p.warnLimits()
	p.warnTimes(have)
}

func (p *Plan) warning(format string, args ...any) {
	p.Warnings = append(p.Warnings, fmt.Sprintf(format, args...))
}

func (p *Plan) warnPool() {
	enough := int(math.Ceil(p.Occupied / .6))
	switch {
	case p.Utilisation >= 1:
		p.warning("the pool is too small for its load: %.1f workers would be busy on average, and there are %d; no limit helps against that. With %d workers they would be busy for 60 %%", p.Occupied, p.Workers, enough)
	case p.Utilisation > busy:
		p.warning("the pool is small for its load: its workers are busy for %.0f %% of the time, so that a short peak already waits for one. With %d workers it would be 60 %%", 100*p.Utilisation, enough)
	}
	if p.Bearable == 0 && p.Utilisation < 1 {
		p.warning("with one zone frozen the %d workers that are left would be busy for %.0f %% of the time: the other zones would feel it. Take more workers", p.Workers-p.Worst, 100*p.Occupied*float64(p.Zones-1)/float64(p.Zones)/float64(p.Workers-p.Worst))
	}
	if p.Zones == 1 {
		p.warning("there is one zone only: there is no other zone to protect. Stores that are the cause are still found")
	}
}

func (p *Plan) warnLimits() {
	switch {
	case p.MaxInflight == 0:
	case p.MaxInflight < p.ZoneNeed:
		p.warning("max_inflight %d is less than the busiest zone needs on a healthy day: %.1f workers on average, %d in 99 of 100 moments; its requests would wait, and be refused after max_wait (%s). Take at least %d", p.MaxInflight, p.ZoneLoad, p.ZoneNeed, p.MaxWait, min(p.ZoneNeed, p.Workers))
	case p.MaxInflight < p.Burst && p.burstTakes() > p.MaxWait:
		p.warning("a burst of %d requests of one store does not fit into max_inflight %d, and takes longer to pass than they may wait (%s): some would be refused on a healthy day. Take max_wait %s", p.Burst, p.MaxInflight, p.MaxWait, nice(p.burstTakes()))
	}
}

// burstTakes is how long the last request of a burst waits for a worker.
func (p *Plan) burstTakes() time.Duration {
	return p.Mean * time.Duration(p.Burst-1) / time.Duration(p.slots())
}

func (p *Plan) warnTimes(have *Settings) {
	if p.Window < windows*p.Timeout {
		p.warning("the timeout (%s) is more than a third of the window (%s): firebreak refuses to start with that, since an outcome that comes after its window counts for nothing. Take window %s", p.Timeout, p.Window, windows*p.Timeout)
	}
	if p.SlowAfter >= p.Timeout {
		p.warning("slow_after (%s) is not shorter than the timeout (%s): firebreak refuses to start with that", p.SlowAfter, p.Timeout)
	}
	if have.Timeout > 0 && p.Timeout < p.P999 {
		p.warning("the timeout (%s) is shorter than what one healthy request of 1,000 takes (%s, by --p50 and --p99)", p.Timeout, p.P999.Round(time.Millisecond))
	}
	if p.Timeout > long {
		p.warning("the timeout (%s) is long: a frozen zone is seen after half of it only, and its stuck clients wait for all of it", p.Timeout)
	}
	switch {
	case p.KillAfter == 0:
		p.warning("nothing replaces a stuck worker: a frozen zone keeps its %d workers until its database answers. Set the API server's own limit (request_terminate_timeout, gunicorn's timeout, and so on) and say it with --kill-after", p.Worst)
	case p.KillAfter <= p.Timeout:
		p.warning("the API server kills a worker after %s, before firebreak answers its client (timeout %s): take a longer --kill-after or a shorter timeout", p.KillAfter, p.Timeout)
	}
}
