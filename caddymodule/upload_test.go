package caddymodule_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quic-go/quic-go/http3"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/examples/outage/api"
	"github.com/firebreak-proxy/firebreak/examples/outage/zone"
)

const uploadApp = `
	workers 32
	zone * {
		timeout 500ms
		slow_after 250ms
	}
	directory inline {
		zone z1 {
			stores slow0 slow1 slow2 slow3 slow4 slow5 slow6 slow7 slow8 slow9 fast0 fast1 fast2 fast3 fast4
		}
		zone z2 {
			stores other
		}
	}`

// startUploads starts Caddy in front of a pool of 32 workers that block, with a
// healthy database; one site in the clear and one over TLS.
func startUploads(t *testing.T) (s *sidecar, pool *api.Pool, secure string, trust *tls.Config) {
	t.Helper()
	database, err := zone.NewServer(zone.Config{Listen: "127.0.0.1:0", Parallel: 32})
	if err != nil {
		t.Fatal(err)
	}
	where := map[string]string{}
	for i := range 10 {
		where[fmt.Sprintf("slow%d", i)], where[fmt.Sprintf("fast%d", i)] = "z1", "z1"
	}
	server, err := api.NewServer(api.Config{Listen: "127.0.0.1:0", Workers: 32, ZoneOf: where, ZoneAddr: map[string]string{"z1": database.Addr()}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		server.Close()
		database.Close()
		server.Wait()
	})
	cert, key, trust := selfSigned(t)
	secure = strings.Replace(freeAddress(t), "127.0.0.1", "localhost", 1)
	site := fmt.Sprintf("firebreak {\nkey query key\n}\nreverse_proxy %s {\ntransport firebreak\n}\n", server.Addr())
	s = startSidecar(t, uploadApp, fmt.Sprintf("%s}\n\nhttps://%s {\nbind 127.0.0.1\ntls %s %s\n%s", site, secure, cert, key, site))
	return s, server.Pool(), secure, trust
}

// dribble sends a part of a request, and then a few bytes of the rest at a time
// until ctx ends or there is an answer, whose status it returns.
type dribble func(ctx context.Context, store string) (status int)

// dribbleHTTP1 sends a request of a header and a body that begins with start.
func dribbleHTTP1(site, header, start, some string) dribble {
	return func(ctx context.Context, store string) int {
		conn, err := net.Dial("tcp", site)
		if err != nil {
			return 0
		}
		defer conn.Close()
		defer context.AfterFunc(ctx, func() { conn.Close() })()
		go func() {
			_, err := fmt.Fprintf(conn, "POST /search?key=%s HTTP/1.1\r\nHost: %s\r\n%s\r\n\r\n%s", store, site, header, start)
			for err == nil && ctx.Err() == nil {
				_, err = io.WriteString(conn, some)
				time.Sleep(50 * time.Millisecond)
			}
		}()
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			return 0
		}
		return res.StatusCode
	}
}

// dribbleBy sends a request of unknown length by a transport.
func dribbleBy(transport http.RoundTripper, site string) dribble {
	return func(ctx context.Context, store string) int {
		body, in := io.Pipe()
		defer in.Close()
		go func() {
			for ctx.Err() == nil {
				if _, err := io.WriteString(in, "slow "); err != nil {
					return
				}
				time.Sleep(50 * time.Millisecond)
			}
		}()
		req, _ := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+site+"/search?key="+store, body)
		res, err := transport.RoundTrip(req)
		if err != nil {
			return 0
		}
		res.Body.Close()
		return res.StatusCode
	}
}

// TestSlowUploadsHarmNoOthers: clients that are slow to send their requests neither
// open a zone nor put a store into quarantine, and those that send nothing of use
// occupy no worker. They come again each time they are cut off.
func TestSlowUploadsHarmNoOthers(t *testing.T) {
	s, pool, secure, trust := startUploads(t)
	h2 := &http.Transport{TLSClientConfig: trust, ForceAttemptHTTP2: true}
	defer h2.CloseIdleConnections()
	h3 := &http3.Transport{TLSClientConfig: trust}
	defer h3.Close()
	large := strings.Repeat("x", 40<<10)
	for _, c := range []struct {
		name    string
		clients int
		send    dribble
		workers int // that may be occupied
	}{
		{"10 of 20 kB", 10, dribbleHTTP1(s.site, "Content-Length: 20000", "{", "slow "), 4},
		{"60 of 20 kB", 60, dribbleHTTP1(s.site, "Content-Length: 20000", "{", "slow "), 4},
		{"60 silent after the header", 60, dribbleHTTP1(s.site, "Content-Length: 20000", "", ""), 4},
		{"60 chunked", 60, dribbleHTTP1(s.site, "Transfer-Encoding: chunked", "1\r\n{\r\n", "5\r\nslow \r\n"), 4},
		{"60 HTTP/2", 60, dribbleBy(h2, secure), 4},
		{"60 HTTP/3", 60, dribbleBy(h3, secure), 4},
		{"5 of 80 kB", 5, dribbleHTTP1(s.site, "Content-Length: 80000", large, "slow "), 5 + 4},
		{"5 chunked, large", 5, dribbleHTTP1(s.site, "Transfer-Encoding: chunked", fmt.Sprintf("%x\r\n%s\r\n", len(large), large), "5\r\nslow \r\n"), 5 + 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			pool.ResetWorst()
			before := s.zone(t, "z1")
			var answered, otherwise atomic.Int64
			var wg sync.WaitGroup
			end := time.Now().Add(2 * time.Second)
			for i := range c.clients {
				wg.Go(func() {
					time.Sleep(time.Duration(i) * 5 * time.Millisecond)
					for time.Now().Before(end) {
						ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
						switch c.send(ctx, fmt.Sprintf("slow%d", i%10)) {
						case http.StatusRequestTimeout:
							answered.Add(1)
						default:
							otherwise.Add(1)
						}
						cancel()
					}
				})
			}
			sent, refused := 0, 0
			for ; time.Now().Before(end); sent++ {
				res, body := s.get(t, fmt.Sprintf("/search?key=fast%d", sent%5))
				if res.StatusCode != http.StatusOK {
					if refused++; refused == 1 {
						t.Errorf("a request of a store that is not slow: status %d, %s", res.StatusCode, body)
					}
				}
				time.Sleep(20 * time.Millisecond)
			}
			wg.Wait()
			z := s.zone(t, "z1")
			if refused > 0 || z.State != breaker.Calm || z.QuarantinedCount > 0 {
				t.Errorf("%d of %d other requests refused; the zone is %s with %d stores in quarantine: %s", refused, sent, z.State, z.QuarantinedCount, z.Evidence)
			}
			if answered.Load() < int64(2*c.clients) || otherwise.Load() > 0 {
				t.Errorf("%d times 408 and %d times something else; want at least %d and 0", answered.Load(), otherwise.Load(), 2*c.clients)
			}
			if worst := pool.State().WorstBusy; worst > c.workers {
				t.Errorf("%d workers were occupied, want at most %d", worst, c.workers)
			}
			for _, outcome := range []breaker.Outcome{breaker.Hung, breaker.GoneLate, breaker.Broken, breaker.Failure} {
				if n := z.Outcomes[outcome.String()] - before.Outcomes[outcome.String()]; n > 0 {
					t.Errorf("%d requests counted as %s", n, outcome)
				}
			}
			s.wantSlots(t, "z1", 0, 0)
		})
	}
}

// TestLargeUploadTakesItsTime: an upload that makes progress may take longer than
// the timeout, and the time of the answer counts from its end.
func TestLargeUploadTakesItsTime(t *testing.T) {
	bothWays(t, func(t *testing.T, via string) {
		s := startProxy(t, "", via, func(w http.ResponseWriter, r *http.Request) {
			n, _ := io.Copy(io.Discard, r.Body)
			time.Sleep(150 * time.Millisecond)
			fmt.Fprint(w, n)
		})
		body, in := io.Pipe()
		go func() {
			for range 20 {
				_, _ = io.WriteString(in, strings.Repeat("x", 4000))
				time.Sleep(50 * time.Millisecond)
			}
			in.Close()
		}()
		res, err := s.do(t.Context(), http.MethodPost, "/?key=a", body)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if got, _ := io.ReadAll(res.Body); res.StatusCode != 200 || string(got) != "80000" {
			t.Errorf("status %d, %s; want 200 and 80000 bytes", res.StatusCode, got)
		}
		s.wantOutcome(t, "z1", breaker.OK, 1)
	})
}

// TestTooManyUploads: one address may have 256 requests received at once; requests
// without a body do not count.
func TestTooManyUploads(t *testing.T) {
	s := startNext(t, "", "timeout 20s", status(200))
	var conns []net.Conn
	send := func() net.Conn {
		conn, err := net.Dial("tcp", s.site)
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
		fmt.Fprintf(conn, "POST /?key=a HTTP/1.1\r\nHost: %s\r\nContent-Length: 100\r\n\r\n", s.site)
		return conn
	}
	defer func() {
		for _, conn := range conns {
			conn.Close()
		}
	}()
	for range 256 {
		send()
	}
	var res *http.Response
	eventually(t, "a request too many", func() bool {
		conn := send()
		_ = conn.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
		var err error
		res, err = http.ReadResponse(bufio.NewReader(conn), nil)
		return err == nil
	})
	if res.StatusCode != http.StatusTooManyRequests || res.Header.Get("Firebreak-Refusal") != "too_many_uploads" || res.Header.Get("Retry-After") == "" {
		t.Errorf("status %d, %v; want 429 and too_many_uploads", res.StatusCode, res.Header)
	}
	if res, _ := s.get(t, "/?key=a"); res.StatusCode != 200 {
		t.Errorf("a request without a body: status %d, want 200", res.StatusCode)
	}
}
