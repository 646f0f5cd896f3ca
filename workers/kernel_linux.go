package workers

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// From linux/sock_diag.h, linux/inet_diag.h and linux/unix_diag.h.
const (
	sockDiagByFamily = 20

	inetRequestSize = 56
	inetMessageSize = 72
	unixRequestSize = 24
	unixMessageSize = 16

	unixShowName, unixShowQueue = 0x01, 0x10
	unixAttrName, unixAttrQueue = 0, 4

	established, closeWait, listen = 1, 8, 10 // states, of unix sockets too
)

// socket is the server's end of a connection, or a listener.
type socket struct {
	local  netip.Addr // of TCP
	state  uint8
	inode  uint32 // 0: no process has it, as before it is accepted
	unread uint32 // bytes; of a listener: connections that wait
}

// Read asks the kernel.
func (k *Kernel) Read(ctx context.Context) (Reading, error) {
	conn, err := netlink.Dial(unix.NETLINK_SOCK_DIAG, nil)
	if err != nil {
		return Reading{}, fmt.Errorf("asking the kernel about sockets: %w", err)
	}
	defer func() { _ = conn.Close() }()
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(2 * time.Second)
	}
	if err := conn.SetDeadline(deadline); err != nil {
		return Reading{}, err
	}
	listeners, err := k.sockets(conn, 1<<listen)
	if err != nil {
		return Reading{}, fmt.Errorf("asking the kernel about listeners: %w", err)
	}
	r := Reading{}
	own := make(map[netip.Addr]bool) // addresses that have a listener of their own; true: the server's
	found := false
	for _, l := range listeners {
		if own[l.local] = k.has(l.local); own[l.local] {
			found = true
			r.Queued += int(l.unread)
		}
	}
	if !found {
		return Reading{}, ErrNotHere
	}
	// The kernel lists connections one after the other, which takes milliseconds:
	// a worker that changes from one to the next may be there twice. Those that
	// are in two lists were held at the same moment, the one between them.
	var lists [2][]socket
	for i := range lists {
		if lists[i], err = k.sockets(conn, 1<<established|1<<closeWait); err != nil {
			return Reading{}, fmt.Errorf("asking the kernel about connections: %w", err)
		}
	}
	k.count(&r, own, lists)
	return r, nil
}

// count tells connections that workers hold from those that wait.
func (k *Kernel) count(r *Reading, own map[netip.Addr]bool, lists [2][]socket) {
	before := make(map[uint32]bool, len(lists[0]))
	for _, s := range lists[0] {
		before[s.inode] = true
	}
	for _, s := range lists[1] {
		if mine, ok := own[s.local]; ok && !mine || s.inode == 0 { // without an inode it waits in the listener's queue
			continue
		}
		if k.network == "tcp" && s.state == closeWait && before[s.inode] {
			r.Left++
		}
		unread := s.unread
		if s.state == closeWait && unread > 0 && k.network == "tcp" {
			unread-- // the end of the connection counts as a byte
		}
		switch {
		case !before[s.inode]:
		case unread > 0 && !k.unread:
			r.Unclear++ // a thread is yet to take it, or a worker has not read the body yet
		default:
			r.Busy++
		}
	}
}

// sockets asks for the sockets at the server's port or path.
func (k *Kernel) sockets(conn *netlink.Conn, states uint32) (sockets []socket, err error) {
	if k.network == "unix" {
		return k.unixSockets(conn, states)
	}
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		list, err := k.tcpSockets(conn, family, states)
		if err != nil {
			return nil, err
		}
		sockets = append(sockets, list...)
	}
	return sockets, nil
}

func (k *Kernel) tcpSockets(conn *netlink.Conn, family uint8, states uint32) ([]socket, error) {
	data := make([]byte, inetRequestSize)
	data[0], data[1] = family, unix.IPPROTO_TCP
	binary.NativeEndian.PutUint32(data[4:], states)
	binary.BigEndian.PutUint16(data[8:], k.port) // the server's end of a connection
	messages, err := dump(conn, data)
	if err != nil {
		return nil, err
	}
	sockets := make([]socket, len(messages))
	for i, m := range messages {
		if sockets[i], err = parseInet(m.Data); err != nil {
			return nil, err
		}
	}
	return sockets, nil
}

// parseInet reads a struct inet_diag_msg.
func parseInet(data []byte) (s socket, err error) {
	if len(data) < inetMessageSize {
		return s, fmt.Errorf("a message of %d bytes about a TCP socket is too short", len(data))
	}
	s = socket{state: data[1], unread: binary.NativeEndian.Uint32(data[56:]), inode: binary.NativeEndian.Uint32(data[68:])}
	if data[0] == unix.AF_INET {
		s.local = netip.AddrFrom4([4]byte(data[8:12]))
	} else {
		s.local = netip.AddrFrom16([16]byte(data[8:24])).Unmap()
	}
	return s, nil
}

func (k *Kernel) unixSockets(conn *netlink.Conn, states uint32) (sockets []socket, err error) {
	data := make([]byte, unixRequestSize)
	data[0] = unix.AF_UNIX
	binary.NativeEndian.PutUint32(data[4:], states)
	binary.NativeEndian.PutUint32(data[12:], unixShowName|unixShowQueue)
	messages, err := dump(conn, data)
	if err != nil {
		return nil, err
	}
	for _, m := range messages {
		s, name, err := parseUnix(m.Data)
		if err != nil {
			return nil, err
		}
		if name == k.path {
			sockets = append(sockets, s)
		}
	}
	return sockets, nil
}

// parseUnix reads a struct unix_diag_msg: the socket and its name.
func parseUnix(data []byte) (s socket, name string, err error) {
	if len(data) < unixMessageSize {
		return s, "", fmt.Errorf("a message of %d bytes about a unix socket is too short", len(data))
	}
	s = socket{state: data[2], inode: binary.NativeEndian.Uint32(data[4:])}
	attributes, err := netlink.NewAttributeDecoder(data[unixMessageSize:])
	if err != nil {
		return s, "", err
	}
	for attributes.Next() {
		switch value := attributes.Bytes(); attributes.Type() {
		case unixAttrName:
			name = unixName(string(value))
		case unixAttrQueue:
			if len(value) >= 4 {
				s.unread = binary.NativeEndian.Uint32(value)
			}
		}
	}
	return s, name, attributes.Err()
}

// unixName writes a name as addresses have it: an abstract one begins with @.
func unixName(raw string) string {
	if rest, abstract := strings.CutPrefix(raw, "\x00"); abstract {
		return "@" + rest
	}
	return strings.TrimRight(raw, "\x00")
}

// dump asks for all sockets that match. Sockets that come and go meanwhile may be
// missing or there twice: one reading proves nothing.
func dump(conn *netlink.Conn, request []byte) ([]netlink.Message, error) {
	return conn.Execute(netlink.Message{
		Header: netlink.Header{Type: sockDiagByFamily, Flags: netlink.Request | netlink.Dump},
		Data:   request,
	})
}
