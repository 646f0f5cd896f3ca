package loopback_test

import (
	"fmt"
	"net"
	"testing"

	"github.com/firebreak-proxy/firebreak/internal/loopback"
)

func TestPorts(t *testing.T) {
	ports, err := loopback.Ports(2000)
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[int]bool)
	for _, port := range ports {
		if seen[port] {
			t.Errorf("port %d comes twice", port)
		}
		seen[port] = true
	}
	addr, err := loopback.Addr()
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if seen[listener.Addr().(*net.TCPAddr).Port] {
		t.Errorf("%s comes twice", addr)
	}
	for range 20 { // most of what is left
		more, err := loopback.Ports(500)
		if err != nil {
			t.Fatal(err)
		}
		for _, port := range more {
			if fmt.Sprintf("127.0.0.1:%d", port) == addr {
				t.Errorf("%s is taken", addr)
			}
		}
	}
}
