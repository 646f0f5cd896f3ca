package telemetry

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
	"github.com/firebreak-proxy/firebreak/episodes"
	"github.com/firebreak-proxy/firebreak/incidents"
	"github.com/firebreak-proxy/firebreak/maintenance"
	"github.com/firebreak-proxy/firebreak/recovery"
)

// Reporter tells of the guard's transitions: one log line and one Caddy
// event each, in order, from a goroutine of its own.
type Reporter struct {
	ctx     caddy.Context
	log     *zap.Logger
	app     *caddyevents.App
	started startedHandler

	// Of run.
	turn      *Turn
	listener  Listener
	incidents *incidents.Log // nil: none are kept
}

// Listener is told of every event, before Caddy's handlers are. It must not
// block.
type Listener interface {
	Tell(kind string, data map[string]any)
}

// Sources is where a worker reads what happens.
type Sources struct {
	Guard     *breaker.Guard
	Turn      *Turn
	Switches  <-chan maintenance.Event
	Jobs      *recovery.Jobs
	Episodes  *episodes.Keeper
	Listener  Listener
	Incidents func() *incidents.Log // called when the worker's turn has come; nil: none are kept
}

// Turn is held by the one worker that reads the guard's events: in a
// reload two workers live for a moment, and two readers would mix up the order.
// It lives as long as the guard.
type Turn struct {
	held chan struct{}

	// Of the worker that holds it.
	dropped uint64    // lost events already told of
	heldOff []heldOff // the one that is due next first
}

// NewTurn makes a turn that is free.
func NewTurn() *Turn { return &Turn{held: make(chan struct{}, 1)} }

// NewReporter makes a worker that waits for the core's "started" event: the
// events app must not be used before it has started, and apps start in no
// order.
func NewReporter(ctx caddy.Context) (*Reporter, error) {
	app, err := ctx.App("events")
	if err != nil {
		return nil, err
	}
	w := &Reporter{ctx: ctx, log: ctx.Logger(), app: app.(*caddyevents.App)}
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

// Run works until ctx ends. What it has not read by then waits for the worker
// of the next configuration, or is told at once if the process ends.
func (w *Reporter) Run(ctx context.Context, from Sources) {
	select {
	case <-w.started.seen:
	case <-ctx.Done():
		return
	}
	select {
	case from.Turn.held <- struct{}{}:
	case <-ctx.Done():
		return
	}
	defer func() { <-from.Turn.held }()
	w.turn, w.listener, w.incidents = from.Turn, from.Listener, from.Incidents()
	w.read(ctx, &from)
}

func (w *Reporter) read(ctx context.Context, from *Sources) {
	events, turn := from.Guard.Events(), from.Turn
	for {
		select {
		case e := <-events:
			w.tell(&e)
		case e := <-from.Switches:
			w.tellSwitch(&e)
		case e := <-from.Jobs.Events():
			w.tellRecovery(&e)
		case e := <-from.Episodes.Events():
			w.tellEpisode(e)
		case <-w.nextDue():
		case <-ctx.Done():
			for caddy.Exiting() && len(events) > 0 {
				e := <-events
				w.tell(&e)
			}
			w.emitDue(caddy.Exiting())
			return
		}
		w.emitDue(false)
		if len(events) > 0 {
			continue // nothing more can have been dropped than while it is full
		}
		if n := from.Guard.Status().EventsDropped; n > turn.dropped {
			w.log.Error(LogEventsDropped, zap.Uint64("dropped", n-turn.dropped), zap.Uint64("dropped_since_start", n))
			turn.dropped = n
		}
	}
}

// tell logs a transition and emits it.
func (w *Reporter) tell(e *breaker.Event) {
	w.keepIncident(e)
	story := storyOf(e)
	if entry := w.log.Check(story.level, story.message); entry != nil {
		entry.Write(logFields(e, story)...)
	}
	w.emitTransition(e, eventData(e, story))
}

// emit tells the listener of an event, and Caddy's handlers.
func (w *Reporter) emit(kind string, data map[string]any) {
	w.listener.Tell(kind, data)
	w.emitToHandlers(kind, data)
}

// emitToHandlers hands an event to Caddy's handlers, whose bugs must not end the
// worker.
func (w *Reporter) emitToHandlers(kind string, data map[string]any) {
	defer func() {
		if p := recover(); p != nil {
			w.log.Error(LogEventHandlerPanic, zap.String("event", kind), zap.Any("panic", p), zap.Stack("stack"))
		}
	}()
	w.app.Emit(w.ctx, EventPrefix+kind, data)
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
		if would, ok := observed[e.Kind]; ok {
			s.message = would
		}
		s.message += " (mode observe: nothing is refused)"
		s.next = "nothing is refused in mode observe; set mode enforce to let firebreak act"
	}
	return s
}

// observed are the messages about zones in mode observe where the usual ones would
// say that requests are refused.
var observed = map[string]string{
	breaker.EventZoneOpened:       LogZoneWouldOpen,
	breaker.EventZoneHalfOpen:     LogZoneWouldTry,
	breaker.EventZoneClosed:       LogZoneWouldClose,
	breaker.EventStoreQuarantined: LogStoreWouldQuarantine,
	breaker.EventStoreHalfOpen:    LogStoreWouldTry,
	breaker.EventZoneIsolated:     LogZoneWouldIsolate,
	breaker.EventStoreIsolated:    LogStoreWouldIsolate,
}

func logFields(e *breaker.Event, s story) []zap.Field {
	fields := []zap.Field{zap.String(FieldEvidence, e.Evidence)}
	if e.Zone != "" {
		fields = append(fields, zap.String(FieldZone, e.Zone))
	}
	if e.Store != "" {
		fields = append(fields, zap.String(FieldStore, e.Store))
	}
	if e.Server != "" {
		fields = append(fields, zap.String(FieldServer, e.Server))
	}
	fields = append(fields, zap.Stringer(FieldFrom, e.From), zap.Stringer(FieldTo, e.To),
		zap.Int(FieldLive, e.Live), zap.Int(FieldHung, e.Hung))
	if e.For > 0 {
		fields = append(fields, zap.Duration(FieldFor, e.For), zap.Int(FieldTurn, e.Turn))
	}
	if !e.Since.IsZero() {
		fields = append(fields, zap.Duration(FieldEpisode, e.At.Sub(e.Since)))
	}
	if e.Write != "" {
		fields = append(fields, zap.String(FieldWrite, e.Write))
	}
	if e.Observe {
		fields = append(fields, zap.Bool(FieldObserve, true))
	}
	if s.next != "" {
		fields = append(fields, zap.String(FieldNext, s.next))
	}
	return fields
}

// eventData is flat, so that handlers can use {event.data.zone} and the like.
func eventData(e *breaker.Event, s story) map[string]any {
	return map[string]any{
		FieldZone: e.Zone, FieldStore: e.Store, FieldServer: e.Server, FieldFrom: e.From.String(), FieldTo: e.To.String(),
		FieldEvidence: e.Evidence, FieldTurn: e.Turn, FieldFor: e.For.String(),
		FieldLive: e.Live, FieldHung: e.Hung, FieldObserve: e.Observe, FieldWrite: e.Write,
		FieldNext: s.next, "message": s.message, "at": e.At.UTC().Format("2006-01-02T15:04:05.000Z07:00"),
	}
}

// stories are all transitions. Openings and quarantines are warnings; what
// gets better by itself is not.
var stories = map[string]struct {
	level   zapcore.Level
	message string
	next    func(*breaker.Event) string
}{
	breaker.EventZoneTroubled:     {zapcore.InfoLevel, LogZoneTroubled, nil},
	breaker.EventZoneOpened:       {zapcore.WarnLevel, LogZoneOpened, nextZoneOpened},
	breaker.EventZoneHalfOpen:     {zapcore.InfoLevel, LogZoneHalfOpen, nil},
	breaker.EventZoneClosed:       {zapcore.InfoLevel, LogZoneClosed, nil},
	breaker.EventZoneCalm:         {zapcore.InfoLevel, LogZoneCalm, nil},
	breaker.EventStoreQuarantined: {zapcore.WarnLevel, LogStoreQuarantined, nextStoreQuarantined},
	breaker.EventStoreHalfOpen:    {zapcore.InfoLevel, LogStoreHalfOpen, nil},
	breaker.EventStoreReleased:    {zapcore.InfoLevel, LogStoreReleased, nil},
	breaker.EventZoneIsolated:     {zapcore.WarnLevel, LogZoneIsolated, nextHeld},
	breaker.EventZoneAdmitted:     {zapcore.WarnLevel, LogZoneAdmitted, nextHeld},
	breaker.EventZoneAuto:         {zapcore.InfoLevel, LogZoneAuto, nil},
	breaker.EventStoreIsolated:    {zapcore.WarnLevel, LogStoreIsolated, nextHeld},
	breaker.EventStoreAdmitted:    {zapcore.WarnLevel, LogStoreAdmitted, nextHeld},
	breaker.EventStoreAuto:        {zapcore.InfoLevel, LogStoreAuto, nil},
	breaker.EventQueryCancelled:   {zapcore.InfoLevel, LogQueryCancelled, nil},
	breaker.EventServerOut:        {zapcore.WarnLevel, LogServerOut, nextServerOut},
	breaker.EventServerBack:       {zapcore.InfoLevel, LogServerBack, nil},
	breaker.EventWorkersWrong:     {zapcore.WarnLevel, LogWorkersWrong, nextWorkersWrong},
	breaker.EventWorkersRight:     {zapcore.InfoLevel, LogWorkersRight, nil},
	breaker.EventPoolSuspect:      {zapcore.WarnLevel, LogPoolSuspect, nextPoolSuspect},
	breaker.EventPoolTrusted:      {zapcore.InfoLevel, LogPoolTrusted, nil},
	breaker.EventInternalError:    {zapcore.ErrorLevel, LogInternalError, nil},
}

// tenths rounds a duration for people.
func tenths(d time.Duration) time.Duration { return d.Round(100 * time.Millisecond) }

func nextZoneOpened(e *breaker.Event) string {
	return fmt.Sprintf("look at the database of zone %s; its requests are refused until it is retried automatically in %s; its culprits: GET /firebreak/culprits?zone=%s", e.Zone, tenths(e.For), e.Zone)
}

func nextStoreQuarantined(e *breaker.Event) string {
	return fmt.Sprintf("look at the data of store %s in zone %s; its requests are refused until one of them is let through automatically in %s; the other stores of the zone go on", e.Store, e.Zone, tenths(e.For))
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

func nextServerOut(e *breaker.Event) string {
	return fmt.Sprintf("look at the API server %s; its workers are left out of the size of the pool, and it is tried again automatically: firebreak servers", e.Server)
}

func nextWorkersWrong(e *breaker.Event) string {
	return fmt.Sprintf("write into the firebreak settings: %s; then reload", e.Write)
}

func nextPoolSuspect(*breaker.Event) string {
	return "look at the API server, its network and this host before any database: too much fails at once for one zone to be the cause; limits hold, and no further zone opens"
}
