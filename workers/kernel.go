package workers

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Kernel asks the kernel of this machine about a server that runs on it, by the
// connections to its listener. It needs no privilege, and works on Linux only;
// elsewhere Read returns errors.ErrUnsupported.
//
// It suits servers whose workers take a connection from the listener when they
// are free: gunicorn's sync workers, PHP-FPM, Unicorn, uWSGI. Of servers that
// accept connections ahead of their workers (gunicorn's gthread) it gives a lower
// bound.
type Kernel struct {
	network string // "tcp" or "unix"
	path    string // of a unix socket; an abstract one begins with @
	port    uint16
	hosts   []netip.Addr // empty: any
	unread  bool         // an accepted connection is served even if bytes of it are unread
}

// NewKernel returns a source for the server at an address: "127.0.0.1:9000",
// "localhost:9000", "[::1]:9000", ":9000", "unix//run/api.sock" or
// "unix/@abstract". A host name is looked up once.
//
// fastCGI reports whether it speaks FastCGI. PHP-FPM leaves the end of a request unread
// while it serves it; of a server that speaks HTTP it is not clear whether a
// request of which bytes are unread is served or waits for a thread.
func NewKernel(ctx context.Context, address string, fastCGI bool) (*Kernel, error) {
	if path, ok := strings.CutPrefix(address, "unix/"); ok {
		if path == "" || path == "@" {
			return nil, fmt.Errorf("%q names no unix socket; write for example unix//run/api.sock", address)
		}
		return &Kernel{network: "unix", path: path, unread: fastCGI}, nil
	}
	host, text, err := net.SplitHostPort(strings.TrimPrefix(address, "tcp/"))
	if err != nil {
		return nil, fmt.Errorf("%q is no address: %w; write for example 127.0.0.1:9000 or unix//run/api.sock", address, err)
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil || port == 0 {
		return nil, fmt.Errorf("%q must have a port from 1 to 65535", address)
	}
	k := &Kernel{network: "tcp", port: uint16(port), unread: fastCGI}
	if host == "" {
		return k, nil
	}
	hosts, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, fmt.Errorf("looking up %s: %w", host, err)
	}
	for _, h := range hosts {
		k.hosts = append(k.hosts, h.Unmap().WithZone(""))
	}
	return k, nil
}

// Local reports whether the address is one of this machine, as far as its addresses
// tell: Read would otherwise take a listener at the same port for the server's.
func (k *Kernel) Local() bool {
	if len(k.hosts) == 0 {
		return true
	}
	addresses, err := net.InterfaceAddrs()
	return slices.ContainsFunc(k.hosts, func(host netip.Addr) bool {
		return host.IsLoopback() || host.IsUnspecified() || err == nil && slices.ContainsFunc(addresses, func(a net.Addr) bool {
			prefix, err := netip.ParsePrefix(a.String())
			return err == nil && prefix.Addr().Unmap() == host
		})
	})
}

// has reports whether a listener at an address is the server's.
func (k *Kernel) has(addr netip.Addr) bool {
	if len(k.hosts) == 0 || addr.IsUnspecified() || k.network == "unix" {
		return true
	}
	return slices.Contains(k.hosts, addr)
}
