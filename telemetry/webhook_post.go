package telemetry

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"

	"github.com/firebreak-proxy/firebreak/internal/placeholder"
)

const (
	// webhookLinger is how long what is queued may still be posted after its
	// configuration is gone, and webhookFarewell how long the end of the
	// process waits for that.
	webhookLinger   = 30 * time.Second
	webhookFarewell = 2 * time.Second
)

// webhookPost is the running part of a webhook.
type webhookPost struct {
	log     *zap.Logger
	client  *http.Client
	timeout time.Duration
	retries int
	first   time.Duration // before the first retry
	queue   chan *webhookEvent

	mu     sync.Mutex         // guards below
	stop   context.CancelFunc // nil: no event has come yet
	done   chan struct{}      // closed when the goroutine has ended
	closed bool
}

// webhookEvent is an event with everything filled in.
type webhookEvent struct {
	name   string
	url    *url.URL
	method string // "": POST
	header http.Header
	body   []byte

	receipt *receipt // nil: nobody waits for it
}

// Handle implements caddyevents.Handler. It never blocks.
func (h *Webhook) Handle(ctx context.Context, e caddy.Event) error {
	if !strings.HasPrefix(e.Name(), EventPrefix) {
		return nil
	}
	event, err := h.fill(ctx, e)
	if err != nil {
		Shared().undelivered.Inc()
		h.log.Error(LogWebhookFailed, zap.String("event", e.Name()), zap.Error(err))
		return nil
	}
	if event == nil {
		return nil // the format's receiver does not want it
	}
	event.receipt = receiptOf(e.Name(), e.Data)
	event.receipt.expect()
	if !h.enqueue(event) {
		event.receipt.done(false)
		Shared().dropped.Inc()
		h.log.Warn(LogWebhookFull, zap.String("event", e.Name()), zap.Int("queue", cap(h.queue)), logHost(event.url))
	}
	return nil
}

// fill renders the event, as long as its placeholders are at hand; nil if the receiver
// does not want it.
func (h *Webhook) fill(ctx context.Context, e caddy.Event) (*webhookEvent, error) {
	repl, ok := ctx.Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		repl = caddy.NewReplacer()
	}
	to, err := url.Parse(repl.ReplaceAll(h.URL, ""))
	if err != nil || to.Host == "" || to.Scheme != "http" && to.Scheme != "https" {
		return nil, errors.New("with its placeholders filled in, the webhook's URL is none")
	}
	event := &webhookEvent{name: e.Name(), url: to, header: http.Header{"Content-Type": {"application/json"}, "User-Agent": {"firebreak"}}}
	for name, value := range h.Headers {
		event.header.Set(name, strings.NewReplacer("\r", " ", "\n", " ").Replace(repl.ReplaceAll(value, "")))
	}
	if h.Format != "" {
		wanted, err := h.format(event, e, repl)
		if !wanted || err != nil {
			return nil, err
		}
		return event, nil
	}
	if h.Body != "" {
		event.body = []byte(fillBody(h.Body, repl))
		return event, nil
	}
	event.body, err = json.Marshal(eventObject(e))
	return event, err
}

// eventObject is the event's flat data and what identifies it.
func eventObject(e caddy.Event) map[string]any {
	object := maps.Clone(e.Data)
	if object == nil {
		object = make(map[string]any)
	}
	object["event"], object["id"] = e.Name(), e.ID().String()
	object["sidecar"], _ = os.Hostname()
	return object
}

// fillBody replaces the placeholders that there are; of an event's data also
// those that are not.
func fillBody(body string, repl *caddy.Replacer) string {
	return placeholder.Pattern.ReplaceAllStringFunc(body, func(found string) string {
		value, ok := repl.Get(found[1 : len(found)-1])
		if !ok && !strings.HasPrefix(found, "{event.") {
			return found
		}
		return placeholder.EscapeJSON(caddy.ToString(value))
	})
}

// enqueue starts the goroutine with the first event. It reports false if there
// is no room.
func (p *webhookPost) enqueue(event *webhookEvent) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	if p.stop == nil {
		ctx, cancel := context.WithCancel(context.Background())
		p.stop, p.done = cancel, make(chan struct{})
		go p.run(ctx)
	}
	select {
	case p.queue <- event:
		return true
	default:
		return false
	}
}

// finish lets the goroutine empty the queue and end. Only the end of the
// process waits for it, and not for long.
func (p *webhookPost) finish() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	p.closed = true
	close(p.queue)
	if p.stop == nil {
		return
	}
	linger := webhookLinger
	if caddy.Exiting() {
		linger = webhookFarewell
	}
	stop := time.AfterFunc(linger, p.stop)
	if caddy.Exiting() {
		<-p.done
		stop.Stop()
	}
}

func (p *webhookPost) run(ctx context.Context) {
	defer close(p.done)
	defer p.stop()
	defer p.client.CloseIdleConnections()
	for event := range p.queue {
		again, err := p.deliver(ctx, event)
		event.receipt.done(err == nil || !again)
		if err != nil {
			Shared().undelivered.Inc()
			p.log.Error(LogWebhookFailed, zap.String("event", event.name), logHost(event.url), zap.Error(err))
			continue
		}
		Shared().delivered.Inc()
	}
}

// deliver posts an event until it is accepted or there is no point in it. again is
// true if somebody else may have more luck.
func (p *webhookPost) deliver(ctx context.Context, event *webhookEvent) (again bool, err error) {
	for try := 0; ; try++ {
		again, err = p.post(ctx, event)
		if err == nil || !again || try >= p.retries {
			return again, err
		}
		select {
		case <-time.After(p.first << min(try, 6)):
		case <-ctx.Done():
			return again, err
		}
	}
}

// statuspageTooMany is Statuspage's status for more than one request a second.
const statuspageTooMany = 420

// post posts an event once. again is true if another try may help.
func (p *webhookPost) post(ctx context.Context, event *webhookEvent) (again bool, err error) {
	r, err := http.NewRequestWithContext(ctx, cmp.Or(event.method, http.MethodPost), event.url.String(), bytes.NewReader(event.body))
	if err != nil {
		return false, err
	}
	r.Header = event.header.Clone()
	res, err := p.client.Do(r)
	if err != nil {
		return true, withoutURL(err)
	}
	defer res.Body.Close()
	_, _ = io.CopyN(io.Discard, res.Body, 64<<10) // so that the connection can be used again
	if res.StatusCode/100 == 2 {
		return false, nil
	}
	switch res.StatusCode {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, statuspageTooMany:
		again = true
	}
	return again || res.StatusCode >= 500, fmt.Errorf("the receiver answered %s", res.Status)
}

// withoutURL takes the URL, which may be a secret, out of an error.
func withoutURL(err error) error {
	var urlErr *url.Error
	if errors.As(err, &urlErr) {
		return urlErr.Err
	}
	return err
}
