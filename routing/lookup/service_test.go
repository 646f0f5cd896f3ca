package lookup_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/firebreak-proxy/firebreak/routing"
	"github.com/firebreak-proxy/firebreak/routing/lookup"
)

// phone is a real HTTP server behind pipes instead of sockets, so that it and
// its clients live in the time of synctest.
type phone struct {
	calls   chan net.Conn
	closed  chan struct{}
	refuses atomic.Bool // connections

	mu    sync.Mutex // guards below
	asked map[string]int
	serve http.HandlerFunc
}

func newPhone(t *testing.T, serve http.HandlerFunc) *phone {
	t.Helper()
	p := &phone{calls: make(chan net.Conn), closed: make(chan struct{}), asked: make(map[string]int), serve: serve}
	server := &http.Server{Handler: p}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve(p)
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-ended
	})
	return p
}

func (p *phone) Accept() (net.Conn, error) {
	select {
	case conn := <-p.calls:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *phone) Close() error   { close(p.closed); return nil }
func (p *phone) Addr() net.Addr { return &net.TCPAddr{} }

func (p *phone) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	if p.refuses.Load() {
		return nil, errors.New("connection refused")
	}
	here, there := net.Pipe()
	select {
	case p.calls <- there:
		return here, nil
	case <-p.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p *phone) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.asked[r.URL.Path]++
	serve := p.serve
	p.mu.Unlock()
	serve(w, r)
}

func (p *phone) set(serve http.HandlerFunc) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.serve = serve
}

// times is how often a path was asked for; "" for all.
func (p *phone) times(path string) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for asked, times := range p.asked {
		if path == "" || path == asked {
			n += times
		}
	}
	return n
}

// shop answers that every key is its own store in zone z1, but those that begin
// with "no".
func shop(w http.ResponseWriter, r *http.Request) {
	key := strings.TrimPrefix(r.URL.Path, "/")
	if strings.HasPrefix(key, "no") {
		http.NotFound(w, r)
		return
	}
	fmt.Fprintf(w, `{"store":%q,"zone":"z1"}`, key)
}

func hang(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

func after(d time.Duration, serve http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(d):
			serve(w, r)
		case <-r.Context().Done():
		}
	}
}

// diary collects events.
type diary struct {
	mu     sync.Mutex // guards below
	events []routing.SourceEvent
}

func (d *diary) note(e routing.SourceEvent) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.events = append(d.events, e)
}

func (d *diary) count(kind routing.SourceEventKind) (n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, e := range d.events {
		if e.Kind == kind {
			n++
		}
	}
	return n
}

func (d *diary) last(kind routing.SourceEventKind) (err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, e := range d.events {
		if e.Kind == kind {
			err = e.Err
		}
	}
	return err
}

// scene is a directory and its service within a bubble of synctest.
type scene struct {
	*phone
	*lookup.Directory
	diary diary
	stop  func() // ends Run and waits for that
}

func stage(t *testing.T, o lookup.Options, serve http.HandlerFunc) *scene {
	t.Helper()
	s := &scene{phone: newPhone(t, serve)}
	s.open(t, o)
	return s
}

// open opens the directory, anew if there was one.
func (s *scene) open(t *testing.T, o lookup.Options) {
	t.Helper()
	if o.URL == "" {
		o.URL = "http://lookup/{key}"
	}
	o.Log = s.diary.note
	o.DialBy(s.dial)
	d, err := lookup.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		d.Run(ctx)
	}()
	s.Directory = d
	s.stop = func() {
		cancel()
		<-ended
		d.CloseIdle()
	}
	t.Cleanup(s.stop)
}

// wants asks for a key and compares the zone and the time the answer took. It
// returns when all that follows from the question is done.
func (s *scene) wants(t *testing.T, key, zone string, took time.Duration) {
	t.Helper()
	began := time.Now()
	route, ok := s.Ask(t.Context(), key)
	if ok != (zone != "") || route.Zone != zone {
		t.Errorf("%s: zone %q, %v, want %q", key, route.Zone, ok, zone)
	}
	if got := time.Since(began); got != took {
		t.Errorf("%s: took %s, want %s", key, got, took)
	}
	synctest.Wait()
}

func inBubble(t *testing.T, name string, test func(*testing.T)) {
	t.Run(name, func(t *testing.T) { synctest.Test(t, test) })
}
