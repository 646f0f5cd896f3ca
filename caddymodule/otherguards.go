package caddymodule

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
	"github.com/firebreak-proxy/firebreak/telemetry"
)

const (
	// otherGuardsEvery is how often other processes are looked for.
	otherGuardsEvery = 2 * time.Second

	// otherGuardsPatience is for how long another process must be there to be told
	// of: when a process takes the place of another one, both run for a while.
	otherGuardsPatience = 10 * time.Second
)

// otherGuards looks for other processes on this machine that guard the same API
// servers, or listen at the same addresses: Linux lets several processes do so and
// divides the connections among them. Each would lend every zone its share of the
// same workers.
type otherGuards struct {
	guard *breaker.Guard
	begin sync.Once
	stop  context.CancelFunc
	done  chan struct{}

	mu        sync.Mutex // guards below
	log       *zap.Logger
	shares    bool         // others are expected, see the option share
	listeners []string     // addresses
	found     []otherGuard // those that were told of
}

// otherGuard is another process that guards the same.
type otherGuard struct {
	presence.Process
	since time.Time
}

// String is what is wrong, in words.
func (o *otherGuard) String() string {
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
		does = append(does, "guards the same API servers ("+some(servers)+")")
	}
	if len(listeners) > 0 {
		does = append(does, "listens at the same addresses ("+some(listeners)+")")
	}
	return fmt.Sprintf("another firebreak, process %d, %s", o.PID, strings.Join(does, " and "))
}

// What two processes may have in common.
const (
	thingServer   = "server"
	thingListener = "listener"
)

// follow looks for others than the process of this app from now on.
func (o *otherGuards) follow(a *App) {
	listeners := a.listeners()
	o.mu.Lock()
	o.log, o.listeners, o.shares = a.log, listeners, a.Share != ""
	o.mu.Unlock()
	o.begin.Do(func() {
		ctx, cancel := context.WithCancel(context.Background())
		o.stop, o.done = cancel, make(chan struct{})
		go func() {
			defer close(o.done)
			o.run(ctx)
		}()
	})
}

func (o *otherGuards) close() {
	if o.stop != nil {
		o.stop()
		<-o.done
	}
}

func (o *otherGuards) run(ctx context.Context) {
	register := presence.New()
	defer register.Close()
	defer telemetry.Shared().OtherGuards.Store(0)
	ticks := time.NewTicker(otherGuardsEvery)
	defer ticks.Stop()
	since := make(map[string]time.Time)
	for {
		o.look(register, since)
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
		}
	}
}

// look makes known what this process guards and looks for others that do. since is
// when each of them was first seen. A bug must not end the process.
func (o *otherGuards) look(register *presence.Register, since map[string]time.Time) {
	defer func() {
		if v := recover(); v != nil {
			telemetry.Shared().Panics.Inc()
		}
	}()
	// What cannot be made known, or looked up, is nobody's trouble: then there is no
	// warning.
	_ = register.Set(o.things())
	others, _ := register.Others()
	now := time.Now()
	var lasting []otherGuard
	for _, p := range others {
		if since[p.ID].IsZero() {
			since[p.ID] = now
		}
		if now.Sub(since[p.ID]) >= otherGuardsPatience {
			lasting = append(lasting, otherGuard{p, since[p.ID]})
		}
	}
	for id := range since {
		if !slices.ContainsFunc(others, func(p presence.Process) bool { return p.ID == id }) {
			delete(since, id)
		}
	}
	o.tell(lasting)
}

// things are what this process is in charge of; nothing if it is about to end, or
// shares the servers with others as it is meant to.
func (o *otherGuards) things() (list []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if caddy.Exiting() || o.shares {
		return nil
	}
	for _, server := range o.guard.Servers() {
		list = append(list, thingServer+" "+sameServer(server.Address))
	}
	for _, address := range o.listeners {
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

// listeners are the addresses that the servers of this configuration listen at.
func (a *App) listeners() (list []string) {
	a.live.mu.Lock()
	http := a.live.http
	a.live.mu.Unlock()
	if http == nil {
		return nil
	}
	for _, server := range http.Servers {
		for _, text := range server.Listen {
			if address, err := caddy.ParseNetworkAddress(text); err == nil {
				list = append(list, address.String())
			}
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// tell tells of others that are new, and of those that are gone.
func (o *otherGuards) tell(found []otherGuard) {
	o.mu.Lock()
	before, log := o.found, o.log
	o.found = found
	o.mu.Unlock()
	telemetry.Shared().OtherGuards.Store(int64(len(found)))
	for i := range found {
		if !knows(before, &found[i]) {
			log.Error(telemetry.LogOtherGuard, zap.String("problem", found[i].String()), zap.Int("pid", found[i].PID), zap.String(telemetry.FieldNext, otherGuardNext))
		}
	}
	for i := range before {
		if !knows(found, &before[i]) {
			log.Info(telemetry.LogOtherGuardGone, zap.Int("pid", before[i].PID))
		}
	}
}

// otherGuardNext is what to do about another guard.
const otherGuardNext = "stop one of the two: each lends every zone its part of the same workers, as if it were alone; if both are meant, give each its part: share 1/2"

func knows(list []otherGuard, other *otherGuard) bool {
	return slices.ContainsFunc(list, func(o otherGuard) bool { return o.ID == other.ID })
}

// warnings are what is wrong, for people.
func (o *otherGuards) warnings() (list []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := range o.found {
		list = append(list, o.found[i].String()+"; "+otherGuardNext)
	}
	return list
}
