package upload

import (
	"errors"
	"net/netip"
	"sync"
)

// Reasons not to receive a body.
var (
	ErrClient = errors.New("the client sends too many requests at once")
	ErrAll    = errors.New("too many requests are being received")
)

// Bounds is a number of requests, and the room for their bodies in bytes.
type Bounds struct {
	Requests int
	Bytes    int64
}

// Limiter bounds what is received at once. It is safe for concurrent use.
type Limiter struct {
	all, each Bounds // limits in all and of each client

	mu      sync.Mutex // guards below
	used    Bounds
	clients map[netip.Addr]Bounds // by Client; none of them empty
}

// NewLimiter makes a limiter with limits in all and for each client.
func NewLimiter(all, each Bounds) *Limiter {
	return &Limiter{all: all, each: each, clients: make(map[netip.Addr]Bounds)}
}

// Client is the address that the limits of a client hold for: of IPv6 the /64
// network, all of which as a rule belongs to one customer of a provider.
func Client(addr netip.Addr) netip.Addr {
	addr = addr.Unmap().WithZone("")
	if addr.Is6() {
		prefix, _ := addr.Prefix(64)
		return prefix.Addr()
	}
	return addr
}

// Take claims room for the body of one request. Without an error it must be
// given back.
func (l *Limiter) Take(client netip.Addr, bytes int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	mine := l.clients[client].plus(1, bytes)
	if mine.above(l.each) {
		return ErrClient
	}
	used := l.used.plus(1, bytes)
	if used.above(l.all) {
		return ErrAll
	}
	l.used, l.clients[client] = used, mine
	return nil
}

// Give gives back what was taken.
func (l *Limiter) Give(client netip.Addr, bytes int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.used = l.used.plus(-1, -bytes)
	mine := l.clients[client].plus(-1, -bytes)
	if mine.Requests == 0 {
		delete(l.clients, client)
		return
	}
	l.clients[client] = mine
}

// Used is what is taken at the moment.
func (l *Limiter) Used() Bounds {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.used
}

func (b Bounds) plus(requests int, bytes int64) Bounds {
	return Bounds{b.Requests + requests, b.Bytes + bytes}
}

func (b Bounds) above(limit Bounds) bool {
	return b.Requests > limit.Requests || b.Bytes > limit.Bytes
}
