//go:build unix

package incidents

import (
	"errors"
	"os"
	"syscall"
)

// lockFile locks a file until unlock is called or the process ends, or says
// errLocked at once.
func lockFile(name string) (unlock func(), err error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	switch {
	case err == nil:
		return func() { f.Close() }, nil
	case errors.Is(err, syscall.EWOULDBLOCK):
		err = errLocked
	case errors.Is(err, errors.ErrUnsupported):
		return func() { f.Close() }, nil // then let it be one's own
	}
	f.Close()
	return nil, err
}
