//go:build unix

package disk

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// CanLock reports whether Lock does lock.
const CanLock = true

// ID tells files apart, whatever their names; false: there is none of this name.
func ID(name string) (id string, ok bool) {
	info, err := os.Stat(name)
	if err != nil {
		return "", false
	}
	file, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return "", false
	}
	return fmt.Sprintf("%d:%d", file.Dev, file.Ino), true
}

// Lock locks a file, which is made if there is none, until unlock is called or
// the process ends. If somebody else has it, it says ErrLocked at once; where
// the file system knows no locks, it says errors.ErrUnsupported.
func Lock(name string) (unlock func(), err error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err == nil {
		return func() { _ = f.Close() }, nil
	}
	_ = f.Close()
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = ErrLocked
	}
	return nil, err
}
