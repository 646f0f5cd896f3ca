//go:build unix

package http1

import (
	"net"
	"syscall"
)

const canProbe = true

// probe looks whether a connection has anything to say, without waiting for it.
type probe struct {
	raw    syscall.RawConn
	look   func(fd uintptr) bool
	result bool
}

func newProbe(c net.Conn) *probe {
	p := new(probe)
	if s, ok := c.(syscall.Conn); ok {
		p.raw, _ = s.SyscallConn()
	}
	p.look = func(fd uintptr) bool {
		var b [1]byte
		_, err := syscall.Read(int(fd), b[:])
		p.result = err == syscall.EAGAIN || err == syscall.EWOULDBLOCK
		return true
	}
	return p
}

// able reports whether this connection can be looked at.
func (p *probe) able() bool { return p.raw != nil }

// silent reports whether nothing has come, no end either. If something has, the
// connection is of no use any more.
func (p *probe) silent() bool {
	p.result = false
	return p.raw != nil && p.raw.Read(p.look) == nil && p.result
}
