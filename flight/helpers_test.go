package flight

import (
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/stale"
)

// admission is an Admission that notes what its flight tells it.
type admission struct {
	mu              sync.Mutex // guards below
	began           int
	outcome, reason string
	learned         []string // values of the field X-Zone, which no client gets
}

func (a *admission) Prepare(r *http.Request, _ *stale.Request, _ time.Time) bool {
	r.Header.Set("X-Prepared", "yes")
	return false
}

func (a *admission) Learn(response http.Header) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.learned = append(a.learned, response["X-Zone"]...)
	delete(response, "X-Zone")
}

func (a *admission) Forget(informational http.Header) { delete(informational, "X-Zone") }

func (a *admission) Began(time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.began++
}

func (a *admission) Ended(o breaker.Outcome) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.outcome = o.String()
}

func (a *admission) Refuse(w http.ResponseWriter, _ *http.Request, reason breaker.Reason, _ *stale.Request) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.reason = string(reason)
	w.WriteHeader(http.StatusServiceUnavailable)
	return nil
}

// rig is a guard, and a runner for what it admits.
type rig struct {
	guard   *breaker.Guard
	flights Runner
}

func newRig(tb testing.TB) *rig {
	tb.Helper()
	policy, err := (&config.App{Workers: 1000}).Policy()
	if err != nil {
		tb.Fatal(err)
	}
	p := &rig{guard: breaker.New(policy, breaker.Options{}), flights: Runner{Log: zap.NewNop()}}
	tb.Cleanup(p.guard.Close)
	tb.Cleanup(p.flights.Stop)
	return p
}

// run runs next for a request that is admitted with this timeout.
func (p *rig) run(tb testing.TB, w http.ResponseWriter, r *http.Request, timeout time.Duration, next caddyhttp.HandlerFunc) *admission {
	tb.Helper()
	slot, refusal := p.guard.Admit(r.Context(), breaker.Request{Zone: "z1", Store: "a", Timeout: timeout})
	if refusal != nil {
		tb.Error("refused:", refusal.Detail)
		return new(admission)
	}
	a := new(admission)
	if err := p.flights.Run(w, r, next, Request{Slot: slot, Admission: a}); err != nil {
		tb.Error(err)
	}
	return a
}

// busy is how many workers the guard has for busy with requests that are waited
// for, and with others.
func (p *rig) busy() (live, hung int) {
	z, _ := p.guard.Zone("z1")
	return z.Live, z.Hung
}

func newRequest(tb testing.TB) *http.Request {
	tb.Helper()
	return httptest.NewRequestWithContext(tb.Context(), http.MethodGet, "/", nil)
}

func eventually(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	for until := time.Now().Add(5 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(until) {
			tb.Fatal(what)
		}
	}
}
