// Package loopback finds addresses of this machine without a listener.
package loopback

import (
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
)

// The kernels' ranges for outgoing connections begin above: a port from below is
// still free after a server that listened at it was started again.
const (
	lowest  = 10000
	highest = 32000
)

var given = struct {
	sync.Mutex
	ports map[int]bool
}{ports: make(map[int]bool)}

// Ports finds n ports of 127.0.0.1 without a listener. A process gets none
// twice, and two processes hardly ever the same. It is safe for concurrent use.
func Ports(n int) ([]int, error) {
	ports := make([]int, n)
	for i := range ports {
		var err error
		if ports[i], err = free(); err != nil {
			return nil, err
		}
	}
	return ports, nil
}

// Addr is the address of one such port.
func Addr() (string, error) {
	port, err := free()
	return address(port), err
}

func address(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

func free() (int, error) {
	given.Lock()
	defer given.Unlock()
	for range 1000 {
		port := lowest + rand.IntN(highest-lowest)
		if given.ports[port] {
			continue
		}
		listener, err := net.Listen("tcp", address(port))
		if err != nil {
			continue // taken
		}
		given.ports[port] = true
		return port, listener.Close()
	}
	return 0, errors.New("no free port of 127.0.0.1 was found")
}
