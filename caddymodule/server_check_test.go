package caddymodule_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/caddymodule"
	"github.com/firebreak-proxy/firebreak/config"
)

func TestCheckServer(t *testing.T) {
	serve := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/healthz":
		case "/moved":
			http.Redirect(w, r, "/healthz", http.StatusFound)
		case "/host":
			if r.Host != "api.example.com" || r.Header.Get("X-Token") != "secret" {
				http.Error(w, r.Host, http.StatusBadRequest)
			}
		case "/hang":
			select {
			case <-r.Context().Done():
			case <-time.After(2 * time.Second):
			}
		case "/short":
			w.Header().Set("Content-Length", "10")
			_, _ = w.Write([]byte("x"))
		default:
			http.NotFound(w, r)
		}
	})
	web := httptest.NewServer(serve)
	t.Cleanup(web.Close)
	socket := filepath.Join(t.TempDir(), "api.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	behindSocket := &http.Server{Handler: serve, ReadHeaderTimeout: time.Second}
	go func() { _ = behindSocket.Serve(listener) }()
	t.Cleanup(func() { _ = behindSocket.Close() })
	frozen, err := net.Listen("tcp", "127.0.0.1:0") // accepts, and answers nothing
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = frozen.Close() })
	address := web.Listener.Addr().String()
	_, port, _ := net.SplitHostPort(address)
	for _, tt := range []struct {
		name, address string
		check         config.ServerCheckPolicy
		want          string // in the error; "": it passes
	}{
		{"a path", address, config.ServerCheckPolicy{URI: "/healthz"}, ""},
		{"a socket", "unix/" + socket, config.ServerCheckPolicy{URI: "/healthz"}, ""},
		{"another port of the host", "127.0.0.1:1", config.ServerCheckPolicy{URI: "http://{host}:" + port + "/healthz"}, ""},
		{"a URL of the server", address, config.ServerCheckPolicy{URI: "http://{server}/healthz"}, ""},
		{"a URL of a socket", "unix/" + socket, config.ServerCheckPolicy{URI: "http://{host}/healthz"}, "give server_check a path"},
		{"headers", address, config.ServerCheckPolicy{URI: "/host", Headers: map[string]string{"Host": "api.example.com", "X-Token": "secret"}}, ""},
		{"another status", address, config.ServerCheckPolicy{URI: "/nothing", Status: []int{404}}, ""},
		{"a wrong status", address, config.ServerCheckPolicy{URI: "/nothing"}, "it answers 404"},
		{"redirected", address, config.ServerCheckPolicy{URI: "/moved"}, "it answers 302"},
		{"half an answer", address, config.ServerCheckPolicy{URI: "/short"}, "breaks off"},
		{"no answer", address, config.ServerCheckPolicy{URI: "/hang"}, "no answer in time"},
		{"frozen", frozen.Addr().String(), config.ServerCheckPolicy{URI: "/healthz"}, "no answer in time"},
		{"nobody there", deadAddress(t), config.ServerCheckPolicy{URI: "/healthz"}, "refused"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			err := caddymodule.CheckServer(ctx, tt.address, &tt.check)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// TestServerCheckBringsBack wants a server whose hung requests never end to be in
// service again because of its check.
func TestServerCheckBringsBack(t *testing.T) {
	one, other := startServer(t), startServer(t)
	health := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(health.Close)
	stuck := newGate(t)
	one.stuck.Store(stuck)
	t.Cleanup(stuck.release)
	app := strings.Replace(perServer, "timeout 5s", "timeout 1s", 1) + fmt.Sprintf("\n server_check %s/ {\n every 100ms\n }", health.URL)
	s := startSidecar(t, app, behind("random", one.address, other.address))
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(10 * time.Millisecond):
				go func() { _, _ = s.do(t.Context(), http.MethodGet, "/?key="+string("abcdef"[i%6]), nil) }()
			}
		}
	}()
	status := func() breaker.ServerStatus {
		for _, server := range s.app(t).Guard().Servers() {
			if server.Address == one.address {
				return server
			}
		}
		return breaker.ServerStatus{}
	}
	eventually(t, "the server is out of service", func() bool {
		if status().State != breaker.OutOfService {
			return false
		}
		one.stuck.Store(nil) // what it has got stays stuck
		return true
	})
	close(stop)
	<-stopped
	eventually(t, "its check has brought it back", func() bool { return status().State == breaker.InService })
	if got := status(); got.Occupied == 0 {
		t.Errorf("nothing hangs on it any more: %+v", got)
	}
}
