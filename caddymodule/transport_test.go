package caddymodule_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/fcgi"
	"net/http/httptest"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/firebreak-proxy/firebreak/breaker"
)

// TestTransportInTime: nothing changes while all is well.
func TestTransportInTime(t *testing.T) {
	bothWays(t, func(t *testing.T, via string) {
		s := startProxy(t, "", via, func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/empty":
				w.WriteHeader(204)
			case "/large":
				_, _ = io.WriteString(w, strings.Repeat("x", 1<<20))
			case "/fail":
				w.WriteHeader(503)
			}
		})
		for _, c := range []struct {
			path         string
			status, size int
		}{{"/empty", 204, 0}, {"/large", 200, 1 << 20}, {"/fail", 503, 0}} {
			if res, body := s.get(t, c.path+"?key=a"); res.StatusCode != c.status || len(body) != c.size {
				t.Errorf("%s: status %d and %d bytes, want %d and %d", c.path, res.StatusCode, len(body), c.status, c.size)
			}
		}
		s.wantOutcome(t, "z1", breaker.OK, 2)
		s.wantOutcome(t, "z1", breaker.Failure, 1)
		s.wantSlots(t, "z1", 0, 0)
	})
}

// TestLateAnswerEndsSlot: the slot lives exactly as long as the worker works.
func TestLateAnswerEndsSlot(t *testing.T) {
	bothWays(t, func(t *testing.T, via string) {
		stuck := newGate(t)
		s := startProxy(t, "hung_hold 1m", via, func(w http.ResponseWriter, _ *http.Request) {
			stuck.wait()
			_, _ = io.WriteString(w, strings.Repeat("late", 1000))
		})
		start := time.Now()
		res, body := s.get(t, "/?key=a")
		within(t, "the answer", time.Since(start), 500*time.Millisecond, 2*time.Second)
		wantHung(t, res, body)
		s.wantSlots(t, "z1", 0, 1)
		time.Sleep(500 * time.Millisecond)
		s.wantSlots(t, "z1", 0, 1)
		stuck.release()
		s.wantSlots(t, "z1", 0, 0)
	})
}

// TestOtherHandlersTimeoutFreesNoWorker: a handler between firebreak and the
// transport gives up early; the worker is busy nonetheless.
func TestOtherHandlersTimeoutFreesNoWorker(t *testing.T) {
	bothWays(t, func(t *testing.T, via string) {
		setWrap(t, func(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
			ctx, cancel := context.WithTimeout(r.Context(), 100*time.Millisecond)
			defer cancel()
			return next.ServeHTTP(w, r.WithContext(ctx))
		})
		stuck := newGate(t)
		upstream := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { stuck.wait() }))
		defer upstream.Close()
		defer stuck.release()
		s := startGuarded(t, "hung_hold 1m", "", fmt.Sprintf("test_next\nreverse_proxy %s {\n%s\n}", upstream.Listener.Addr(), via))
		res, body := s.get(t, "/?key=a")
		wantHung(t, res, body)
		s.wantSlots(t, "z1", 0, 1)
		time.Sleep(300 * time.Millisecond)
		s.wantSlots(t, "z1", 0, 1)
		stuck.release()
		s.wantSlots(t, "z1", 0, 0)
	})
}

// TestClientLeavesWorkerGoesOn: the worker does not see that the client left.
func TestClientLeavesWorkerGoesOn(t *testing.T) {
	bothWays(t, func(t *testing.T, via string) {
		stuck := newGate(t)
		var cancelled atomic.Bool
		s := startProxy(t, "hung_hold 1m", via, func(_ http.ResponseWriter, r *http.Request) {
			stuck.wait()
			cancelled.Store(r.Context().Err() != nil)
		})
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if _, err := s.do(ctx, http.MethodGet, "/?key=a", nil); err == nil {
			t.Fatal("got an answer from a stuck server")
		}
		s.wantSlots(t, "z1", 0, 1)
		stuck.release()
		s.wantSlots(t, "z1", 0, 0)
		if cancelled.Load() {
			t.Error("the request was cancelled upstream")
		}
	})
}

// TestAbandon: after abandon_after the connection is closed. The worker stays on
// the books, since it does not notice, until the server was restarted.
func TestAbandon(t *testing.T) {
	bothWays(t, func(t *testing.T, via string) {
		closed := make(chan struct{})
		s := startProxy(t, "abandon_after 800ms\nhung_hold 1m", via, func(_ http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
			close(closed)
		})
		start := time.Now()
		res, body := s.get(t, "/?key=a")
		wantHung(t, res, body)
		select {
		case <-closed:
			within(t, "abandoning", time.Since(start), 1300*time.Millisecond, 3*time.Second)
		case <-time.After(5 * time.Second):
			t.Error("the connection was not closed")
		}
		eventually(t, "the closed connection is counted", func() bool { return s.zone(t, "z1").Abandoned == 1 })
		time.Sleep(200 * time.Millisecond) // sweeps
		s.wantSlots(t, "z1", 0, 1)
		slot := admit(t, s.app(t).Guard(), "z2", "e")
		for _, server := range s.app(t).Guard().Servers() {
			slot.NotSent(server.Address)
		}
		slot.End(breaker.NoUpstream) // it is restarted
		s.wantSlots(t, "z1", 0, 0)
	})
}

// TestOnTimeoutCancel: for servers that notice a closed connection.
func TestOnTimeoutCancel(t *testing.T) {
	for _, transport := range []string{"", viaFirebreak, viaNetHTTP} {
		t.Run(transport, func(t *testing.T) {
			noticed := make(chan struct{})
			s := startProxy(t, "on_timeout cancel\nhung_hold 1m", transport, func(_ http.ResponseWriter, r *http.Request) {
				<-r.Context().Done()
				close(noticed)
			})
			res, body := s.get(t, "/?key=a")
			wantHung(t, res, body)
			select {
			case <-noticed:
			case <-time.After(2 * time.Second):
				t.Fatal("the server did not notice")
			}
			s.wantSlots(t, "z1", 0, 0)
		})
	}
}

// TestUploadCut: a request that was not sent in full is cut at the deadline,
// and its worker, if it has one, sees it.
func TestUploadCut(t *testing.T) {
	bothWays(t, func(t *testing.T, via string) {
		broken := make(chan error, 1)
		s := startProxy(t, "hung_hold 1m", via, func(_ http.ResponseWriter, r *http.Request) {
			_, err := io.ReadAll(r.Body)
			broken <- err
		})
		wantAnswerToHalf(t, s, 500, 408)
		if len(broken) > 0 {
			t.Error("half of a short request was sent to the worker")
		}
		wantAnswerToHalf(t, s, 50_000, 408)
		select {
		case err := <-broken:
			if err == nil {
				t.Error("the worker read a whole request")
			}
		case <-time.After(2 * time.Second):
			t.Fatal("the worker still waits for the rest of the request")
		}
		s.wantSlots(t, "z1", 0, 0)
	})
}

// TestUpstreamBreaks: a connection that breaks is seen, in time and late.
func TestUpstreamBreaks(t *testing.T) {
	bothWays(t, func(t *testing.T, via string) {
		stuck := newGate(t)
		s := startProxy(t, "hung_hold 1m", via, func(_ http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/late" {
				stuck.wait()
			}
			panic(http.ErrAbortHandler)
		})
		if res, _ := s.get(t, "/?key=a"); res.StatusCode != 502 {
			t.Errorf("status = %d, want 502", res.StatusCode)
		}
		s.wantOutcome(t, "z1", breaker.Broken, 1)
		res, body := s.get(t, "/late?key=b")
		wantHung(t, res, body)
		s.wantSlots(t, "z1", 0, 1)
		stuck.release()
		s.wantSlots(t, "z1", 0, 0)
	})
}

// TestNoUpstream: the API server is away, and no database is to blame.
func TestNoUpstream(t *testing.T) {
	for _, transport := range []string{"", viaFirebreak, viaNetHTTP} {
		t.Run(transport, func(t *testing.T) {
			s := startGuarded(t, "", "", "reverse_proxy "+deadAddress(t)+" {\n"+transport+"\n}")
			if res, _ := s.get(t, "/?key=a"); res.StatusCode != 502 {
				t.Errorf("status = %d, want 502", res.StatusCode)
			}
			s.wantOutcome(t, "z1", breaker.NoUpstream, 1)
			s.wantSlots(t, "z1", 0, 0)
		})
	}
}

// TestBodyStalls: a body that stands still is hung, and the client is not kept
// waiting for it.
func TestBodyStalls(t *testing.T) {
	bothWays(t, func(t *testing.T, via string) {
		stuck := newGate(t)
		s := startProxy(t, "body_idle 700ms\nhung_hold 1m", via, func(w http.ResponseWriter, _ *http.Request) {
			for range 4 {
				_, _ = io.WriteString(w, "part")
				_ = http.NewResponseController(w).Flush()
				time.Sleep(200 * time.Millisecond) // longer in all, but never idle
			}
			stuck.wait()
		})
		start := time.Now()
		res, err := s.do(t.Context(), http.MethodGet, "/?key=a", nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		if err == nil || string(body) != "partpartpartpart" {
			t.Errorf("body = %q, error %v; want all four parts and an error", body, err)
		}
		within(t, "the body", time.Since(start), 900*time.Millisecond, 4*time.Second)
		s.wantSlots(t, "z1", 0, 1)
		stuck.release()
		s.wantSlots(t, "z1", 0, 0)
	})
}

// TestClientLeavesBody: the rest of the body is read for the slot's sake.
func TestClientLeavesBody(t *testing.T) {
	bothWays(t, func(t *testing.T, via string) {
		stuck := newGate(t)
		s := startProxy(t, "hung_hold 1m", via, func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "part")
			_ = http.NewResponseController(w).Flush()
			stuck.wait()
			_, _ = io.WriteString(w, "rest")
		})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		res, err := s.do(ctx, http.MethodGet, "/?key=a", nil)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.ReadFull(res.Body, make([]byte, 4))
		cancel()
		s.wantSlots(t, "z1", 0, 1)
		stuck.release()
		s.wantSlots(t, "z1", 0, 0)
	})
}

// TestEventStream: server-sent events outlive the deadline, occupy no slot,
// and end when the client leaves.
func TestEventStream(t *testing.T) {
	for _, transport := range []string{"", viaFirebreak, viaNetHTTP} {
		t.Run(transport, func(t *testing.T) {
			ended := make(chan struct{})
			s := startProxy(t, "body_idle 300ms", transport, func(w http.ResponseWriter, r *http.Request) {
				defer close(ended)
				w.Header().Set("Content-Type", "text/event-stream")
				_, _ = io.WriteString(w, "data: 1\n\n")
				_ = http.NewResponseController(w).Flush()
				time.Sleep(800 * time.Millisecond)
				_, _ = io.WriteString(w, "data: 2\n\n")
				_ = http.NewResponseController(w).Flush()
				<-r.Context().Done()
			})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			res, err := s.do(ctx, http.MethodGet, "/?key=a", nil, "Accept", "text/event-stream")
			if err != nil {
				t.Fatal(err)
			}
			if _, err = io.ReadFull(res.Body, make([]byte, 18)); err != nil {
				t.Fatal("the stream ended:", err)
			}
			if z := s.zone(t, "z1"); z.Live != 0 || z.Streams != 1 {
				t.Errorf("%d live slots and %d streams, want 0 and 1", z.Live, z.Streams)
			}
			cancel()
			select {
			case <-ended:
			case <-time.After(2 * time.Second):
				t.Fatal("the server did not notice that the client left")
			}
			eventually(t, "no stream left", func() bool { return s.zone(t, "z1").Streams == 0 })
		})
	}
}

// TestUpgrade: a WebSocket outlives the deadline and occupies no slot.
func TestUpgrade(t *testing.T) {
	for _, transport := range []string{"", viaFirebreak, viaNetHTTP} {
		t.Run(transport, func(t *testing.T) {
			s := startProxy(t, "body_idle 300ms", transport, echoUpgrade)
			conn, err := net.Dial("tcp", s.site)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			fmt.Fprintf(conn, "GET /?key=a HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n", s.site)
			in := bufio.NewReader(conn)
			res, err := http.ReadResponse(in, nil)
			if err != nil || res.StatusCode != 101 {
				t.Fatalf("response %v, error %v; want 101", res, err)
			}
			for range 3 {
				time.Sleep(300 * time.Millisecond)
				fmt.Fprint(conn, "ping\n")
				if line, err := in.ReadString('\n'); err != nil || line != "ping\n" {
					t.Fatalf("read %q, error %v", line, err)
				}
			}
			if z := s.zone(t, "z1"); z.Live != 0 || z.Streams != 1 {
				t.Errorf("%d live slots and %d streams, want 0 and 1", z.Live, z.Streams)
			}
			conn.Close()
			eventually(t, "no stream left", func() bool { return s.zone(t, "z1").Streams == 0 })
		})
	}
}

func echoUpgrade(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Connection", "Upgrade")
	w.Header().Set("Upgrade", r.Header.Get("Upgrade"))
	w.WriteHeader(http.StatusSwitchingProtocols)
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	_ = rw.Flush()
	_, _ = io.Copy(conn, rw)
}

// TestForwardAuth: two round trips of one request, of which the first is not
// read to its end.
func TestForwardAuth(t *testing.T) {
	bothWays(t, func(t *testing.T, via string) {
		auth := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "welcome") }))
		defer auth.Close()
		api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "api") }))
		defer api.Close()
		s := startGuarded(t, "", "", fmt.Sprintf("route {\nfirebreak {\nkey query key\n}\nforward_auth %s {\nuri /\n%s\n}\nreverse_proxy %s {\n%s\n}\n}",
			auth.Listener.Addr(), via, api.Listener.Addr(), via))
		if _, body := s.get(t, "/?key=a"); body != "api" {
			t.Errorf("body = %q, want api", body)
		}
		s.wantSlots(t, "z1", 0, 0)
	})
}

// TestFastCGI: the FastCGI transport does not return at a deadline by itself.
func TestFastCGI(t *testing.T) {
	for _, transport := range []string{"transport fastcgi", "transport firebreak fastcgi"} {
		t.Run(transport, func(t *testing.T) {
			stuck := newGate(t)
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer listener.Close()
			go fcgi.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/hang.php" {
					stuck.wait()
				}
				body, _ := io.ReadAll(r.Body)
				_, _ = io.WriteString(w, "hello "+string(body))
			}))
			s := startGuarded(t, "hung_hold 1m", "", fmt.Sprintf("reverse_proxy %s {\n%s {\nroot %s\nsplit .php\n}\n}", listener.Addr(), transport, filepath.ToSlash(t.TempDir())))
			res, err := s.do(t.Context(), http.MethodPost, "/index.php?key=a", strings.NewReader("world"))
			if err != nil {
				t.Fatal(err)
			}
			if body, _ := io.ReadAll(res.Body); string(body) != "hello world" {
				t.Errorf("body = %q, want hello world", body)
			}
			s.wantSlots(t, "z1", 0, 0)
			start := time.Now()
			res, body := s.get(t, "/hang.php?key=a")
			within(t, "the answer", time.Since(start), 500*time.Millisecond, 2*time.Second)
			wantHung(t, res, body)
			s.wantSlots(t, "z1", 0, 1)
			stuck.release()
			s.wantSlots(t, "z1", 0, 0) // Caddy's transport has waited for the answer too
		})
	}
}

// TestSimpleRequestsGoDirectly: the connection of a simple request has no
// goroutines, those of others and of the test's own client have them.
func TestSimpleRequestsGoDirectly(t *testing.T) {
	bothWays(t, func(t *testing.T, via string) {
		loops := func(w http.ResponseWriter, _ *http.Request) {
			stacks := make([]byte, 1<<20)
			stacks = stacks[:runtime.Stack(stacks, true)]
			fmt.Fprint(w, bytes.Count(stacks, []byte("net/http.(*persistConn).readLoop(")))
		}
		s := startProxy(t, "", via, loops)
		direct := "1"
		if via == viaNetHTTP {
			direct = "2"
		}
		for _, tt := range []struct {
			what, method string
			body         io.Reader
			want         string
		}{
			{"a GET", http.MethodGet, nil, direct},
			{"a POST", http.MethodPost, strings.NewReader("{}"), direct},
			{"a POST of unknown length", http.MethodPost, io.MultiReader(strings.NewReader("{}")), "2"},
		} {
			eventually(t, tt.want+" connections of net/http while "+tt.what+" is served", func() bool {
				res, err := s.do(t.Context(), tt.method, "/?key=a", tt.body)
				if err != nil {
					t.Fatal(err)
				}
				defer res.Body.Close()
				body, _ := io.ReadAll(res.Body)
				return string(body) == tt.want
			})
		}
	})
}

// TestUnixSockets: two API servers, each with a socket of its own.
func TestUnixSockets(t *testing.T) {
	bothWays(t, func(t *testing.T, via string) {
		site := ""
		for _, name := range []string{"one", "two"} {
			path := filepath.Join(t.TempDir(), "s") // such paths must be short
			listener, err := net.Listen("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, name) })}
			t.Cleanup(func() { server.Close() })
			go server.Serve(listener)
			site += fmt.Sprintf("handle /%s {\nreverse_proxy unix/%s {\n%s\n}\n}\n", name, path, via)
		}
		s := startGuarded(t, "", "", site)
		for range 3 {
			for _, name := range []string{"one", "two"} {
				if _, body := s.get(t, "/"+name+"?key=a"); body != name {
					t.Errorf("%s answers %q", name, body)
				}
			}
		}
	})
}

// TestTransportAlone: without a firebreak handler the transport is Caddy's own.
func TestTransportAlone(t *testing.T) {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(500 * time.Millisecond)
		_, _ = io.WriteString(w, "hello")
	}))
	defer upstream.Close()
	s := startSidecar(t, fmt.Sprintf(fastApp, "hung_hold 2s"), fmt.Sprintf("reverse_proxy %s {\n%s\n}", upstream.Listener.Addr(), viaFirebreak))
	if _, body := s.get(t, "/?key=a"); body != "hello" {
		t.Errorf("body = %q, want hello", body)
	}
}

// TestTransportTLS: what reverse_proxy asks of its transport reaches the one
// that does the work.
func TestTransportTLS(t *testing.T) {
	upstream := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Host)
	}))
	defer upstream.Close()
	for _, proxy := range []string{
		"reverse_proxy https://%s {\ntransport firebreak {\ntls_insecure_skip_verify\n}\n}",
		"reverse_proxy %s {\ntransport firebreak http {\ntls\ntls_insecure_skip_verify\n}\n}",
	} {
		s := startGuarded(t, "", "", fmt.Sprintf(proxy, upstream.Listener.Addr()))
		res, body := s.get(t, "/?key=a")
		if res.StatusCode != 200 || body != upstream.Listener.Addr().String() {
			t.Errorf("status %d, upstream's host %q; want 200 and %q, as reverse_proxy does it for TLS", res.StatusCode, body, upstream.Listener.Addr())
		}
	}
}

// TestTransportCaddyfileErrors checks what is said about a wrong transport.
func TestTransportCaddyfileErrors(t *testing.T) {
	for _, c := range []struct{ proxy, want string }{
		{"reverse_proxy localhost:1 {\ntransport firebreak ftp\n}", "goes via 'http' or 'fastcgi', not 'ftp'"},
		{"reverse_proxy localhost:1 {\ntransport firebreak http now\n}", "takes one argument"},
		{"reverse_proxy https://localhost:1 {\ntransport firebreak fastcgi\n}", "does not support TLS"},
		{"reverse_proxy localhost:1 {\ntransport firebreak {\nbogus\n}\n}", "bogus"},
	} {
		_, err := adapt("http://localhost:8080 {\n" + c.proxy + "\n}")
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: error = %v, want %q", c.proxy, err, c.want)
		}
	}
}

// TestHungFlightsLeakNothing: when the workers come back, all that waited for
// them is gone.
func TestHungFlightsLeakNothing(t *testing.T) {
	bothWays(t, func(t *testing.T, via string) {
		stuck := newGate(t)
		s := startProxy(t, "", via, func(_ http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/hang" {
				stuck.wait()
			}
		})
		s.get(t, "/?key=a")
		for range 3 {
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			_, err := s.do(ctx, http.MethodGet, "/hang?key=e", nil)
			cancel()
			if !errors.Is(err, context.DeadlineExceeded) {
				break // quarantined by now
			}
		}
		stuck.release()
		s.wantSlots(t, "z2", 0, 0)
		eventuallyOr(t, func() string {
			var stacks strings.Builder
			if err := pprof.Lookup("goroutine").WriteTo(&stacks, 1); err != nil {
				t.Fatal(err)
			}
			for _, mine := range []string{"flight.(*Flight)", "flight.(*Trip)", "flight.(*tripBody)", "caddymodule.(*Transport)"} {
				if strings.Contains(stacks.String(), mine) {
					return "a goroutine is left in " + mine + ":\n" + stacks.String()
				}
			}
			return ""
		})
	})
}
