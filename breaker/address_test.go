package breaker_test

import (
	"testing"

	"github.com/firebreak-proxy/firebreak/breaker"
)

func TestIsLocalAddress(t *testing.T) {
	for address, want := range map[string]bool{
		"127.0.0.1:9000": true, "127.8.0.1:9000": true, "[::1]:9000": true, "localhost:9000": true, "LocalHost.:80": true, "api.localhost:80": true,
		"[::ffff:127.0.0.1]:80": true, ":9000": true, "0.0.0.0:9000": true, "[::]:80": true, "tcp/127.0.0.1:80": true, "": true,
		"unix//run/php.sock": true, "unix+h2c//run/api.sock": true, "/run/php.sock": true, "fd/3": true,
		"169.254.10.1:80": true, "[fe80::1%eth0]:80": true, "[fe80::1]:80": true,
		"10.0.0.5:9000": false, "api3:9000": false, "api3.internal:9000": false, "[2001:db8::1]:80": false, "[fd00::1]:80": false,
		"tcp/10.0.0.5:9000": false, "192.168.1.4:80": false, "api3": false, "localhost.example.com:80": false,
	} {
		if got := breaker.IsLocalAddress(address); got != want {
			t.Errorf("%q: %t, want %t", address, got, want)
		}
	}
}
