package caddymodule

import (
	"context"
	"sync"

	"github.com/firebreak-proxy/firebreak/breaker"
)

// watch is what people who look on need, beside the guard itself: the events,
// the last minutes and the latest picture. It lives as long as the guard.
type watch struct {
	stream  *stream
	history *history
	stop    context.CancelFunc
	work    sync.WaitGroup

	mu     sync.Mutex // guards below
	latest *picture
}

// newWatch starts to watch a guard. End it with close.
func newWatch(guard *breaker.Guard) *watch {
	ctx, cancel := context.WithCancel(context.Background())
	w := &watch{stream: newStream(), history: newHistory(guard), stop: cancel}
	w.work.Go(func() { w.history.run(ctx) })
	return w
}

// close ends the goroutine and all streams.
func (w *watch) close() {
	w.stop()
	w.stream.close()
	w.work.Wait()
}
