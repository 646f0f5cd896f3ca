package otherguards

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/internal/disk"
	"github.com/firebreak-proxy/firebreak/internal/presence"
	"github.com/firebreak-proxy/firebreak/internal/shorten"
	"github.com/firebreak-proxy/firebreak/telemetry"
)

const (
	// every is how often other processes are looked for.
	every = 2 * time.Second

	// patience is for how long another process must be there to be told
	// of: when a process takes the place of another one, both run for a while.
	patience = 10 * time.Second
)

// Watch looks for other processes on this machine that guard the same API
// servers, or listen at the same addresses: Linux lets several processes do so and
// divides the connections among them. Each would lend every zone its share of the
// same workers.
type Watch struct {
	guard *breaker.Guard
	begin sync.Once
	stop  context.CancelFunc
	done  chan struct{}

	mu        sync.Mutex // guards below
	log       *zap.Logger
	shares    bool     // others are expected, see the option share
	listeners []string // addresses
	found     []other  // those that were told of
}

// other is another process that guards the same.
type other struct {
	presence.Process
	since time.Time
}

// String is what is wrong, in words.
func (o *other) String() string {
	var servers, listeners []string
	for _, thing := range o.Things {
		kind, what, _ := strings.Cut(thing, " ")
		if kind == thingListener {
			listeners = append(listeners, what)
		} else {
			servers = append(servers, what)
		}
	}
	var does []string
	if len(servers) > 0 {
		does = append(does, "guards the same API servers ("+shorten.List(servers)+")")
	}
	if len(listeners) > 0 {
		does = append(does, "listens at the same addresses ("+shorten.List(listeners)+")")
	}
	return fmt.Sprintf("another firebreak, process %d, %s", o.PID, strings.Join(does, " and "))
}

// What two processes may have in common.
const (
	thingServer   = "server"
	thingListener = "listener"
)

// New returns the watch for others than a guard. It does not run before Follow.
func New(guard *breaker.Guard) *Watch { return &Watch{guard: guard} }

// Follow looks for others from now on: for those that guard the same servers, or listen
// at one of these addresses. If shares is set, others are expected. log is told of them.
func (w *Watch) Follow(log *zap.Logger, listeners []string, shares bool) {
	w.mu.Lock()
	w.log, w.listeners, w.shares = log, listeners, shares
	w.mu.Unlock()
	w.begin.Do(func() {
		ctx, cancel := context.WithCancel(context.Background())
		w.stop, w.done = cancel, make(chan struct{})
		go func() {
			defer close(w.done)
			w.run(ctx)
		}()
	})
}

// Close ends the watch.
func (w *Watch) Close() {
	if w.stop != nil {
		w.stop()
		<-w.done
	}
}

func (w *Watch) run(ctx context.Context) {
	register := presence.New()
	defer register.Close()
	defer telemetry.Shared().OtherGuards.Store(0)
	ticks := time.NewTicker(every)
	defer ticks.Stop()
	since := make(map[string]time.Time)
	for {
		w.look(register, since)
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
		}
	}
}

// look makes known what this process guards and looks for others that do. since is
// when each of them was first seen. A bug must not end the process.
func (w *Watch) look(register *presence.Register, since map[string]time.Time) {
	defer func() {
		if v := recover(); v != nil {
			telemetry.Shared().Panics.Inc()
		}
	}()
	// What cannot be made known, or looked up, is nobody's trouble: then there is no
	// warning.
	_ = register.Set(w.things())
	others, _ := register.Others()
	now := time.Now()
	var lasting []other
	for _, p := range others {
		if since[p.ID].IsZero() {
			since[p.ID] = now
		}
		if now.Sub(since[p.ID]) >= patience {
			lasting = append(lasting, other{p, since[p.ID]})
		}
	}
	for id := range since {
		if !slices.ContainsFunc(others, func(p presence.Process) bool { return p.ID == id }) {
			delete(since, id)
		}
	}
	w.tell(lasting)
}

// things are what this process is in charge of; nothing if it is about to end, or
// shares the servers with others as it is meant to.
func (w *Watch) things() (list []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if caddy.Exiting() || w.shares {
		return nil
	}
	for _, server := range w.guard.Servers() {
		list = append(list, thingServer+" "+sameServer(server.Address))
	}
	for _, address := range w.listeners {
		list = append(list, thingListener+" "+address)
	}
	return list
}

// sameServer writes an address so that two processes write it in the same way. A
// unix socket is known by its file: two containers may have different ones at the
// same path.
func sameServer(address string) string {
	if path, ok := strings.CutPrefix(address, "unix/"); ok {
		if id, ok := disk.ID(path); ok {
			return address + " (file " + id + ")"
		}
		return address
	}
	if host, port, err := net.SplitHostPort(address); err == nil && host == "localhost" {
		return net.JoinHostPort("127.0.0.1", port)
	}
	return address
}

// tell tells of others that are new, and of those that are gone.
func (w *Watch) tell(found []other) {
	w.mu.Lock()
	before, log := w.found, w.log
	w.found = found
	w.mu.Unlock()
	telemetry.Shared().OtherGuards.Store(int64(len(found)))
	for i := range found {
		if !knows(before, &found[i]) {
			log.Error(telemetry.LogOtherGuard, zap.String("problem", found[i].String()), zap.Int("pid", found[i].PID), zap.String(telemetry.FieldNext, next))
		}
	}
	for i := range before {
		if !knows(found, &before[i]) {
			log.Info(telemetry.LogOtherGuardGone, zap.Int("pid", before[i].PID))
		}
	}
}

// next is what to do about another guard.
const next = "stop one of the two: each lends every zone its part of the same workers, as if it were alone; if both are meant, give each its part: share 1/2"

func knows(list []other, o *other) bool {
	return slices.ContainsFunc(list, func(known other) bool { return known.ID == o.ID })
}

// Warnings are what is wrong, for people.
func (w *Watch) Warnings() (list []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.found {
		list = append(list, w.found[i].String()+"; "+next)
	}
	return list
}
