package caddymodule

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/incidents"
	"github.com/firebreak-proxy/firebreak/maintenance"
)

// eventWorker tells of the guard's transitions: one log line and one Caddy
// event each, in order, from a goroutine of its own.
type eventWorker struct {
	ctx     caddy.Context
	log     *zap.Logger
	app     *caddyevents.App
	stream  *stream // for those who listen at the admin endpoint
	started startedHandler

	incidents *incidents.Log // nil: none are kept
}

// newEventWorker makes a worker that waits for the core's "started" event: the
// events app must not be used before it has started, and apps start in no
// order.
func newEventWorker(ctx caddy.Context) (*eventWorker, error) {
	app, err := ctx.App("events")
	if err != nil {
		return nil, err
	}
	w := &eventWorker{ctx: ctx, log: ctx.Logger(), app: app.(*caddyevents.App)}
	w.started = startedHandler{seen: make(chan struct{}), once: new(sync.Once)}
	return w, w.app.On("started", w.started)
}

// startedHandler notices that all apps have started.
type startedHandler struct {
	seen chan struct{}
	once *sync.Once
}

// Handle implements caddyevents.Handler.
func (s startedHandler) Handle(context.Context, caddy.Event) error {
	s.once.Do(func() { close(s.seen) })
	return nil
}

// run works until ctx ends. What it has not read by then waits for the worker
// of the next configuration, or is told at once if the process ends.
func (w *eventWorker) run(ctx context.Context, a *App) {
	guard := a.shared
	select {
	case <-w.started.seen:
	case <-ctx.Done():
		return
	}
	select {
	case guard.reader <- struct{}{}:
	case <-ctx.Done():
		return
	}
	defer func() { <-guard.reader }()
	w.incidents = a.watchIncidents()
	w.read(ctx, guard, a.board.Events(), a.recoveries)
}

func (w *eventWorker) read(ctx context.Context, guard *sharedGuard, switches <-chan maintenance.Event, jobs *sharedRecoveries) {
	events := guard.Events()
	for {
		select {
		case e := <-events:
			w.tell(&e)
		case e := <-switches:
			w.tellSwitch(&e)
		case e := <-jobs.Events():
			w.tellRecovery(&e)
		case <-ctx.Done():
			for caddy.Exiting() && len(events) > 0 {
				e := <-events
				w.tell(&e)
			}
			return
		}
		if len(events) > 0 {
			continue // nothing more can have been dropped than while it is full
		}
		if n := guard.Status().EventsDropped; n > guard.dropped {
			w.log.Error(logEventsDropped, zap.Uint64("dropped", n-guard.dropped), zap.Uint64("dropped_since_start", n))
			guard.dropped = n
		}
	}
}

// tell logs a transition and emits it.
func (w *eventWorker) tell(e *breaker.Event) {
	w.keepIncident(e)
	story := storyOf(e)
	if entry := w.log.Check(story.level, story.message); entry != nil {
		entry.Write(logFields(e, story)...)
	}
	w.emit(e.Kind, eventData(e, story))
}

// emit hands an event to Caddy's handlers, whose bugs must not end the worker.
func (w *eventWorker) emit(kind string, data map[string]any) {
	defer func() {
		if p := recover(); p != nil {
			w.log.Error(logEventHandlerPanic, zap.String("event", kind), zap.Any("panic", p), zap.Stack("stack"))
		}
	}()
	w.stream.tell(kind, data)
	w.app.Emit(w.ctx, eventPrefix+kind, data)
}

// story is how a transition is told to people.
type story struct {
	level   zapcore.Level
	message string
	next    string // what to do, or what happens by itself
}

func storyOf(e *breaker.Event) story {
	told, ok := stories[e.Kind]
	if !ok {
		return story{level: zapcore.InfoLevel, message: e.Kind}
	}
	s := story{level: told.level, message: told.message}
	if told.next != nil {
		s.next = told.next(e)
	}
	if e.Observe {
		s.message += " (mode observe: nothing is refused)"
		s.next = "nothing is refused in mode observe; set mode enforce to let firebreak act"
	}
	return s
}

func logFields(e *breaker.Event, s story) []zap.Field {
	fields := []zap.Field{zap.String(fieldEvidence, e.Evidence)}
	if e.Zone != "" {
		fields = append(fields, zap.String(fieldZone, e.Zone))
	}
	if e.Store != "" {
		fields = append(fields, zap.String(fieldStore, e.Store))
	}
	fields = append(fields, zap.Stringer(fieldFrom, e.From), zap.Stringer(fieldTo, e.To),
		zap.Int(fieldLive, e.Live), zap.Int(fieldHung, e.Hung))
	if e.For > 0 {
		fields = append(fields, zap.Duration(fieldFor, e.For), zap.Int(fieldTurn, e.Turn))
	}
	if !e.Since.IsZero() {
		fields = append(fields, zap.Duration(fieldEpisode, e.At.Sub(e.Since)))
	}
	if e.Observe {
		fields = append(fields, zap.Bool(fieldObserve, true))
	}
	if s.next != "" {
		fields = append(fields, zap.String(fieldNext, s.next))
	}
	return fields
}

// eventData is flat, so that handlers can use {event.data.zone} and the like.
func eventData(e *breaker.Event, s story) map[string]any {
	return map[string]any{
		fieldZone: e.Zone, fieldStore: e.Store, fieldFrom: e.From.String(), fieldTo: e.To.String(),
		fieldEvidence: e.Evidence, fieldTurn: e.Turn, fieldFor: e.For.String(),
		fieldLive: e.Live, fieldHung: e.Hung, fieldObserve: e.Observe,
		fieldNext: s.next, "message": s.message, "at": e.At.UTC().Format("2006-01-02T15:04:05.000Z07:00"),
	}
}

// stories are all transitions. Openings and quarantines are warnings; what
// gets better by itself is not.
var stories = map[string]struct {
	level   zapcore.Level
	message string
	next    func(*breaker.Event) string
}{
	breaker.EventZoneTroubled:     {zapcore.InfoLevel, logZoneTroubled, nil},
	breaker.EventZoneOpened:       {zapcore.WarnLevel, logZoneOpened, nextZoneOpened},
	breaker.EventZoneHalfOpen:     {zapcore.InfoLevel, logZoneHalfOpen, nil},
	breaker.EventZoneClosed:       {zapcore.InfoLevel, logZoneClosed, nil},
	breaker.EventZoneCalm:         {zapcore.InfoLevel, logZoneCalm, nil},
	breaker.EventStoreQuarantined: {zapcore.WarnLevel, logStoreQuarantined, nextStoreQuarantined},
	breaker.EventStoreHalfOpen:    {zapcore.InfoLevel, logStoreHalfOpen, nil},
	breaker.EventStoreReleased:    {zapcore.InfoLevel, logStoreReleased, nil},
	breaker.EventZoneIsolated:     {zapcore.WarnLevel, logZoneIsolated, nextHeld},
	breaker.EventZoneAdmitted:     {zapcore.WarnLevel, logZoneAdmitted, nextHeld},
	breaker.EventZoneAuto:         {zapcore.InfoLevel, logZoneAuto, nil},
	breaker.EventStoreIsolated:    {zapcore.WarnLevel, logStoreIsolated, nextHeld},
	breaker.EventStoreAdmitted:    {zapcore.WarnLevel, logStoreAdmitted, nextHeld},
	breaker.EventStoreAuto:        {zapcore.InfoLevel, logStoreAuto, nil},
	breaker.EventPoolSuspect:      {zapcore.WarnLevel, logPoolSuspect, nextPoolSuspect},
	breaker.EventPoolTrusted:      {zapcore.InfoLevel, logPoolTrusted, nil},
	breaker.EventInternalError:    {zapcore.ErrorLevel, logInternalError, nil},
}

func nextZoneOpened(e *breaker.Event) string {
	return fmt.Sprintf("look at the database of zone %s; its requests are refused, and tried again in %s without you; who causes it: GET /firebreak/culprits?zone=%s", e.Zone, e.For, e.Zone)
}

func nextStoreQuarantined(e *breaker.Event) string {
	return fmt.Sprintf("look at the data of store %s in zone %s; its requests are refused, and one is tried in %s without you; the other stores of the zone go on", e.Store, e.Zone, e.For)
}

func nextHeld(e *breaker.Event) string {
	what := "zone " + e.Zone
	if e.Store != "" {
		what = "store " + e.Store
	}
	if e.For > 0 {
		return fmt.Sprintf("it ends in %s; to hand it back to its breaker before: firebreak auto %s", e.For.Round(time.Second), what)
	}
	return "it has no end; to hand it back to its breaker: firebreak auto " + what
}

func nextPoolSuspect(*breaker.Event) string {
	return "look at the API server, its network and this host before any database: too much fails at once for one zone to be the cause; limits hold, and no further zone opens"
}
