package lookup

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// failuresInRow make the service count as down.
const failuresInRow = 3

// The service is asked whether it is back after probeFirst, then less and less
// often.
const (
	probeFirst  = 500 * time.Millisecond
	probeSeldom = 5 * time.Second
)

// health knows whether the service answers. The zero value takes it for well.
type health struct {
	failures atomic.Int32
	isDown   atomic.Bool
	lastKey  atomic.Pointer[string] // asked for in vain, good for a probe
}

func (h *health) down() bool { return h.isDown.Load() }

// failed notes a failure and reports whether it is the one that makes the
// service count as down.
func (h *health) failed(key string) bool {
	h.lastKey.Store(&key)
	return h.failures.Add(1) >= failuresInRow && h.isDown.CompareAndSwap(false, true)
}

// lives notes an answer and reports whether the service was down.
func (h *health) lives() bool {
	if h.failures.Load() != 0 {
		h.failures.Store(0)
	}
	return h.isDown.Load() && h.isDown.CompareAndSwap(true, false)
}

// probe finds out when the service is back, since no request asks it while it
// is down.
func (d *Directory) probe(ctx context.Context) {
	pause := probeFirst
	for sleep(ctx, pause/2+jitter(pause/2)) {
		if !d.health.down() {
			pause = probeFirst
			continue
		}
		key := d.health.lastKey.Load()
		if key == nil {
			continue
		}
		limit, cancel := context.WithTimeout(ctx, d.opts.Timeout)
		a, err := d.service.ask(limit, *key)
		cancel()
		if err != nil && !errors.Is(err, errUnknown) && !errors.Is(err, errNotUsable) {
			pause = min(2*pause, probeSeldom)
			continue
		}
		if err == nil {
			_, _, _ = d.learn(*key, &a)
		}
		for _, event := range d.lives() {
			d.opts.Log(event)
		}
		pause = probeFirst
	}
}

// jitter is a random part of d.
func jitter(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return rand.N(d)
}

// sleep returns false if ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
