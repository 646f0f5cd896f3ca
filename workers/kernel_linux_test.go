package workers

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// serve runs workers that take a connection when they are free, read a byte and
// hold the connection until the test ends.
func serve(t *testing.T, network, address string, workers int) net.Listener {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatalf("listening on %s: %v", address, err)
	}
	release := make(chan struct{})
	var work sync.WaitGroup
	for range workers {
		work.Go(func() {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
			_, _ = conn.Read(make([]byte, 1))
			<-release
		})
	}
	t.Cleanup(func() {
		close(release)
		l.Close()
		work.Wait()
	})
	return l
}

// call sends n requests of one byte.
func call(t *testing.T, network, address string, n int) (conns []net.Conn) {
	t.Helper()
	for range n {
		conn, err := net.Dial(network, address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		if _, err := conn.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
	}
	return conns
}

// TestKernel counts the workers of servers at every kind of address.
func TestKernel(t *testing.T) {
	dir := t.TempDir()
	for name, test := range map[string]struct{ network, listen, as string }{
		"IPv4":           {"tcp", "127.0.0.1:0", "127.0.0.1:PORT"},
		"IPv6":           {"tcp", "[::1]:0", "[::1]:PORT"},
		"both":           {"tcp", ":0", "127.0.0.1:PORT"},
		"a name":         {"tcp", "127.0.0.1:0", "localhost:PORT"},
		"any host":       {"tcp", "127.0.0.1:0", ":PORT"},
		"a unix socket":  {"unix", filepath.Join(dir, "s.sock"), "unix/" + filepath.Join(dir, "s.sock")},
		"an abstract":    {"unix", "@firebreak-workers-test", "unix/@firebreak-workers-test"},
		"with a network": {"tcp4", "127.0.0.1:0", "tcp/127.0.0.1:PORT"},
	} {
		t.Run(name, func(t *testing.T) {
			l := serve(t, test.network, test.listen, 3)
			address := test.as
			if tcp, ok := l.Addr().(*net.TCPAddr); ok {
				address = strings.Replace(address, "PORT", netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(tcp.Port)).String()[len("0.0.0.0:"):], 1)
			}
			k, err := NewKernel(t.Context(), address, false)
			if err != nil {
				t.Fatal(err)
			}
			expect := func(want Reading) {
				t.Helper()
				var got Reading
				for range 100 {
					if got, _, err = Steady(t.Context(), k, func() int { return -1 }); err == nil && got == want {
						return
					}
					time.Sleep(20 * time.Millisecond)
				}
				t.Errorf("%s: %+v, %v; want %+v", address, got, err, want)
			}
			expect(Reading{})
			conns := call(t, l.Addr().Network(), l.Addr().String(), 2)
			expect(Reading{Busy: 2})
			conns = append(conns, call(t, l.Addr().Network(), l.Addr().String(), 6)...)
			expect(Reading{Busy: 3, Queued: 5})
			for _, conn := range conns { // the workers do not notice
				conn.Close()
			}
			left := 0
			if k.network == "tcp" {
				left = 3
			}
			expect(Reading{Busy: 3, Queued: 5, Left: left})
		})
	}
}

// TestKernelUnread wants requests that were accepted and not read to be neither
// busy nor waiting.
func TestKernelUnread(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	call(t, "tcp", l.Addr().String(), 2)
	for range 2 {
		conn, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	k, err := NewKernel(t.Context(), l.Addr().String(), false)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(50 * time.Millisecond)
	if got, err := k.Read(t.Context()); err != nil || got != (Reading{Unclear: 2}) {
		t.Errorf("%+v, %v", got, err)
	}
	k.unread = true // as of PHP-FPM
	if got, err := k.Read(t.Context()); err != nil || got != (Reading{Busy: 2}) {
		t.Errorf("of FastCGI: %+v, %v", got, err)
	}
}

func TestKernelWithoutListener(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	other, err := netip.ParseAddrPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, address := range []string{
		netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), other.Port()).String(), // the same port, of another address
		"unix/" + filepath.Join(t.TempDir(), "none.sock"),
	} {
		k, err := NewKernel(t.Context(), address, false)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := k.Read(t.Context()); !errors.Is(err, ErrNotHere) {
			t.Errorf("%s: %+v, %v", address, got, err)
		}
	}
	k, _ := NewKernel(t.Context(), l.Addr().String(), false)
	ended, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	if got, err := k.Read(ended); err == nil {
		t.Errorf("with a context that has ended: %+v", got)
	}
}

func TestKernelAddresses(t *testing.T) {
	for address, want := range map[string]string{
		"":                        "is no address",
		"127.0.0.1":               "is no address",
		"127.0.0.1:0":             "a port from 1",
		"127.0.0.1:http":          "a port from 1",
		"127.0.0.1:70000":         "a port from 1",
		"127.0.0.1:80-81":         "a port from 1",
		"unix/":                   "names no unix socket",
		"unix/@":                  "names no unix socket",
		"no.such.host.invalid:80": "looking up no.such.host.invalid",
	} {
		if _, err := NewKernel(t.Context(), address, false); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want an error with %q", address, err, want)
		}
	}
}

// FuzzKernelMessages reads what no kernel should send.
func FuzzKernelMessages(f *testing.F) {
	f.Add(make([]byte, inetMessageSize))
	f.Add(make([]byte, unixMessageSize))
	f.Add([]byte("\x01\x01\x0a\x00\x07\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x08\x00\x00\x00@abc\x05\x00\x04\x00x"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := parseInet(data); err == nil && len(data) < inetMessageSize {
			t.Error("a short message is taken")
		}
		_, _, _ = parseUnix(data)
	})
}

func BenchmarkKernel(b *testing.B) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	k, err := NewKernel(b.Context(), l.Addr().String(), false)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := k.Read(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
