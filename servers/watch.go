package servers

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/internal/shorten"
	"github.com/firebreak-proxy/firebreak/telemetry"
	"github.com/firebreak-proxy/firebreak/workers"
)

// Watches are the watches on the workers of API servers, one for each server whose
// status is asked. They belong to the process, so that what they have found out
// outlives a reload; each ends when its server or its setting is gone.
type Watches struct {
	guard    *breaker.Guard
	patience time.Duration

	mu      sync.Mutex // guards below
	log     *zap.Logger
	fastCGI map[string]bool // servers
	running map[string]*watch
	closed  bool
	work    sync.WaitGroup
}

// NewWatches returns the watches on a guard's servers. None runs before Follow.
func NewWatches(guard *breaker.Guard) *Watches {
	return &Watches{guard: guard, patience: statusPatience}
}

// Follow watches the servers that the guard has now, by the settings in force on it.
// fastCGI are those that are spoken to in FastCGI; log is told of trouble from now on.
func (w *Watches) Follow(log *zap.Logger, fastCGI map[string]bool) {
	w.mu.Lock()
	w.log, w.fastCGI = log, fastCGI
	w.mu.Unlock()
	w.Reconcile()
}

// Reconcile starts the watches that are missing, and stops those that are not wanted
// any more.
func (w *Watches) Reconcile() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || w.log == nil {
		return
	}
	policy, wanted := w.guard.Policy(), make(map[string]*watch)
	if policy.Status != nil || len(policy.Statuses) > 0 {
		for _, server := range w.guard.Servers() {
			if status, ok := policy.ServerStatus(server.Address); ok {
				_, own := policy.Statuses[server.Address]
				wanted[server.Address] = &watch{
					guard: w.guard, log: w.log, patience: w.patience, address: server.Address,
					kind: watchKind{status, w.fastCGI[server.Address], own},
				}
			}
		}
	}
	for address, old := range w.running {
		if next := wanted[address]; next != nil && next.kind == old.kind {
			wanted[address] = old
			continue
		}
		old.stop()
	}
	for address, next := range wanted {
		if old := w.running[address]; old != next {
			w.start(next, old)
		}
	}
	w.running = wanted
}

// start runs a watch, after the one whose place it takes has ended. The caller holds
// mu.
func (w *Watches) start(next, old *watch) {
	ctx, cancel := context.WithCancel(context.Background())
	next.stop, next.ended = cancel, make(chan struct{})
	w.work.Go(func() {
		defer close(next.ended)
		if old != nil {
			<-old.ended
		}
		next.run(ctx)
	})
}

// Close stops all watches and waits for them.
func (w *Watches) Close() {
	w.mu.Lock()
	w.closed = true
	for _, running := range w.running {
		running.stop()
	}
	w.mu.Unlock()
	w.work.Wait()
}

// watchKind is what makes two watches on a server the same.
type watchKind struct {
	status  config.ServerStatus
	fastCGI bool
	own     bool // the setting is the server's own
}

// watch is the watch on one server.
type watch struct {
	guard    *breaker.Guard
	log      *zap.Logger
	patience time.Duration
	address  string
	kind     watchKind
	stop     context.CancelFunc
	ended    chan struct{}

	// Of run.
	source   workers.Source
	known    breaker.Measured
	failing  time.Time // since when the source cannot be read; zero: it can
	complain bool      // it was told
}

const (
	// statusTimeout bounds how long a source is waited for.
	statusTimeout = 2 * time.Second

	// statusRetry is after what time the address of a server is looked up again.
	statusRetry = 30 * time.Second

	// statusProblem is how long the text about a failing source may be.
	statusProblem = 300

	// statusPatience is for how long a source must fail before that is told: a server
	// that restarts has none for a while.
	statusPatience = 10 * time.Second
)

// run watches the server until ctx ends. A bug must not end the process.
func (w *watch) run(ctx context.Context) {
	defer func() {
		if v := recover(); v != nil {
			telemetry.Shared().Panics.Inc()
			w.log.Error(telemetry.LogInternalError, zap.Any("panic", v), zap.Stack("stack"))
		}
		w.guard.Measure(w.address, breaker.Measured{LeftBehind: -1})
	}()
	for w.source == nil {
		local, err := w.open(ctx)
		if err == nil && !local {
			w.notLocal(ctx)
			return
		}
		if err == nil {
			break
		}
		w.failed(err)
		w.tell()
		select {
		case <-ctx.Done():
			return
		case <-time.After(statusRetry):
		}
	}
	(&workers.Watch{
		Source: w.source, Setting: w.setting, InFlight: w.inFlight, Tell: w.found, Read: w.read, Hurry: w.remembers, Timeout: statusTimeout,
	}).Run(ctx)
}

// open makes the source. It reports whether the source can tell anything.
func (w *watch) open(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	w.known.Source = w.kind.status.Source
	if w.kind.status.Source != config.StatusAuto {
		var err error
		w.source, err = workers.NewSource(w.kind.status, w.address)
		return true, err
	}
	w.known.Source = "kernel"
	kernel, err := workers.NewKernel(ctx, w.address, w.kind.fastCGI)
	if err != nil {
		return false, err
	}
	w.source = kernel
	return kernel.Local(), nil
}

// notLocal waits until ctx ends: of a server on another machine the kernel knows
// nothing. That is told if the setting is the server's own.
func (w *watch) notLocal(ctx context.Context) {
	if w.kind.own {
		w.failed(fmt.Errorf("it is not on this machine: name its status page, for example status %s", config.StatusExample(config.StatusFPM)))
		w.failing = w.failing.Add(-w.patience)
		w.tell()
	}
	<-ctx.Done()
}

// setting is how many workers the server has by the settings; 0: they are found out.
func (w *watch) setting() int {
	policy := w.guard.Policy()
	if policy.FindsWorkers(w.address) {
		return 0
	}
	return policy.AllWorkers(w.address, len(w.guard.Servers()))
}

// inFlight is how many requests occupy a worker of the server, or wait there.
func (w *watch) inFlight() int {
	_, occupied := w.guard.ServerOccupied(w.address)
	return occupied
}

// remembers reports whether workers of an earlier process are on the books: readings
// tell when they are free.
func (w *watch) remembers() bool {
	remembered, _ := w.guard.ServerOccupied(w.address)
	return remembered > 0
}

// found takes in that the setting is wrong, or right again.
func (w *watch) found(f workers.Finding) {
	w.known.Wrong, w.known.Write = "", ""
	if f.Wrong {
		w.known.Wrong = f.String()
		w.known.Write = w.guard.Policy().WorkersLine(w.address, f.Estimate.Workers, len(w.guard.Servers()))
	}
}

// read takes in a reading, or why there is none.
func (w *watch) read(r workers.Reading, e workers.Estimate, next int, err error) {
	w.known.Workers, w.known.Exact, w.known.Next = e.Workers, e.Exact, next
	if policy := w.guard.Policy(); e.Exact && !policy.FindsWorkers(w.address) || policy.Part(w.address).Of > 1 {
		w.known.Next = 0 // it is known, or others send requests there that are not counted here
	}
	if err != nil {
		w.failed(err)
	} else {
		remembered, occupied := w.guard.ServerOccupied(w.address)
		w.known.Busy, w.known.Queued, w.known.At = r.Busy, r.Queued, time.Now().Round(0)
		w.known.LeftBehind = workers.LeftBehind(w.source, r, occupied-remembered)
		w.worked()
	}
	w.tell()
}

func (w *watch) failed(err error) {
	if w.failing.IsZero() {
		w.failing = time.Now()
	}
	w.known.Problem, w.known.Next, w.known.LeftBehind = shorten.To(err.Error(), statusProblem), 0, -1
}

func (w *watch) worked() {
	w.failing, w.known.Problem = time.Time{}, ""
	if w.complain {
		w.complain = false
		w.log.Info(telemetry.LogStatusRead, zap.String(telemetry.FieldServer, w.address))
	}
}

// tell hands what is known to the guard. A source that fails for a while is told.
func (w *watch) tell() {
	known := w.known
	if known.Problem != "" && time.Since(w.failing) < w.patience {
		known.Problem = ""
	}
	w.guard.Measure(w.address, known)
	if known.Problem != "" && !w.complain {
		w.complain = true
		w.log.Warn(telemetry.LogStatusUnread, zap.String(telemetry.FieldServer, w.address), zap.String("error", known.Problem),
			zap.String(telemetry.FieldNext, "correct server_status, or switch it off with server_status off; requests are not affected"))
	}
}
