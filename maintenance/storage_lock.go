package maintenance

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/caddyserver/certmagic"

	"github.com/firebreak-proxy/firebreak/internal/disk"
)

// locked runs f while no other writer does. Files are locked by the operating
// system, which lets go of the lock when the process is killed and does not
// need to be polled every second; other storages by their own locks.
func (s *Storage) locked(ctx context.Context, f func() error) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if files, ok := s.storage.(*certmagic.FileStorage); ok && disk.CanLock {
		unlock, err := lockFile(ctx, files.Filename(s.key("lock")))
		if err != nil {
			return fmt.Errorf("locking the state: %w", err)
		}
		defer unlock()
		return f()
	}
	name := s.key("lock")
	if err := s.storage.Lock(ctx, name); err != nil {
		return fmt.Errorf("locking the state: %w", err)
	}
	defer func() {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_ = s.storage.Unlock(last, name)
	}()
	return f()
}

// lockFile locks a file until unlock is called or the process ends. It waits for
// others.
func lockFile(ctx context.Context, name string) (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return nil, err
	}
	for wait := time.Millisecond; ; wait = min(2*wait, 20*time.Millisecond) {
		unlock, err := disk.Lock(name)
		if !errors.Is(err, disk.ErrLocked) {
			return unlock, err
		}
		if err := pause(ctx, wait); err != nil {
			return nil, err
		}
	}
}
