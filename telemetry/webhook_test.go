package telemetry

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
)

// receiver is a server that webhooks post to. What it answers can be changed.
type receiver struct {
	*httptest.Server

	mu     sync.Mutex // guards below
	got    []*http.Request
	bodies []string
	answer func(n int) int // status of the n-th request, from 1; 0: hang until the end
	end    chan struct{}
}

func newReceiver(t *testing.T, answer func(n int) int) *receiver {
	t.Helper()
	r := &receiver{answer: answer, end: make(chan struct{})}
	r.Server = httptest.NewServer(r)
	t.Cleanup(func() { close(r.end); r.Close() })
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, _ := io.ReadAll(req.Body)
	r.mu.Lock()
	r.got, r.bodies = append(r.got, req), append(r.bodies, string(body))
	status := r.answer(len(r.got))
	r.mu.Unlock()
	if status == 0 {
		<-r.end
		return
	}
	w.WriteHeader(status)
}

func (r *receiver) seen() (int, []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.got), append([]string(nil), r.bodies...)
}

func always(status int) func(int) int { return func(int) int { return status } }

// newWebhook provisions a webhook that loses no time between retries.
func newWebhook(t *testing.T, h *Webhook) *Webhook {
	t.Helper()
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	t.Cleanup(cancel)
	if err := h.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	if err := h.Validate(); err != nil {
		t.Fatal(err)
	}
	h.log, h.first = zap.NewNop(), time.Millisecond
	t.Cleanup(func() { _ = h.Cleanup() })
	return h
}

// emit gives an event to the webhook as Caddy does.
func emit(t *testing.T, h *Webhook, name string, data map[string]any) {
	t.Helper()
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	defer cancel()
	e, err := caddy.NewEvent(ctx, name, data)
	if err != nil {
		t.Fatal(err)
	}
	repl := caddy.NewReplacer()
	for key, value := range data {
		repl.Set("event.data."+key, value)
	}
	repl.Set("event.name", name)
	began := time.Now()
	if err := h.Handle(context.WithValue(ctx.Context, caddy.ReplacerCtxKey, repl), e); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("the event worker was held up for %s", took)
	}
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 10 s: %s", what)
		}
	}
}

func TestWebhookPosts(t *testing.T) {
	r := newReceiver(t, always(http.StatusNoContent))
	h := newWebhook(t, &Webhook{URL: r.URL + "/hook", Headers: map[string]string{"X-Zone": "{event.data.zone}"}})
	emit(t, h, "firebreak.zone_opened", map[string]any{"zone": "z7\r\nX-Evil: 1", "hung": 3, "message": "\"quoted\"\n<b>"})
	emit(t, h, "tls_get_certificate", nil) // not ours
	emit(t, h, "firebreak.zone_calm", map[string]any{"zone": "z7"})
	until(t, "two events arrive", func() bool { n, _ := r.seen(); return n == 2 })
	_, bodies := r.seen()
	var got map[string]any
	if err := json.Unmarshal([]byte(bodies[0]), &got); err != nil {
		t.Fatal(err)
	}
	if got["event"] != "firebreak.zone_opened" || got["hung"] != 3.0 || got["message"] != "\"quoted\"\n<b>" || got["id"] == "" || got["sidecar"] == "" {
		t.Errorf("got %v", got)
	}
	first := r.got[0]
	if first.Method != http.MethodPost || first.URL.Path != "/hook" || first.Header.Get("Content-Type") != "application/json" || first.Header.Get("X-Evil") != "" {
		t.Errorf("%s %s, header %v", first.Method, first.URL, first.Header)
	}
}

// TestWebhookBody: an own body stays JSON, whatever the event says.
func TestWebhookBody(t *testing.T) {
	r := newReceiver(t, always(http.StatusOK))
	h := newWebhook(t, &Webhook{URL: r.URL, Body: `{"text": "{event.name}: {event.data.message} {event.data.none}", "of": {"zone": "{event.data.zone}"}}`})
	emit(t, h, "firebreak.store_quarantined", map[string]any{"zone": "z\"7", "message": "a\\b\"},{\"c\n"})
	until(t, "it arrives", func() bool { n, _ := r.seen(); return n == 1 })
	_, bodies := r.seen()
	var got struct {
		Text string
		Of   struct{ Zone string }
	}
	if err := json.Unmarshal([]byte(bodies[0]), &got); err != nil {
		t.Fatalf("%v: %s", err, bodies[0])
	}
	if want := "firebreak.store_quarantined: a\\b\"},{\"c\n "; got.Text != want || got.Of.Zone != `z"7` {
		t.Errorf("got %+v, want %q", got, want)
	}
}

func TestWebhookRetries(t *testing.T) {
	for _, test := range []struct {
		name   string
		answer func(int) int
		posts  int
		failed uint64
	}{
		{"at last", func(n int) int { return map[bool]int{true: 200, false: 503}[n == 3] }, 3, 0},
		{"too many for Statuspage", func(n int) int { return map[bool]int{true: 200, false: 420}[n == 2] }, 2, 0},
		{"never", always(http.StatusBadGateway), 3, 1},
		{"no point", always(http.StatusBadRequest), 1, 1},
		{"redirected", always(http.StatusFound), 1, 1},
		{"hangs", always(0), 3, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newReceiver(t, test.answer)
			h := newWebhook(t, &Webhook{URL: r.URL})
			if test.name == "hangs" {
				h.client.Timeout = 300 * time.Millisecond
			}
			m := Shared()
			failed, delivered := m.undelivered.n.Load(), m.delivered.n.Load()
			emit(t, h, "firebreak.zone_opened", nil)
			until(t, "it is settled", func() bool { return m.undelivered.n.Load()+m.delivered.n.Load() == failed+delivered+1 })
			if n, _ := r.seen(); n != test.posts || m.undelivered.n.Load()-failed != test.failed {
				t.Errorf("%d posts, %d failed; want %d and %d", n, m.undelivered.n.Load()-failed, test.posts, test.failed)
			}
		})
	}
}

// TestWebhookHangs: a receiver that hangs costs its own events only.
func TestWebhookHangs(t *testing.T) {
	r := newReceiver(t, always(0))
	none := 0
	h := newWebhook(t, &Webhook{URL: r.URL, Queue: 3, Retries: &none})
	dropped := Shared().dropped.n.Load()
	emit(t, h, "firebreak.zone_opened", nil)
	until(t, "the first is on its way", func() bool { n, _ := r.seen(); return n == 1 })
	for range 10 {
		emit(t, h, "firebreak.zone_calm", nil)
	}
	if got := Shared().dropped.n.Load() - dropped; got != 7 {
		t.Errorf("%d events dropped, want 7", got)
	}
}

// TestWebhookEnds: a reload loses no event, and its goroutine ends.
func TestWebhookEnds(t *testing.T) {
	r := newReceiver(t, always(http.StatusOK))
	h := newWebhook(t, &Webhook{URL: r.URL})
	for range 20 {
		emit(t, h, "firebreak.zone_opened", nil)
	}
	if err := h.Cleanup(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-h.done:
	case <-time.After(10 * time.Second):
		t.Fatal("the goroutine did not end")
	}
	if n, _ := r.seen(); n != 20 {
		t.Errorf("%d of 20 events arrived", n)
	}
	emit(t, h, "firebreak.zone_opened", nil) // of the old configuration, too late
	if err := h.Cleanup(); err != nil {
		t.Fatal(err)
	}
	unused := newWebhook(t, &Webhook{URL: r.URL})
	if err := unused.Cleanup(); err != nil {
		t.Fatal(err)
	}
}

// TestWebhookKeepsSecrets: what is logged shows nothing of the path.
func TestWebhookKeepsSecrets(t *testing.T) {
	h := newWebhook(t, &Webhook{URL: "http://127.0.0.1:1/services/T0/secret"})
	u, err := h.fill(t.Context(), caddy.Event{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = h.post(t.Context(), u)
	if err == nil || strings.Contains(fmt.Sprint(err, logHost(u.url).String), "secret") {
		t.Errorf("error %v", err)
	}
}
