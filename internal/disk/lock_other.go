//go:build !unix

package disk

// CanLock reports whether Lock does lock.
const CanLock = false

// ID tells files apart on other systems only.
func ID(string) (id string, ok bool) { return "", false }

// Lock locks nothing here: processes need folders of their own.
func Lock(string) (unlock func(), err error) { return func() {}, nil }
