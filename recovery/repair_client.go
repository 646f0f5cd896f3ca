package recovery

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/firebreak-proxy/firebreak/config"
)

// askLimit bounds one request about a repair whose progress can be asked for.
const askLimit = 30 * time.Second

// Repair has a store repaired, and returns when that is done, has failed or takes
// too long: nil means that it is done. It is asked for again where that is known
// to be safe, always with the same key.
func (c *Client) Repair(p *config.RepairPolicy, r Repair) error {
	ctx, cancel := context.WithTimeout(c.begin(), p.Timeout)
	defer cancel()
	asking, known := r.Begun && p.Poll != "", r.Begun
	for {
		var answer repairAnswer
		if asking {
			answer = c.askRepair(ctx, p, &r, known)
		} else {
			answer = c.startRepair(ctx, p, &r)
		}
		if ctx.Err() != nil && (answer.wait || answer.err != nil && answer.status == 0) {
			return fmt.Errorf("not done within %s%s", p.Timeout, answer.lastWords())
		}
		if !answer.wait && !answer.startAnew {
			return answer.err
		}
		if answer.startAnew {
			asking, known = false, false
			continue
		}
		if !asking && answer.sent {
			asking, known = p.Poll != "", false
		}
		sleep(ctx, p.Every)
	}
}

// repairAnswer is what an answer about a repair means.
type repairAnswer struct {
	wait      bool // ask again after a while
	sent      bool // the service may have begun
	startAnew bool // it has not
	status    int  // 0: no answer
	err       error
}

func (a *repairAnswer) lastWords() string {
	if a.err == nil {
		return ""
	}
	return ": " + a.err.Error()
}

// startRepair sends the request that begins a repair.
func (c *Client) startRepair(ctx context.Context, p *config.RepairPolicy, r *Repair) repairAnswer {
	limit := p.Timeout
	if p.Poll != "" {
		limit = min(limit, askLimit)
	}
	status, hint, err := c.send(ctx, p, r, p.Method, p.URI, limit)
	var op *net.OpError
	a := repairAnswer{status: status, err: err}
	if err == nil && (status < 200 || status > 299) {
		a.err = errors.New(hint)
	}
	switch poll := p.Poll != ""; {
	case errors.As(err, &op) && op.Op == "dial", status == http.StatusTooManyRequests, status == http.StatusServiceUnavailable:
		a.wait = true // it has not begun
	case err != nil && poll, status >= 500 && poll:
		a.wait, a.sent = true, true // it may have begun
	case a.err != nil:
	case poll:
		a.wait, a.sent = true, true
	case status == http.StatusAccepted:
		a.err = errors.New("status 202: the repair goes on, but the configuration has no poll to ask when it is done")
	}
	return a
}

// askRepair asks how far a repair is. If it is known only from an earlier
// process, the service may never have heard of it.
func (c *Client) askRepair(ctx context.Context, p *config.RepairPolicy, r *Repair, earlier bool) repairAnswer {
	status, hint, err := c.send(ctx, p, r, http.MethodGet, p.Poll, min(p.Timeout, askLimit))
	a := repairAnswer{status: status, err: err, sent: true}
	switch {
	case err != nil, status >= 500, status == http.StatusTooManyRequests:
		a.wait = true
		if err == nil {
			a.err = errors.New(hint)
		}
	case status == http.StatusOK, status == http.StatusNoContent:
	case status == http.StatusAccepted:
		a.wait = true
	case earlier && (status == http.StatusNotFound || status == http.StatusGone):
		a.startAnew = true
	default:
		a.err = errors.New(hint)
	}
	return a
}

// send sends one request about a repair. The hint is the status and the
// beginning of the answer.
func (c *Client) send(ctx context.Context, p *config.RepairPolicy, r *Repair, method, uri string, limit time.Duration) (status int, hint string, err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	origin, transport, err := c.transport(p.To, limit)
	if err != nil {
		return 0, "", err
	}
	req, err := http.NewRequestWithContext(ctx, method, origin+config.FillRepair(uri, r.Zone, r.Store, r.Key), nil)
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("User-Agent", "firebreak-repair")
	req.Header.Set("Idempotency-Key", r.Key)
	setHeaders(req, p.Headers, strings.NewReplacer("{store}", r.Store, "{zone}", r.Zone, "{key}", r.Key))
	res, err := transport.RoundTrip(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(res.Body, maxSearched)) // the status says it all
	hint = fmt.Sprintf("status %d", res.StatusCode)
	if text := hintOf(body); text != "" {
		hint += ": " + text
	}
	return res.StatusCode, hint, nil
}
