package caddymodule_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// apiServer counts what it gets, and answers when its gate, if it has one, is open.
type apiServer struct {
	*httptest.Server
	address string
	got     atomic.Int64
	stuck   atomic.Pointer[gate]
}

func startServer(t *testing.T) *apiServer {
	t.Helper()
	a := new(apiServer)
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.got.Add(1)
		body, _ := io.ReadAll(r.Body)
		if g := a.stuck.Load(); g != nil {
			g.wait()
		}
		fmt.Fprintf(w, "%s %s", r.Method, body)
	}))
	t.Cleanup(a.Close)
	a.address = a.Listener.Addr().String()
	return a
}

// behind is a site with servers behind one reverse_proxy.
func behind(policy string, addresses ...string) string {
	lb := ""
	if policy != "" {
		lb = "lb_policy " + policy
	}
	return fmt.Sprintf("firebreak {\n key query key\n}\nreverse_proxy %s {\n transport firebreak\n %s\n}", strings.Join(addresses, " "), lb)
}

const fourServers = `
		workers 32
		directory inline {
			zone z1 {
				stores a b c d
			}
			zone z2 {
				stores e f
			}
		}
		zone * {
			timeout 5s
		}`

// ok sends n requests and wants all of them answered.
func (s *sidecar) ok(t *testing.T, method string, n int) {
	t.Helper()
	for i := range n {
		text := fmt.Sprint("body", i)
		var body io.Reader
		if method == http.MethodPost {
			body = strings.NewReader(text)
		} else {
			text = ""
		}
		res, err := s.do(t.Context(), method, "/?key=a", body)
		if err != nil && method == http.MethodGet { // a reload of Caddy resets what waits to be accepted
			res, err = s.do(t.Context(), method, "/?key=a", nil)
		}
		if err != nil {
			t.Fatal(err)
		}
		got, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if want := method + " " + text; res.StatusCode != http.StatusOK || string(got) != want {
			t.Fatalf("request %d: %s %q, want %q", i, res.Status, got, want)
		}
	}
}

// TestUnsentGoesElsewhere wants no request to be lost to a server that cannot be
// dialled, whatever the policy and the method, and none to be sent twice.
func TestUnsentGoesElsewhere(t *testing.T) {
	for _, policy := range []string{"round_robin", "random", "least_conn"} {
		t.Run(policy, func(t *testing.T) {
			alive := startServer(t)
			s := startSidecar(t, fourServers, behind(policy, freeAddress(t), alive.address, freeAddress(t)))
			s.ok(t, http.MethodPost, 30)
			s.ok(t, http.MethodGet, 30)
			if got := alive.got.Load(); got != 60 {
				t.Errorf("60 requests came as %d", got)
			}
		})
	}
}

// TestReadIsNotSentAgain wants a request that a server has read to be sent to no
// other, though a GET that could not be sent is.
func TestReadIsNotSentAgain(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var read atomic.Int64
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 4096))
			read.Add(1)
			conn.Close()
		}
	}()
	other := startServer(t)
	s := startSidecar(t, fourServers, behind("round_robin", l.Addr().String(), other.address))
	lost := 0
	for range 10 {
		if res, _ := s.get(t, "/?key=a"); res.StatusCode == http.StatusBadGateway {
			lost++
		}
	}
	if lost != 5 || read.Load() != 5 || other.got.Load() != 5 {
		t.Errorf("of 10 requests %d were lost, %d read by the broken server, %d by the other: want 5 each", lost, read.Load(), other.got.Load())
	}
}
