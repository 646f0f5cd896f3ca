package lookup

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/firebreak-proxy/firebreak/routing"
)

const (
	// waitingPerSlot bounds how many questions wait for their turn.
	waitingPerSlot = 16
	// renewalQueue is how many keys wait to be asked for in the background.
	renewalQueue = 1024
	// badAnswerEvery is how often answers that cannot be used are told of.
	badAnswerEvery = time.Minute
)

// flight is a lookup under way. Every caller that wants the same key waits for
// it, and no caller's leaving ends it.
type flight struct {
	done  chan struct{}
	found finding // once done
}

type flights struct {
	mu    sync.Mutex // guards below
	byKey map[string]*flight
	most  int
}

// wait asks the service and waits for the answer, which comes or fails within
// the timeout.
func (d *Directory) wait(ctx context.Context, key string) finding {
	f := d.join(key)
	if f == nil {
		return finding{how: howFailed}
	}
	select {
	case <-f.done:
		return f.found
	case <-ctx.Done():
		return finding{how: howFailed}
	}
}

// join returns the flight for a key, a new one if there is none. It returns nil
// while the service is down or has too much to do.
func (d *Directory) join(key string) *flight {
	if d.health.down() {
		return nil
	}
	d.flights.mu.Lock()
	defer d.flights.mu.Unlock()
	if f, ok := d.flights.byKey[key]; ok {
		return f
	}
	if len(d.flights.byKey) >= d.flights.most {
		return nil
	}
	// What comes from a request may share memory with all of it.
	key = strings.Clone(key)
	f := &flight{done: make(chan struct{}), found: finding{how: howFailed}}
	d.flights.byKey[key] = f
	go d.fly(key, f)
	return f
}

// fly lives no longer than the timeout.
func (d *Directory) fly(key string, f *flight) {
	ctx, cancel := context.WithTimeout(context.Background(), d.opts.Timeout)
	defer cancel()
	var tell []routing.SourceEvent
	select {
	case d.slots <- struct{}{}:
		tell = d.question(ctx, key, f)
		<-d.slots
	case <-ctx.Done():
	}
	d.flights.mu.Lock()
	delete(d.flights.byKey, key)
	d.flights.mu.Unlock()
	close(f.done)
	for _, event := range tell {
		d.opts.Log(event)
	}
}

// question asks the service and takes in what it says. A bug here ends as a
// failed lookup.
func (d *Directory) question(ctx context.Context, key string, f *flight) (tell []routing.SourceEvent) {
	defer func() {
		if v := recover(); v != nil {
			f.found = finding{how: howFailed}
			tell = append(tell, d.event(routing.SourceBadAnswer, fmt.Errorf("firebreak failed: %v", v)))
		}
	}()
	a, err := d.service.ask(ctx, key)
	var route routing.Route
	isNew := false
	if err == nil {
		route, isNew, err = d.learn(key, &a)
	}
	switch {
	case err == nil:
		f.found = finding{route: route, how: howAsked}
		tell = d.lives()
	case errors.Is(err, errUnknown):
		d.forget(key)
		f.found = finding{how: howUnknown}
		tell = d.lives()
	case errors.Is(err, errNotUsable):
		tell = append(d.lives(), d.distrust(key, err)...)
	default:
		d.rest(key)
		if d.health.failed(key) {
			tell = append(tell, d.event(routing.SourceLost, err))
		}
	}
	if isNew {
		tell = append(tell, d.event(routing.SourceZone, nil))
	}
	return tell
}

// lives notes that the service answers.
func (d *Directory) lives() []routing.SourceEvent {
	if d.health.lives() {
		return []routing.SourceEvent{d.event(routing.SourceBack, nil)}
	}
	return nil
}

// rest keeps requests for a key that the service has no answer to from waiting
// for it one after the other.
func (d *Directory) rest(key string) {
	if _, ok := d.known.get(key); ok {
		return // has its own pause
	}
	if b := d.base.Load(); b != nil {
		if _, ok := b.Lookup(key); ok {
			return
		}
	}
	d.unknown.put(key, d.now()+moment(d.retry()))
}

// distrust keeps an answer that cannot be used from being asked for with every
// request. What is known of the key stays.
func (d *Directory) distrust(key string, err error) []routing.SourceEvent {
	if _, ok := d.known.get(key); !ok {
		d.unknown.put(key, d.now()+moment(d.opts.NegativeTTL))
	}
	now, told := d.now(), d.badToldAt.Load()
	if told != 0 && now-moment(told) < moment(badAnswerEvery) || !d.badToldAt.CompareAndSwap(told, max(1, int64(now))) {
		return nil
	}
	return []routing.SourceEvent{d.event(routing.SourceBadAnswer, err)}
}
