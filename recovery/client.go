package recovery

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/config"
)

// Bounds of what is read of an answer: what is searched, and what is read to
// its end because that is the end of the worker's work.
const (
	maxSearched = 64 << 10
	maxDrained  = 1 << 20
)

// UnreachableError means that the API server could not be asked at all: that
// says nothing about a store.
type UnreachableError struct{ Err error }

// Error says why.
func (e *UnreachableError) Error() string {
	return "the API server cannot be reached: " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *UnreachableError) Unwrap() error { return e.Err }

// Client sends checks to the API server. The zero value is ready; end it with
// Close.
type Client struct {
	turn  atomic.Uint64
	work  sync.WaitGroup
	once  sync.Once
	ctx   context.Context
	close context.CancelFunc
}

func (c *Client) begin() context.Context {
	c.once.Do(func() { c.ctx, c.close = context.WithCancel(context.Background()) })
	return c.ctx
}

// Close ends the requests that still wait for their workers.
func (c *Client) Close() {
	c.begin()
	c.close()
	c.work.Wait()
}

// Check asks the API server about a store, and takes as long as the check's
// timeout at most: nil means that it passed. The slot is the client's from then
// on, and ends when the worker is really free, which may be long after the check
// has failed.
func (c *Client) Check(slot *breaker.Slot, p *config.StoreCheckPolicy, zone, store string) error {
	slot.Track()
	t := &trip{slot: slot, policy: p, result: make(chan error, 1)}
	t.ctx, t.cancel = context.WithCancelCause(c.begin())
	request, transport, err := c.request(t, zone, store)
	if err != nil {
		t.cancel(nil)
		slot.End(breaker.Gone)
		return err
	}
	timer := time.NewTimer(p.Timeout)
	defer timer.Stop()
	c.work.Go(func() { t.fly(request, transport) })
	select {
	case err := <-t.result:
		return err
	case <-timer.C:
		return t.timeOut()
	}
}

// request makes the request of a check and the transport for it. Each check has
// a connection of its own: one from before the trouble proves nothing, and an
// idle one may hold a worker.
func (c *Client) request(t *trip, zone, store string) (*http.Request, *http.Transport, error) {
	p := t.policy
	origin, transport, err := c.transport(p.To, p.Timeout)
	if err != nil {
		return nil, nil, err
	}
	ctx := httptrace.WithClientTrace(t.ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { t.connected.Store(true) }})
	r, err := http.NewRequestWithContext(ctx, p.Method, origin+config.FillStore(p.URI, zone, store), nil)
	if err != nil {
		return nil, nil, err
	}
	r.Header.Set("User-Agent", "firebreak-check")
	setHeaders(r, p.Headers, strings.NewReplacer("{store}", store, "{zone}", zone))
	return r, transport, nil
}

// transport is a transport, with a connection of its own, to the address whose
// turn it is.
func (c *Client) transport(to []string, timeout time.Duration) (origin string, transport *http.Transport, err error) {
	scheme, address, err := config.SplitTarget(to[(c.turn.Add(1)-1)%uint64(len(to))])
	if err != nil {
		return "", nil, err
	}
	dialer := &net.Dialer{Timeout: timeout}
	transport = &http.Transport{DisableKeepAlives: true, TLSHandshakeTimeout: timeout, DialContext: dialer.DialContext}
	if scheme != "unix" {
		return scheme + "://" + address, transport, nil
	}
	transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		return dialer.DialContext(ctx, "unix", address)
	}
	return "http://localhost", transport, nil
}

// setHeaders sets the configured headers of a request.
func setHeaders(r *http.Request, headers map[string]string, fill *strings.Replacer) {
	for name, value := range headers {
		if value = fill.Replace(value); strings.EqualFold(name, "Host") {
			r.Host = value
		} else {
			r.Header.Set(name, value)
		}
	}
}

var errGivenUp = errors.New("the worker was given up")

// trip is one check on its way: a worker at work. It outlives its check if the
// worker does not answer in time.
type trip struct {
	slot      *breaker.Slot
	policy    *config.StoreCheckPolicy
	ctx       context.Context
	cancel    context.CancelCauseFunc
	connected atomic.Bool
	result    chan error // capacity 1
}

// fly sends the request and waits until its worker is free.
func (t *trip) fly(r *http.Request, transport *http.Transport) {
	defer t.cancel(nil)
	res, err := transport.RoundTrip(r)
	if err == nil {
		err = t.read(res)
	} else {
		err = t.failure(err)
	}
	t.slot.End(t.outcome(err))
	t.result <- err
}

// read reads an answer to its end and judges it.
func (t *trip) read(res *http.Response) error {
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxSearched))
	if err == nil {
		_, err = io.CopyN(io.Discard, res.Body, maxDrained)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return t.failure(err)
	}
	return judge(t.policy, res.StatusCode, body)
}

// judge says why an answer does not pass.
func judge(p *config.StoreCheckPolicy, status int, body []byte) error {
	switch {
	case !slices.Contains(p.Status, status):
		text := fmt.Sprintf("status %d", status)
		if hint := hintOf(body); hint != "" {
			text += ": " + hint
		}
		return errors.New(text)
	case p.BodyContains != "" && !bytes.Contains(body, []byte(p.BodyContains)):
		return fmt.Errorf("the answer does not contain %q: %s", p.BodyContains, hintOf(body))
	case p.BodyMatch != nil && !p.BodyMatch.Match(body):
		return fmt.Errorf("the answer does not match %q: %s", p.BodyMatch, hintOf(body))
	}
	return nil
}

// hintOf is the beginning of an answer, for people.
func hintOf(body []byte) string {
	const most = 120
	text := strings.Join(strings.Fields(strings.ToValidUTF8(string(body[:min(len(body), 4*most)]), "?")), " ")
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "..."
	}
	return text
}

// failure is why there was no whole answer.
func (t *trip) failure(err error) error {
	var op *net.OpError
	switch cause := context.Cause(t.ctx); {
	case cause != nil:
		return cause
	case errors.As(err, &op) && op.Op == "dial", !t.connected.Load():
		return &UnreachableError{err}
	}
	return fmt.Errorf("the connection broke: %w", err)
}

// outcome is what the end of a check means to its slot.
func (t *trip) outcome(err error) breaker.Outcome {
	var unreachable *UnreachableError
	switch {
	case err == nil:
		return breaker.OK
	case errors.Is(err, errGivenUp):
		return breaker.Abandoned
	case errors.Is(err, context.Canceled):
		return breaker.Gone
	case errors.As(err, &unreachable):
		return breaker.NoUpstream
	}
	return breaker.Failure
}

// timeOut ends the check, but not the trip: its worker is still busy, and stays
// on the books until it is free, or is given up.
func (t *trip) timeOut() error {
	if !t.connected.Load() {
		t.cancel(context.Canceled)
		return &UnreachableError{fmt.Errorf("no connection within %s", t.policy.Timeout)}
	}
	t.slot.Hang()
	zone := t.slot.Policy()
	if zone.CancelOnTimeout {
		t.cancel(context.Canceled)
	} else if zone.AbandonAfter > 0 {
		giveUp := time.AfterFunc(zone.AbandonAfter, func() { t.cancel(errGivenUp) })
		context.AfterFunc(t.ctx, func() { giveUp.Stop() })
	}
	return fmt.Errorf("no answer within %s", t.policy.Timeout)
}
