package telemetry

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"

	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/internal/directive"
)

func init() {
	caddy.RegisterModule(Webhook{})
}

// Defaults of a webhook.
const (
	webhookTimeout = 5 * time.Second
	webhookRetries = 2
	webhookQueue   = 256
)

// Webhook is an event handler that posts firebreak's events to an HTTP server
// as JSON. Bound to all events it posts those of firebreak and no others.
//
// Events wait in a bounded queue for a goroutine of their own, so that a
// receiver that is slow, hangs or is away holds up neither firebreak nor other
// event handlers. They are posted in order, one at a time; what does not fit
// into the queue, or is not accepted after all retries, is logged and counted.
type Webhook struct {
	// Where to post to. Placeholders are filled in, those of the event
	// ({event.data.zone}) included.
	URL string `json:"url"`

	// How long the receiver may take to accept an event. Default: 5s.
	Timeout config.Duration `json:"timeout,omitempty"`

	// How often an event is posted again that was not accepted: no connection,
	// no answer in time, or a status of 408, 420, 429 or 5xx. The first time after
	// a second, then after twice as long each. Default: 2.
	Retries *int `json:"retries,omitempty"`

	// How many events may wait. Default: 256.
	Queue int `json:"queue,omitempty"`

	// Fields of the request's header, with placeholders. Default:
	// Content-Type: application/json.
	Headers map[string]string `json:"headers,omitempty"`

	// What to post instead of the event's data as a JSON object. Placeholders
	// are filled in, escaped to stand between the quotes of JSON.
	Body string `json:"body,omitempty"`

	// Post what this receiver wants, and only what it wants: pagerduty, alertmanager,
	// grafana, slack or statuspage.
	Format string `json:"format,omitempty"`

	// The routing key or API token of the format. Placeholders such as {env.KEY} are
	// filled in.
	Key string `json:"key,omitempty"`

	*webhookPost
}

// MarshalLogObject says of a webhook what is no secret: Caddy logs the handlers of
// events at level DEBUG.
func (h *Webhook) MarshalLogObject(enc zapcore.ObjectEncoder) error {
	if u, err := url.Parse(h.URL); err == nil {
		logHost(u).AddTo(enc)
	}
	return nil
}

// CaddyModule returns the Caddy module information.
func (Webhook) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "events.handlers.firebreak_webhook", New: func() caddy.Module { return new(Webhook) }}
}

// Provision fills in the defaults. Nothing runs before the first event.
func (h *Webhook) Provision(ctx caddy.Context) error {
	p := &webhookPost{log: ctx.Logger(), timeout: webhookTimeout, retries: webhookRetries, first: time.Second}
	if h.Timeout > 0 {
		p.timeout = time.Duration(h.Timeout)
	}
	if h.Retries != nil {
		p.retries = *h.Retries
	}
	room := webhookQueue
	if h.Queue > 0 {
		room = h.Queue
	}
	p.queue = make(chan *webhookEvent, room)
	p.client = &http.Client{
		Timeout: p.timeout,
		// A POST that is redirected would arrive as a GET.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	h.webhookPost = p
	return nil
}

// Validate checks what can be known without the receiver.
func (h *Webhook) Validate() error {
	if err := h.checkURL(); err != nil {
		return err
	}
	if h.Timeout < 0 || h.Queue < 0 || h.Retries != nil && *h.Retries < 0 {
		return errors.New("firebreak_webhook: timeout, retries and queue must not be negative")
	}
	if err := checkFormat(h); err != nil {
		return err
	}
	for name := range h.Headers {
		if name == "" || strings.ContainsAny(name, " \t\r\n:") {
			return fmt.Errorf("firebreak_webhook: %q is no name of a header field; write for example: header Authorization \"Bearer {env.TOKEN}\"", name)
		}
	}
	return nil
}

func (h *Webhook) checkURL() error {
	if strings.Contains(h.URL, "{") {
		return nil // known when the placeholders are filled in
	}
	u, err := url.Parse(h.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("firebreak_webhook: %q is no URL to post to; write for example: firebreak_webhook https://chat.example.com/hooks/abc", h.URL)
	}
	return nil
}

// UnmarshalCaddyfile reads
//
//	firebreak_webhook <url> {
//	    timeout <duration>
//	    retries <number>
//	    queue   <number>
//	    header  <name> <value>
//	    body    <text>
//	    format  pagerduty|alertmanager|grafana|slack|statuspage
//	    key     <secret>
//	}
func (h *Webhook) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the handler's name
	at := directive.Here(d)
	urls := d.RemainingArgs()
	if len(urls) != 1 {
		return at.Errf("firebreak_webhook needs 1 URL, but has %d; write for example: on * firebreak_webhook https://chat.example.com/hooks/abc", len(urls))
	}
	h.URL = urls[0]
	if err := webhookOptions.Parse(d, h); err != nil {
		return err
	}
	if err := h.Validate(); err != nil {
		return at.WrapErr(err)
	}
	return nil
}

var webhookOptions = directive.Options[Webhook]{Block: "firebreak_webhook", Known: map[string]directive.Option[Webhook]{
	"timeout": directive.Duration("timeout 5s", func(h *Webhook) *config.Duration { return &h.Timeout }),
	"retries": directive.CountPtr("retries 2", func(h *Webhook) **int { return &h.Retries }),
	"queue":   directive.Count("queue 256", 1, func(h *Webhook) *int { return &h.Queue }),
	"header": {Usage: `header Authorization "Bearer {env.TOKEN}"`, Min: 2, Max: 2, Repeats: true, Set: func(h *Webhook, args []string) error {
		if h.Headers == nil {
			h.Headers = make(map[string]string)
		}
		h.Headers[args[0]] = args[1]
		return nil
	}},
	"format": {Usage: "format slack", Min: 1, Max: 1, Set: func(h *Webhook, args []string) error {
		h.Format = args[0]
		if _, ok := webhookFormats[h.Format]; !ok {
			return errors.New(directive.Unrecognized("format", h.Format, slices.Sorted(maps.Keys(webhookFormats))))
		}
		return nil
	}},
	"key": {Usage: "key {env.PAGERDUTY_KEY}", Min: 1, Max: 1, Set: func(h *Webhook, args []string) error {
		h.Key = args[0]
		return nil
	}},
	"body": {Usage: `body "{\"text\": \"{event.data.message}\"}"`, Min: 1, Max: 1, Set: func(h *Webhook, args []string) error {
		h.Body = args[0]
		return nil
	}},
}}

// Cleanup lets what is queued be posted, and ends the goroutine.
func (h *Webhook) Cleanup() error {
	if h.webhookPost != nil {
		h.finish()
	}
	return nil
}

// Interface guards.
var (
	_ caddy.CleanerUpper    = (*Webhook)(nil)
	_ caddy.Provisioner     = (*Webhook)(nil)
	_ caddy.Validator       = (*Webhook)(nil)
	_ caddyevents.Handler   = (*Webhook)(nil)
	_ caddyfile.Unmarshaler = (*Webhook)(nil)
)

// logHost is a URL as it may be logged: its path may be a secret.
func logHost(u *url.URL) zap.Field { return zap.String("receiver", u.Scheme+"://"+u.Host) }
