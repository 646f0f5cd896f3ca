package caddymodule_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/firebreak-proxy/firebreak/breaker"
)

func init() {
	caddy.RegisterModule(testNext{})
	httpcaddyfile.RegisterHandlerDirective("test_next", func(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		n := new(testNext)
		return n, n.UnmarshalCaddyfile(h.Dispenser)
	})
	httpcaddyfile.RegisterDirectiveOrder("test_next", httpcaddyfile.Before, "respond")
}

// testNext is a handler whose body is a function of the test.
type testNext struct{}

var nextFunc struct {
	sync.Mutex
	f    func(http.ResponseWriter, *http.Request) error
	wrap func(http.ResponseWriter, *http.Request, caddyhttp.Handler) error // instead of f, if set
}

func (testNext) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.test_next", New: func() caddy.Module { return new(testNext) }}
}

func (*testNext) UnmarshalCaddyfile(d *caddyfile.Dispenser) error { d.Next(); return nil }

func (testNext) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	nextFunc.Lock()
	f, wrap := nextFunc.f, nextFunc.wrap
	nextFunc.Unlock()
	if wrap != nil {
		return wrap(w, r, next)
	}
	return f(w, r)
}

const (
	fastApp = `
		workers 32
		zone * {
			timeout 500ms
			slow_after 250ms
			open_time 5s
			max_inflight 8
			max_wait 20ms
			%s
		}
		directory inline {
			zone z1 {
				stores a b c d
			}
			zone z2 {
				stores e slash/store
			}
		}`
	guarded = `
		firebreak {
			key query key
			%s
		}
		%s`
)

// startGuarded starts Caddy with a short deadline: zone holds more options of
// all zones, handler of the directive, and site what comes after it.
func startGuarded(t *testing.T, zone, handler, site string) *sidecar {
	t.Helper()
	if !strings.Contains(zone, "hung_hold") {
		zone += "\nhung_hold 2s"
	}
	return startSidecar(t, fmt.Sprintf(fastApp, zone), fmt.Sprintf(guarded, handler, site))
}

// setWrap sets a function of the test around the handlers after test_next.
func setWrap(t *testing.T, wrap func(http.ResponseWriter, *http.Request, caddyhttp.Handler) error) {
	t.Helper()
	nextFunc.Lock()
	defer nextFunc.Unlock()
	nextFunc.wrap = wrap
	t.Cleanup(func() {
		nextFunc.Lock()
		defer nextFunc.Unlock()
		nextFunc.wrap = nil
	})
}

// startNext is startGuarded with f as the next handler.
func startNext(t *testing.T, zone, handler string, f func(http.ResponseWriter, *http.Request) error) *sidecar {
	t.Helper()
	nextFunc.Lock()
	nextFunc.f = f
	nextFunc.Unlock()
	return startGuarded(t, zone, handler, "test_next")
}

// startProxy is startGuarded in front of a server, through a transport.
func startProxy(t *testing.T, zone, proxy string, serve http.HandlerFunc) *sidecar {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	upstream := &http.Server{Handler: serve}
	t.Cleanup(func() { upstream.Close() }) // does not wait for those that hang
	go upstream.Serve(listener)
	return startGuarded(t, zone, "", fmt.Sprintf("reverse_proxy %s {\n%s\n}", listener.Addr(), proxy))
}

// Simple requests go over firebreak's own connections, unless an option asks for
// more than they can do: then all go through net/http's transport.
const (
	viaFirebreak = "transport firebreak"
	viaNetHTTP   = "transport firebreak {\nmax_conns_per_host 1000\n}"
)

// bothWays runs a test through both.
func bothWays(t *testing.T, test func(t *testing.T, via string)) {
	t.Helper()
	t.Run("simple", func(t *testing.T) { test(t, viaFirebreak) })
	t.Run("net/http", func(t *testing.T) { test(t, viaNetHTTP) })
}

// get asks the site, and returns the response with its body read.
func (s *sidecar) get(t *testing.T, path string, header ...string) (*http.Response, string) {
	t.Helper()
	res, err := s.do(t.Context(), http.MethodGet, path, nil, header...)
	for range 5 {
		if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, io.EOF) {
			break
		}
		// A reload of Caddy resets what waits to be accepted.
		res, err = s.do(t.Context(), http.MethodGet, path, nil, header...)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("GET %s: body: %v", path, err)
	}
	return res, string(body)
}

func (s *sidecar) do(ctx context.Context, method, path string, body io.Reader, header ...string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+s.site+path, body)
	if err != nil {
		return nil, err
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		Timeout:       15 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return client.Do(req)
}

// zone is the guard's picture of a zone.
func (s *sidecar) zone(t *testing.T, name string) breaker.ZoneStatus {
	t.Helper()
	z, _ := s.app(t).Guard().Zone(name)
	return z
}

// wantOutcome waits until the zone counts n requests of an outcome.
func (s *sidecar) wantOutcome(t *testing.T, zone string, outcome breaker.Outcome, n uint64) {
	t.Helper()
	eventuallyOr(t, func() string {
		z := s.zone(t, zone)
		if z.Outcomes[outcome.String()] == n {
			return ""
		}
		return fmt.Sprintf("%d requests %s in zone %s, want %d; all outcomes: %v", z.Outcomes[outcome.String()], outcome, zone, n, z.Outcomes)
	})
}

// wantSlots waits until the zone has so many live and hung slots.
func (s *sidecar) wantSlots(t *testing.T, zone string, live, hung int) {
	t.Helper()
	eventuallyOr(t, func() string {
		z := s.zone(t, zone)
		if z.Live == live && z.Hung == hung {
			return ""
		}
		return fmt.Sprintf("slots of zone %s: %d live, %d hung; want %d live, %d hung", zone, z.Live, z.Hung, live, hung)
	})
}

func eventuallyOr(t *testing.T, wrong func() string) {
	t.Helper()
	eventuallyFor(t, 5*time.Second, wrong)
}

// eventuallyFor is eventuallyOr with a time limit of its own.
func eventuallyFor(t *testing.T, limit time.Duration, wrong func() string) {
	t.Helper()
	var last string
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if last = wrong(); last == "" {
			return
		}
	}
	t.Fatal(last)
}

// within fails the test if something took longer or shorter than expected.
func within(t *testing.T, what string, took, low, high time.Duration) {
	t.Helper()
	if took < low || took > high {
		t.Errorf("%s took %s, want %s to %s", what, took, low, high)
	}
}

// wantHung checks the answer of a request that had none in time.
func wantHung(t *testing.T, res *http.Response, body string) {
	t.Helper()
	if res.StatusCode != http.StatusGatewayTimeout {
		t.Errorf("status = %d, want 504", res.StatusCode)
	}
	if got := res.Header.Get("Firebreak-Refusal"); got != "hung" {
		t.Errorf("Firebreak-Refusal = %q, want hung", got)
	}
	if !strings.Contains(body, `"status":504`) {
		t.Errorf("body = %q, want a problem with status 504", body)
	}
}

// gate holds requests until it is opened.
type gate struct {
	open chan struct{}
	once sync.Once
}

func newGate(t *testing.T) *gate {
	t.Helper()
	g := &gate{open: make(chan struct{})}
	t.Cleanup(g.release)
	return g
}

func (g *gate) release() { g.once.Do(func() { close(g.open) }) }
func (g *gate) wait()    { <-g.open }

func loadJSON(t *testing.T, config string) error {
	t.Helper()
	t.Cleanup(func() { _ = caddy.Stop() })
	return caddy.Load([]byte(config), true)
}
