package zonecheck

import (
	"net"
	"sync/atomic"
)

// Allowance is how many bytes may be read from a connection, whatever its driver
// asks for.
type Allowance struct{ left atomic.Int64 }

// Set allows so many bytes from now on.
func (a *Allowance) Set(n int64) { a.left.Store(n) }

// Exceeded reports whether more came than was allowed.
func (a *Allowance) Exceeded() bool { return a.left.Load() < 0 }

// Limit is the connection with its reads limited: they fail with [ErrTooMuch] beyond
// the allowance.
func (a *Allowance) Limit(conn net.Conn) net.Conn { return limited{conn, a} }

type limited struct {
	net.Conn
	allowance *Allowance
}

// Read implements [net.Conn].
func (l limited) Read(p []byte) (int, error) {
	n, err := l.Conn.Read(p)
	if l.allowance.left.Add(-int64(n)) < 0 {
		return 0, ErrTooMuch
	}
	return n, err
}
