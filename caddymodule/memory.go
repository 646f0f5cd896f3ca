package caddymodule

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/internal/disk"
	"github.com/firebreak-proxy/firebreak/telemetry"
)

const (
	memoryFormat = 1

	// memoryEvery bounds how much a kill can make forgotten.
	memoryEvery = 500 * time.Millisecond

	// memoryRetry is the pause after the disk failed.
	memoryRetry = 10 * time.Second

	// maxMemory is how much of a file is read.
	maxMemory = 64 << 20
)

// memoryFile keeps on disk what the guard must not forget when the process ends:
// workers hang on, whoever asked them. It belongs to one process at a time, and to
// the time since the machine was started, which no worker outlives.
type memoryFile struct {
	guard *breaker.Guard
	app   atomic.Pointer[App] // whose logger is told
	begin sync.Once
	mu    sync.Mutex // held while the file is claimed

	stop context.CancelFunc // nil: not begun
	done chan struct{}      // closed when nothing is written any more

	// Of begin, then of the goroutine that writes.
	path    string
	unlock  func()
	written []byte // nil: not known
	failed  bool
}

// keptMemory is the file.
type keptMemory struct {
	Format int    `json:"firebreak_memory"`
	Boot   string `json:"boot,omitempty"`
	breaker.Snapshot
}

// memoryPath is where this app's sidecar keeps its memory.
func (a *App) memoryPath() string {
	name := a.Instance
	if name == "" {
		name, _ = os.Hostname()
	}
	sum := sha256.Sum256([]byte(name))
	return filepath.Join(caddy.AppDataDir(), "firebreak", "memory-"+hex.EncodeToString(sum[:6])+".json")
}

// follow has the guard go on where the last process ended, the first time it is
// called, and keeps what it knows from then on. a's logger is told of trouble. The
// file has to be claimed before.
func (m *memoryFile) follow(a *App) {
	m.app.Store(a)
	m.begin.Do(func() {
		if err := m.take(); err != nil {
			m.tell(err)
		} else if err := m.recall(); err != nil {
			a.log.Warn(telemetry.LogMemoryUnread, zap.Error(err), zap.String("file", m.path))
		}
		ctx, cancel := context.WithCancel(context.Background())
		m.stop, m.done = cancel, make(chan struct{})
		go func() {
			defer close(m.done)
			m.keep(ctx)
		}()
	})
}

// take makes the file this process's own.
func (m *memoryFile) take() error {
	if m.unlock != nil {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(m.path), 0o700); err != nil {
		return err
	}
	unlock, err := disk.Lock(m.path + lockSuffix)
	switch {
	case errors.Is(err, disk.ErrLocked):
		return fmt.Errorf("%s: %w", m.path, err)
	case errors.Is(err, errors.ErrUnsupported):
		unlock = func() {}
	case err != nil:
		return err
	}
	m.unlock = unlock
	writeOwner(m.path + lockSuffix)
	return nil
}

// recall reads what was kept.
func (m *memoryFile) recall() error {
	kept, err := readMemory(m.path)
	if err != nil || len(kept.Zones)+len(kept.Servers) == 0 {
		return err
	}
	log := m.app.Load().log
	if kept.Boot != disk.Boot() {
		log.Info(telemetry.LogMemoryOld, zap.Int("zones", len(kept.Zones)))
		return nil
	}
	m.guard.Restore(kept.Snapshot)
	if len(kept.Zones) == 0 {
		return nil
	}
	status := m.guard.Status()
	open, quarantined := 0, 0
	for i := range status.Zones {
		if status.Zones[i].State == breaker.Open {
			open++
		}
		quarantined += status.Zones[i].QuarantinedCount
	}
	log.Warn(telemetry.LogRemembered, zap.Int("zones_open", open), zap.Int("stores_in_quarantine", quarantined),
		zap.Int(telemetry.FieldHung, status.Hung), zap.String(telemetry.FieldNext,
			"nothing, if only firebreak was restarted; workers that hung are taken to hang on until their zone answers, at most for hung_hold"))
	return nil
}

// readMemory reads a file; one that is not there is empty.
func readMemory(path string) (kept keptMemory, err error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return kept, nil
	case err != nil:
		return kept, err
	case !info.Mode().IsRegular() || info.Size() > maxMemory:
		return kept, fmt.Errorf("it is no file of at most %d bytes", maxMemory)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return kept, err
	}
	if err := json.Unmarshal(data, &kept); err != nil {
		return keptMemory{}, err
	}
	if kept.Format != memoryFormat {
		return keptMemory{}, fmt.Errorf("its format is %d, this version knows %d", kept.Format, memoryFormat)
	}
	return kept, nil
}

// keep writes what changes until ctx ends, and once more then.
func (m *memoryFile) keep(ctx context.Context) {
	wait := time.Duration(0)
	for last := false; !last; {
		select {
		case <-ctx.Done():
			last = true
		case <-time.After(wait):
		}
		wait = memoryEvery
		if m.tell(m.save()); m.failed {
			wait = memoryRetry
		}
	}
	if m.unlock != nil {
		m.unlock()
	}
}

// save writes the memory if it is not what was written last. A bug must not end
// the process.
func (m *memoryFile) save() (err error) {
	defer func() {
		if v := recover(); v != nil {
			telemetry.Shared().Panics.Inc()
			err = fmt.Errorf("panic: %v", v)
		}
	}()
	if err := m.take(); err != nil {
		return err
	}
	data, err := json.Marshal(keptMemory{memoryFormat, disk.Boot(), m.guard.Snapshot()})
	if err != nil || bytes.Equal(data, m.written) {
		return err
	}
	if err := disk.Replace(m.path, data); err != nil {
		return err
	}
	m.written = data
	return nil
}

// tell logs that the memory cannot be kept, or can be again.
func (m *memoryFile) tell(err error) {
	if (err != nil) == m.failed {
		return
	}
	m.failed = err != nil
	log := m.app.Load().log
	if err == nil {
		log.Info(telemetry.LogMemoryKept)
		return
	}
	log.Warn(telemetry.LogMemoryLost, zap.Error(err), zap.String(telemetry.FieldNext,
		"nothing else is affected, but do not restart firebreak while a zone hangs: it would lend the zone its workers anew"))
}

// close writes a last time. It does not wait for a disk that hangs.
func (m *memoryFile) close() {
	if m.stop == nil {
		return
	}
	m.stop()
	select {
	case <-m.done:
	case <-time.After(stopPatience):
	}
}
