package recent

import (
	"context"
	"sync"

	"github.com/firebreak-proxy/firebreak/breaker"
)

// Activity is what observers need, beside the guard itself: the events and
// the last minutes. It lives as long as the guard.
type Activity struct {
	Events  *Stream
	History *History
	stop    context.CancelFunc
	work    sync.WaitGroup
}

// Watch starts to watch a guard. End it with Close.
func Watch(guard *breaker.Guard) *Activity {
	ctx, cancel := context.WithCancel(context.Background())
	w := &Activity{Events: newStream(), History: newHistory(guard), stop: cancel}
	w.work.Go(func() { w.History.run(ctx) })
	return w
}

// Close ends the goroutine and everything that listens.
func (w *Activity) Close() {
	w.stop()
	w.Events.close()
	w.work.Wait()
}
