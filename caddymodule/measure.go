package caddymodule

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/internal/shorten"
	"github.com/firebreak-proxy/firebreak/telemetry"
	"github.com/firebreak-proxy/firebreak/workers"
)

// measures are the watches on the workers of API servers, one for each server whose
// status is asked. They belong to the process, so that what they have found out
// outlives a reload; each ends when its server or its setting is gone.
type measures struct {
	guard *breaker.Guard

	mu      sync.Mutex // guards below
	log     *zap.Logger
	fastCGI map[string]bool // servers
	running map[string]*measure
	closed  bool
	work    sync.WaitGroup
}

// follow watches the servers and the settings of an app that starts, or whose
// servers have changed.
func (m *measures) follow(a *App) {
	fastCGI := a.fastCGIServers()
	m.mu.Lock()
	m.log, m.fastCGI = a.log, fastCGI
	m.mu.Unlock()
	m.reconcile()
}

// reconcile starts the watches that are missing, and stops those that are not wanted
// any more.
func (m *measures) reconcile() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed || m.log == nil {
		return
	}
	policy, wanted := m.guard.Policy(), make(map[string]*measure)
	if policy.Status != nil || len(policy.Statuses) > 0 {
		for _, server := range m.guard.Servers() {
			if status, ok := policy.ServerStatus(server.Address); ok {
				_, own := policy.Statuses[server.Address]
				wanted[server.Address] = &measure{
					guard: m.guard, log: m.log, address: server.Address,
					kind: measureKind{status, m.fastCGI[server.Address], own},
				}
			}
		}
	}
	for address, old := range m.running {
		if next := wanted[address]; next != nil && next.kind == old.kind {
			wanted[address] = old
			continue
		}
		old.stop()
	}
	for address, next := range wanted {
		if old := m.running[address]; old != next {
			m.start(next, old)
		}
	}
	m.running = wanted
}

// start runs a watch, after the one whose place it takes has ended. The caller holds
// mu.
func (m *measures) start(next, old *measure) {
	ctx, cancel := context.WithCancel(context.Background())
	next.stop, next.ended = cancel, make(chan struct{})
	m.work.Go(func() {
		defer close(next.ended)
		if old != nil {
			<-old.ended
		}
		next.run(ctx)
	})
}

// close stops all watches and waits for them.
func (m *measures) close() {
	m.mu.Lock()
	m.closed = true
	for _, running := range m.running {
		running.stop()
	}
	m.mu.Unlock()
	m.work.Wait()
}

// measureKind is what makes two watches on a server the same.
type measureKind struct {
	status  config.ServerStatus
	fastCGI bool
	own     bool // the setting is the server's own
}

// measure is the watch on one server.
type measure struct {
	guard   *breaker.Guard
	log     *zap.Logger
	address string
	kind    measureKind
	stop    context.CancelFunc
	ended   chan struct{}

	// Of run.
	source   workers.Source
	known    breaker.Measured
	failing  time.Time // since when the source cannot be read; zero: it can
	complain bool      // it was told
}

const (
	// measureTimeout bounds how long a source is waited for.
	measureTimeout = 2 * time.Second

	// measureRetry is after what time the address of a server is looked up again.
	measureRetry = 30 * time.Second

	// measureProblem is how long the text about a failing source may be.
	measureProblem = 300
)

// measurePatience is for how long a source must fail before that is told: a server
// that restarts has none for a while. Tests change it.
var measurePatience = 10 * time.Second

// run watches the server until ctx ends. A bug must not end the process.
func (m *measure) run(ctx context.Context) {
	defer func() {
		if v := recover(); v != nil {
			telemetry.Shared().Panics.Inc()
			m.log.Error(telemetry.LogInternalError, zap.Any("panic", v), zap.Stack("stack"))
		}
		m.guard.Measure(m.address, breaker.Measured{LeftBehind: -1})
	}()
	for m.source == nil {
		local, err := m.open(ctx)
		if err == nil && !local {
			m.notLocal(ctx)
			return
		}
		if err == nil {
			break
		}
		m.failed(err)
		m.tell()
		select {
		case <-ctx.Done():
			return
		case <-time.After(measureRetry):
		}
	}
	(&workers.Watch{
		Source: m.source, Setting: m.setting, InFlight: m.inFlight, Tell: m.found, Read: m.read, Hurry: m.remembers, Timeout: measureTimeout,
	}).Run(ctx)
}

// open makes the source. It reports whether the source can tell anything.
func (m *measure) open(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, measureTimeout)
	defer cancel()
	m.known.Source = m.kind.status.Source
	if m.kind.status.Source != config.StatusAuto {
		var err error
		m.source, err = statusSource(m.kind.status, m.address)
		return true, err
	}
	m.known.Source = "kernel"
	kernel, err := workers.NewKernel(ctx, m.address, m.kind.fastCGI)
	if err != nil {
		return false, err
	}
	m.source = kernel
	return kernel.Local(), nil
}

// notLocal waits until ctx ends: of a server on another machine the kernel knows
// nothing. That is told if the setting is the server's own.
func (m *measure) notLocal(ctx context.Context) {
	if m.kind.own {
		m.failed(fmt.Errorf("it is not on this machine: name its status page, for example status %s", statusExample[config.StatusFPM]))
		m.failing = m.failing.Add(-measurePatience)
		m.tell()
	}
	<-ctx.Done()
}

// setting is how many workers the server has by the settings; 0: they are found out.
func (m *measure) setting() int {
	policy := m.guard.Policy()
	if policy.FindsWorkers(m.address) {
		return 0
	}
	return policy.AllWorkers(m.address, len(m.guard.Servers()))
}

// inFlight is how many requests occupy a worker of the server, or wait there.
func (m *measure) inFlight() int {
	_, occupied := m.guard.ServerOccupied(m.address)
	return occupied
}

// remembers reports whether workers of an earlier process are on the books: readings
// tell when they are free.
func (m *measure) remembers() bool {
	remembered, _ := m.guard.ServerOccupied(m.address)
	return remembered > 0
}

// found takes in that the setting is wrong, or right again.
func (m *measure) found(f workers.Finding) {
	m.known.Wrong, m.known.Write = "", ""
	if f.Wrong {
		m.known.Wrong = f.String()
		m.known.Write = m.guard.Policy().WorkersLine(m.address, f.Estimate.Workers, len(m.guard.Servers()))
	}
}

// read takes in a reading, or why there is none.
func (m *measure) read(r workers.Reading, e workers.Estimate, next int, err error) {
	m.known.Workers, m.known.Exact, m.known.Next = e.Workers, e.Exact, next
	if policy := m.guard.Policy(); e.Exact && !policy.FindsWorkers(m.address) || policy.Part(m.address).Of > 1 {
		m.known.Next = 0 // it is known, or others send requests there that are not counted here
	}
	if err != nil {
		m.failed(err)
	} else {
		remembered, occupied := m.guard.ServerOccupied(m.address)
		m.known.Busy, m.known.Queued, m.known.At = r.Busy, r.Queued, time.Now().Round(0)
		m.known.LeftBehind = workers.LeftBehind(m.source, r, occupied-remembered)
		m.worked()
	}
	m.tell()
}

func (m *measure) failed(err error) {
	if m.failing.IsZero() {
		m.failing = time.Now()
	}
	m.known.Problem, m.known.Next, m.known.LeftBehind = shorten.To(err.Error(), measureProblem), 0, -1
}

func (m *measure) worked() {
	m.failing, m.known.Problem = time.Time{}, ""
	if m.complain {
		m.complain = false
		m.log.Info(telemetry.LogStatusRead, zap.String(telemetry.FieldServer, m.address))
	}
}

// tell hands what is known to the guard. A source that fails for a while is told.
func (m *measure) tell() {
	known := m.known
	if known.Problem != "" && time.Since(m.failing) < measurePatience {
		known.Problem = ""
	}
	m.guard.Measure(m.address, known)
	if known.Problem != "" && !m.complain {
		m.complain = true
		m.log.Warn(telemetry.LogStatusUnread, zap.String(telemetry.FieldServer, m.address), zap.String("error", known.Problem),
			zap.String(telemetry.FieldNext, "correct server_status, or switch it off with server_status off; requests are not affected"))
	}
}

// statusSource is the source of a status page.
func statusSource(s config.ServerStatus, server string) (workers.Source, error) {
	switch s.Source {
	case config.StatusFPM:
		return workers.NewFPM(s.Address, !strings.HasPrefix(s.Address, "fastcgi://"+server))
	case config.StatusPuma:
		return workers.NewPuma(s.Address, s.Token), nil
	}
	address, byHTTP := strings.CutPrefix(s.Address, "http://")
	return workers.NewUWSGI(strings.TrimSuffix(address, "/"), byHTTP), nil
}

// checkStatus finds what is wrong with where a status is.
func checkStatus(s *config.ServerStatus) error {
	if err := s.Check(); err != nil || s == nil || s.Source == config.StatusAuto || s.Source == config.StatusOff {
		return err
	}
	_, err := statusSource(s.At("127.0.0.1:1"), "127.0.0.1:1")
	return err
}

// checkStatuses does so for all settings.
func checkStatuses(p *config.Policy) error {
	if err := checkStatus(p.Status); err != nil {
		return fmt.Errorf("server_status: %w", err)
	}
	for _, address := range slices.Sorted(maps.Keys(p.Statuses)) {
		status := p.Statuses[address]
		if err := checkStatus(&status); err != nil {
			return fmt.Errorf("server %s: status: %w", address, err)
		}
	}
	return nil
}
