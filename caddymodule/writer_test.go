package caddymodule_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
)

// TestWriterForms: a response is the same through firebreak, however it is
// written.
func TestWriterForms(t *testing.T) {
	large := strings.Repeat("0123456789", 100_000)
	file := filepath.Join(t.TempDir(), "large")
	writeFile(t, file, large)
	forms := map[string]func(http.ResponseWriter) error{
		"write":  func(w http.ResponseWriter) error { _, err := w.Write([]byte(large)); return err },
		"string": func(w http.ResponseWriter) error { _, err := io.WriteString(w, large); return err },
		"read from": func(w http.ResponseWriter) error {
			_, err := w.(io.ReaderFrom).ReadFrom(strings.NewReader(large))
			return err
		},
		"read from file": func(w http.ResponseWriter) error {
			f, err := os.Open(file)
			if err != nil {
				return err
			}
			defer f.Close()
			_, err = w.(io.ReaderFrom).ReadFrom(io.LimitReader(f, int64(len(large))))
			return err
		},
		"flush first": func(w http.ResponseWriter) error {
			if err := http.NewResponseController(w).Flush(); err != nil {
				return err
			}
			_, err := io.WriteString(w, large)
			return err
		},
		"twice": func(w http.ResponseWriter) error {
			w.WriteHeader(200)
			w.WriteHeader(500)
			_, err := io.WriteString(w, large)
			return err
		},
	}
	for name, write := range forms {
		t.Run(name, func(t *testing.T) {
			s := startNext(t, "", "", func(w http.ResponseWriter, _ *http.Request) error {
				w.Header().Set("X-Own", "yes")
				w.Header().Del("Server")
				return write(w)
			})
			res, body := s.get(t, "/?key=a")
			if res.StatusCode != 200 || body != large {
				t.Errorf("status %d and %d bytes, want 200 and %d", res.StatusCode, len(body), len(large))
			}
			if res.Header.Get("X-Own") != "yes" || res.Header.Get("Server") != "" {
				t.Errorf("header = %v, want X-Own and no Server", res.Header)
			}
			s.wantOutcome(t, "z1", breaker.OK, 1)
		})
	}
}

// TestHeadersBeforeError: header fields of a handler that returns an error
// stay, as without firebreak.
func TestHeadersBeforeError(t *testing.T) {
	s := startNext(t, "", "", func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Set("WWW-Authenticate", "Basic")
		return fails(io.ErrUnexpectedEOF)(w, nil)
	})
	if res, _ := s.get(t, "/?key=a"); res.Header.Get("WWW-Authenticate") != "Basic" {
		t.Errorf("header = %v, want WWW-Authenticate", res.Header)
	}
}

// TestInformational: 1xx responses pass, and their fields stay theirs, even if
// the final response never comes.
func TestInformational(t *testing.T) {
	stuck := newGate(t)
	s := startNext(t, "", "", func(w http.ResponseWriter, r *http.Request) error {
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Del("Link")
		if r.URL.Query().Has("hang") {
			stuck.wait()
		}
		w.WriteHeader(204)
		return nil
	})
	for _, query := range []string{"", "&hang"} {
		var hints string
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			hints = fmt.Sprint(code, " ", h.Get("Link"))
			return nil
		}})
		res, err := s.do(ctx, http.MethodGet, "/?key=a"+query, nil)
		if err != nil {
			t.Fatal(err)
		}
		if hints != "103 </style.css>; rel=preload" {
			t.Errorf("informational response = %q", hints)
		}
		if res.Header.Get("Link") != "" {
			t.Errorf("final response %d has the fields of the informational one", res.StatusCode)
		}
	}
}

// TestTrailers: announced or not, over HTTP/1.1 and HTTP/2.
func TestTrailers(t *testing.T) {
	s := startNext(t, "", "", func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Set("Trailer", "X-Announced")
		_, err := io.WriteString(w, "body")
		w.Header().Set("X-Announced", "one")
		w.Header().Set(http.TrailerPrefix+"X-Surprise", "two")
		_ = http.NewResponseController(w).Flush()
		return err
	})
	for name, client := range clients(t) {
		res, err := client.Get("http://" + s.site + "/?key=a")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(res.Body); err != nil {
			t.Error(err)
		}
		if res.Trailer.Get("X-Announced") != "one" || res.Trailer.Get("X-Surprise") != "two" {
			t.Errorf("%s: trailers = %v", name, res.Trailer)
		}
		res.Body.Close()
	}
}

// clients are HTTP clients by the protocol they speak.
func clients(t *testing.T) map[string]*http.Client {
	t.Helper()
	h2 := &http.Transport{Protocols: new(http.Protocols), TLSClientConfig: &tls.Config{}}
	h2.Protocols.SetUnencryptedHTTP2(true)
	h1 := &http.Transport{}
	t.Cleanup(h2.CloseIdleConnections)
	t.Cleanup(h1.CloseIdleConnections)
	return map[string]*http.Client{"HTTP/1.1": {Transport: h1, Timeout: 10 * time.Second}, "HTTP/2": {Transport: h2, Timeout: 10 * time.Second}}
}

// TestHTTP2: the deadline, and a client that leaves, over HTTP/2.
func TestHTTP2(t *testing.T) {
	stuck := newGate(t)
	s := startNext(t, "", "", func(http.ResponseWriter, *http.Request) error { stuck.wait(); return nil })
	client := clients(t)["HTTP/2"]
	res, err := client.Get("http://" + s.site + "/?key=a")
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(res.Body)
	res.Body.Close()
	wantHung(t, res, string(body))
	if res.ProtoMajor != 2 {
		t.Errorf("protocol = %s, want HTTP/2", res.Proto)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	req, _ := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.site+"/?key=e", nil)
	if _, err = client.Do(req); err == nil {
		t.Error("got an answer from a stuck handler")
	}
	s.wantSlots(t, "z2", 0, 1)
}

// TestHijack: a handler may take the connection over without a status.
func TestHijack(t *testing.T) {
	s := startNext(t, "", "", func(w http.ResponseWriter, _ *http.Request) error {
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return err
		}
		defer conn.Close()
		time.Sleep(800 * time.Millisecond) // past the deadline
		_, _ = rw.WriteString("own protocol\n")
		return rw.Flush()
	})
	conn, err := net.Dial("tcp", s.site)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET /?key=a HTTP/1.1\r\nHost: %s\r\n\r\n", s.site)
	if line, err := bufio.NewReader(conn).ReadString('\n'); line != "own protocol\n" {
		t.Errorf("read %q, error %v", line, err)
	}
	s.wantSlots(t, "z1", 0, 0)
}
