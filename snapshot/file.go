package snapshot

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

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/internal/disk"
	"github.com/firebreak-proxy/firebreak/telemetry"
)

const (
	format = 1

	// every bounds how much a kill can make forgotten.
	every = 500 * time.Millisecond

	// retry is the pause after the disk failed.
	retry = 10 * time.Second

	// maxSize is how much of a file is read.
	maxSize = 64 << 20

	// closePatience is how long Close waits for the disk.
	closePatience = 2 * time.Second
)

// File keeps on disk what the guard must not forget when the process ends:
// its workers are still hung. It belongs to one process at a time, and to
// the time since the machine was started, which no worker outlives.
type File struct {
	guard *breaker.Guard
	log   atomic.Pointer[zap.Logger] // is told of trouble
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

// kept is the file.
type kept struct {
	Format int    `json:"firebreak_memory"`
	Boot   string `json:"boot,omitempty"`
	breaker.Snapshot
}

// New returns the file of a guard. Nothing is read or written before Claim.
func New(guard *breaker.Guard) *File { return &File{guard: guard} }

// Path is where a sidecar of this name keeps its snapshot in a data directory.
func Path(dir, instance string) string {
	sum := sha256.Sum256([]byte(instance))
	return filepath.Join(dir, "firebreak", "memory-"+hex.EncodeToString(sum[:6])+".json")
}

// Follow has the guard go on where the last process ended, the first time it is
// called, and keeps what it knows from then on. log is told of trouble. The file has
// to be claimed before.
func (f *File) Follow(log *zap.Logger) {
	f.log.Store(log)
	f.begin.Do(func() {
		if err := f.take(); err != nil {
			f.tell(err)
		} else if err := f.recall(); err != nil {
			log.Warn(telemetry.LogMemoryUnread, zap.Error(err), zap.String("file", f.path))
		}
		ctx, cancel := context.WithCancel(context.Background())
		f.stop, f.done = cancel, make(chan struct{})
		go func() {
			defer close(f.done)
			f.keep(ctx)
		}()
	})
}

// take makes the file this process's own.
func (f *File) take() error {
	if f.unlock != nil {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(f.path), 0o700); err != nil {
		return err
	}
	unlock, err := disk.Lock(f.path + lockSuffix)
	switch {
	case errors.Is(err, disk.ErrLocked):
		return fmt.Errorf("%s: %w", f.path, err)
	case errors.Is(err, errors.ErrUnsupported):
		unlock = func() {}
	case err != nil:
		return err
	}
	f.unlock = unlock
	writeOwner(f.path + lockSuffix)
	return nil
}

// recall reads what was kept.
func (f *File) recall() error {
	found, err := read(f.path)
	if err != nil || len(found.Zones)+len(found.Servers) == 0 {
		return err
	}
	log := f.log.Load()
	if found.Boot != disk.Boot() {
		log.Info(telemetry.LogMemoryOld, zap.Int("zones", len(found.Zones)))
		return nil
	}
	f.guard.Restore(found.Snapshot)
	if len(found.Zones) == 0 {
		return nil
	}
	status := f.guard.Status()
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

// read reads a file; one that is not there is empty.
func read(path string) (found kept, err error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return found, nil
	case err != nil:
		return found, err
	case !info.Mode().IsRegular() || info.Size() > maxSize:
		return found, fmt.Errorf("it is no file of at most %d bytes", maxSize)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return found, err
	}
	if err := json.Unmarshal(data, &found); err != nil {
		return kept{}, err
	}
	if found.Format != format {
		return kept{}, fmt.Errorf("its format is %d, this version knows %d", found.Format, format)
	}
	return found, nil
}

// keep writes what changes until ctx ends, and once more then.
func (f *File) keep(ctx context.Context) {
	wait := time.Duration(0)
	for last := false; !last; {
		select {
		case <-ctx.Done():
			last = true
		case <-time.After(wait):
		}
		wait = every
		if f.tell(f.save()); f.failed {
			wait = retry
		}
	}
	if f.unlock != nil {
		f.unlock()
	}
}

// save writes the memory if it is not what was written last. A bug must not end
// the process.
func (f *File) save() (err error) {
	defer func() {
		if v := recover(); v != nil {
			telemetry.Shared().Panics.Inc()
			err = fmt.Errorf("panic: %v", v)
		}
	}()
	if err := f.take(); err != nil {
		return err
	}
	data, err := json.Marshal(kept{format, disk.Boot(), f.guard.Snapshot()})
	if err != nil || bytes.Equal(data, f.written) {
		return err
	}
	if err := disk.Replace(f.path, data); err != nil {
		return err
	}
	f.written = data
	return nil
}

// tell logs that the memory cannot be kept, or can be again.
func (f *File) tell(err error) {
	if (err != nil) == f.failed {
		return
	}
	f.failed = err != nil
	log := f.log.Load()
	if err == nil {
		log.Info(telemetry.LogMemoryKept)
		return
	}
	log.Warn(telemetry.LogMemoryLost, zap.Error(err), zap.String(telemetry.FieldNext,
		"nothing else is affected, but do not restart firebreak while a zone hangs: it would lend the zone its workers anew"))
}

// Close writes a last time. It does not wait for a disk that hangs.
func (f *File) Close() {
	if f.stop == nil {
		return
	}
	f.stop()
	select {
	case <-f.done:
	case <-time.After(closePatience):
	}
}
