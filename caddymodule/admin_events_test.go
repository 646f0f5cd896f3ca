package caddymodule_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
)

// sse is an event of a stream.
type sse struct {
	id, event string
	data      map[string]any
	raw       string
}

// eventStream is a stream that a test reads.
type eventStream struct {
	res    *http.Response
	events chan sse
	cancel context.CancelFunc
}

// listen opens a stream of the admin API.
func (s *sidecar) listen(t *testing.T, path string, header ...string) *eventStream {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.admin+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	var res *http.Response
	eventuallyOr(t, func() string { // a reload loses the accept queue
		if res, err = (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req); err != nil {
			return err.Error()
		}
		return ""
	})
	stream := &eventStream{res: res, events: make(chan sse, 10000), cancel: cancel}
	go stream.read()
	return stream
}

func (s *eventStream) read() {
	defer close(s.events)
	defer s.res.Body.Close()
	var e sse
	scanner := bufio.NewScanner(s.res.Body)
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		name, value, _ := strings.Cut(scanner.Text(), ": ")
		switch name {
		case "id":
			e.id = value
		case "event":
			e.event = value
		case "data":
			e.raw = value
			_ = json.Unmarshal([]byte(value), &e.data)
		case "":
			if e.event != "" {
				s.events <- e
			}
			e = sse{}
		}
	}
}

// next waits for an event of a kind.
func (s *eventStream) next(t *testing.T, kind string) sse {
	t.Helper()
	limit := time.After(10 * time.Second)
	for {
		select {
		case e, open := <-s.events:
			if !open {
				t.Fatalf("the stream ended before %s", kind)
			}
			if e.event == kind {
				return e
			}
		case <-limit:
			t.Fatalf("no %s within 10 s", kind)
		}
	}
}

// ended waits until the stream ends.
func (s *eventStream) ended(t *testing.T) {
	t.Helper()
	limit := time.After(10 * time.Second)
	for {
		select {
		case _, open := <-s.events:
			if !open {
				return
			}
		case <-limit:
			t.Fatal("the stream does not end")
		}
	}
}

func TestEvents(t *testing.T) {
	s := startSidecar(t, smallApp, smallSite)
	all, other := s.listen(t, "/firebreak/events"), s.listen(t, "/firebreak/events?zone=z2")
	if got := all.res.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Errorf("Content-Type is %q", got)
	}
	openZone(t, s.app(t).Guard())
	opened := all.next(t, "zone_opened")
	for field, want := range map[string]any{"zone": "z1", "to": "open", "turn": 1.0} {
		if opened.data[field] != want {
			t.Errorf("%s is %v, want %v: %s", field, opened.data[field], want, opened.raw)
		}
	}
	s.send(t, http.MethodPut, "/firebreak/maintenance/zones/z2", `{"reason": "line\nbreak", "by": "ada"}`)
	set := all.next(t, "switch_set")
	if set.data["zone"] != "z2" || set.data["reason"] != "line\nbreak" {
		t.Errorf("the switch is told as %s", set.raw)
	}
	if first := other.next(t, "switch_set"); first.id != set.id {
		t.Errorf("the stream of zone z2 has it as %s, the other as %s", first.id, set.id)
	}

	t.Run("catching up", func(t *testing.T) {
		again := s.listen(t, "/firebreak/events", "Last-Event-ID", opened.id)
		if e := again.next(t, "switch_set"); e.id != set.id {
			t.Errorf("got event %s, want %s", e.id, set.id)
		}
		fresh := s.listen(t, "/firebreak/events", "Last-Event-ID", "another-1")
		s.send(t, http.MethodDelete, "/firebreak/maintenance/zones/z2", "")
		if e := <-fresh.events; e.event != "switch_cleared" {
			t.Errorf("an id of another process brought %s", e.event)
		}
	})
	t.Run("too late to catch up", func(t *testing.T) {
		guard := s.app(t).Guard()
		for range 400 {
			guard.HoldStore("z2", "e", breaker.Open, 0, "", "")
			guard.ResetStore("z2", "e", "", "")
			time.Sleep(50 * time.Microsecond)
		}
		eventually(t, "old events are dropped", func() bool {
			again := s.listen(t, "/firebreak/events", "Last-Event-ID", opened.id)
			defer again.cancel()
			e := <-again.events
			return e.event == "missed"
		})
	})
	t.Run("no such zone", func(t *testing.T) {
		if res, body := s.ask(t, http.MethodGet, "/firebreak/events?zone=zz"); res.StatusCode != http.StatusNotFound {
			t.Errorf("got %s: %s", res.Status, body)
		}
	})
	t.Run("head", func(t *testing.T) {
		if res, _ := s.ask(t, http.MethodHead, "/firebreak/events"); res.StatusCode != http.StatusOK {
			t.Errorf("got %s", res.Status)
		}
	})
}

// TestEventsOverReloads wants streams to end at a reload, or Caddy would wait
// for them, and nothing to stay behind.
func TestEventsOverReloads(t *testing.T) {
	s := startSidecar(t, smallApp, smallSite)
	stream := s.listen(t, "/firebreak/events")
	s.app(t).Guard().HoldZone("z2", breaker.Open, 0, "", "")
	first, before := stream.next(t, "zone_isolated"), 0
	for i := range 6 {
		events, feed := s.listen(t, "/firebreak/events"), s.listen(t, "/firebreak/ui/feed")
		feed.next(t, "hello")
		began := time.Now()
		if err := s.load(smallApp, smallSite+fmt.Sprintf("\nheader X-Load %d", i)); err != nil {
			t.Fatal(err)
		}
		events.ended(t)
		feed.ended(t)
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("the streams ended after %s", took)
		}
		if i == 1 {
			before = runtime.NumGoroutine()
		}
	}
	eventually(t, "no goroutine stays behind", func() bool { return runtime.NumGoroutine() <= before+2 })

	again := s.listen(t, "/firebreak/events", "Last-Event-ID", first.id)
	openZone(t, s.app(t).Guard())
	if opened := again.next(t, "zone_opened"); strings.Split(opened.id, "-")[0] != strings.Split(first.id, "-")[0] {
		t.Errorf("the numbers begin anew after reloads: %s, then %s", first.id, opened.id)
	}
}

// TestEventsFailedReload: Caddy has replaced its admin endpoint when a load
// fails; what listened to the old one must come to the new one.
func TestEventsFailedReload(t *testing.T) {
	s := startSidecar(t, smallApp, smallSite)
	events := s.listen(t, "/firebreak/events")
	if err := s.load("workers 32\ndirectory file /no/such/file.csv", smallSite); err == nil {
		t.Fatal("the broken configuration was loaded")
	}
	events.ended(t)
	again := s.listen(t, "/firebreak/events")
	openZone(t, s.app(t).Guard())
	again.next(t, "zone_opened")
}

func TestEventsManyClients(t *testing.T) {
	s := startSidecar(t, smallApp, smallSite)
	var streams []*eventStream
	for range 128 {
		streams = append(streams, s.listen(t, "/firebreak/events"))
	}
	eventually(t, "one more is refused", func() bool {
		res, body := s.ask(t, http.MethodGet, "/firebreak/ui/feed?count=0")
		return res.StatusCode == http.StatusServiceUnavailable && strings.Contains(body, "128 clients")
	})
	streams[0].cancel()
	eventually(t, "a place is free again", func() bool {
		res, err := http.Get("http://" + s.admin + "/firebreak/events")
		if err != nil {
			return false
		}
		defer res.Body.Close()
		return res.StatusCode == http.StatusOK
	})
}

// TestEventsSlowClient: a client that does not read is dropped, and nobody
// waits for it.
func TestEventsSlowClient(t *testing.T) {
	s := startSidecar(t, smallApp, smallSite)
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.admin+"/firebreak/events", nil)
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	guard, why := s.app(t).Guard(), strings.Repeat("x", 1900)
	told := make(chan struct{})
	go func() {
		defer close(told)
		for range 3000 {
			guard.HoldStore("z2", "e", breaker.Open, 0, "", why)
			time.Sleep(100 * time.Microsecond)
		}
	}()
	fast := s.listen(t, "/firebreak/events")
	fast.next(t, "store_isolated")
	<-told
	guard.ResetStore("z2", "e", "", "")
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = io.Copy(io.Discard, res.Body)
	}()
	select {
	case <-ended:
	case <-time.After(15 * time.Second):
		t.Error("the slow client is still served")
	}
}
