package servers

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/config"
)

func TestCheck(t *testing.T) {
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
			err := Check(ctx, tt.address, &tt.check)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// deadAddress is an address at which no process listens, nor can as long as the
// test runs: a connection goes out from it.
func deadAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn.LocalAddr().String()
}
