package load

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// generator is one run of a plan.
type generator struct {
	plan      Plan
	transport *http.Transport
	start     time.Time
	flights   sync.WaitGroup
	open      atomic.Int64

	mu      sync.Mutex // guards below
	results []Result
}

// Run sends the requests of p at its rate, waits for the answers and returns
// the results, ordered by At. When ctx ends, nothing more is sent and what is
// open is cut off.
func Run(ctx context.Context, p Plan) []Result {
	g := newGenerator(p)
	defer g.transport.CloseIdleConnections()
	g.sendAll(ctx)
	g.flights.Wait()
	slices.SortStableFunc(g.results, func(a, b Result) int { return int(a.At - b.At) })
	return g.results
}

func newGenerator(p Plan) *generator {
	p.Burst = max(p.Burst, 1)
	if p.Timeout <= 0 {
		p.Timeout = defaultTimeout
	}
	if p.MaxOpen <= 0 {
		p.MaxOpen = defaultMaxOpen
	}
	return &generator{
		plan:  p,
		start: time.Now(),
		transport: &http.Transport{
			// Connections stay open like those of a front end in the same data
			// centre, so a run measures the proxy and not the TCP handshakes.
			MaxIdleConnsPerHost: p.MaxOpen,
			IdleConnTimeout:     time.Minute,
			DisableCompression:  true,
		},
	}
}

// sendAll sends every arrival at its time and never waits for an answer.
func (g *generator) sendAll(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for n := range g.plan.arrivals() {
		at := g.plan.due(n)
		timer.Reset(time.Until(g.start.Add(at)))
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		target := g.plan.Pick(n)
		for range g.plan.Burst {
			g.launch(ctx, at, target)
		}
	}
}

// arrivals is the number of arrivals due before Duration has passed.
func (p Plan) arrivals() int {
	exact := p.Rate * p.Duration.Seconds() / float64(p.Burst)
	return int(math.Ceil(exact - 1e-9))
}

// due is when the n-th arrival is to be sent.
func (p Plan) due(n int) time.Duration {
	return time.Duration(float64(n*p.Burst) / p.Rate * float64(time.Second))
}

func (g *generator) launch(ctx context.Context, at time.Duration, target Target) {
	if g.open.Add(1) > int64(g.plan.MaxOpen) {
		g.open.Add(-1)
		g.record(Result{
			At: at, Zone: target.Zone, Store: target.Store,
			Latency: g.plan.Timeout, Err: ErrMaxOpen, sent: at,
		})
		return
	}
	g.flights.Go(func() {
		defer g.open.Add(-1)
		g.ask(ctx, at, target)
	})
}

// ask plays one client: the request and its retries.
func (g *generator) ask(ctx context.Context, at time.Duration, target Target) {
	for try := 0; try <= g.plan.Retries; try++ {
		r := g.attempt(ctx, at, target)
		r.Retry = try
		g.record(r)
		if ctx.Err() != nil || (r.Status != 0 && r.Status < 500) {
			return
		}
		at = r.At + r.Latency
	}
}

func (g *generator) attempt(ctx context.Context, at time.Duration, target Target) Result {
	r := Result{At: at, Zone: target.Zone, Store: target.Store}
	dueCtx, cancel := context.WithDeadline(ctx, g.start.Add(at+g.plan.Timeout))
	defer cancel()
	r.sent = time.Since(g.start)
	err := g.exchange(dueCtx, target, &r)
	r.Latency = time.Since(g.start) - at
	if err != nil {
		r.Status = 0
		r.Err = describe(ctx, err)
	}
	return r
}

func (g *generator) exchange(ctx context.Context, target Target, r *Result) error {
	req, err := http.NewRequestWithContext(ctx, target.Method, target.URL, bytes.NewReader(target.Body))
	if err != nil {
		return err
	}
	if target.Header != nil {
		req.Header = target.Header.Clone()
	}
	// The transport itself, not a client: a redirect is an answer to be counted.
	resp, err := g.transport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	r.Status = resp.StatusCode
	r.Refusal = resp.Header.Get("Firebreak-Refusal")
	r.Worker = resp.Header.Get("X-Worker")
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

func describe(ctx context.Context, err error) string {
	switch {
	case ctx.Err() != nil:
		return ErrCanceled
	case errors.Is(err, context.DeadlineExceeded):
		return ErrTimeout
	default:
		return err.Error()
	}
}

func (g *generator) record(r Result) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.results = append(g.results, r)
}
