package maintenance

import (
	"context"
	"fmt"
	"time"

	"github.com/caddyserver/certmagic"
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
	if files, ok := s.storage.(*certmagic.FileStorage); ok && canLockFiles {
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
