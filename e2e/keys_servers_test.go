//go:build e2e

package e2e_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// keyReaders are the applications of testdata/keys, in the order of the tables
// in docs/keys.md.
var keyReaders = []struct {
	name, title string
	sources     []string
}{
	{"php", "PHP", []string{"query", "form", "json", "header", "cookie", "host_label", "path_segment", "bearer", "basic_user"}},
	{"flask", "Flask", []string{"query", "form", "json", "header", "cookie", "host_label", "path_segment", "bearer", "basic_user"}},
	{"django", "Django", []string{"query", "form", "json", "header", "cookie", "host_label", "path_segment", "bearer"}},
	{"python", "Python", []string{"query", "form", "json", "cookie", "path_segment"}},
	{"express", "Express", []string{"query", "form", "json", "header", "cookie", "host_label", "path_segment", "bearer", "basic_user"}},
	{"urls", "Node URL", []string{"query", "form", "json", "header", "host_label", "path_segment"}},
	{"querystring", "Node querystring", []string{"query", "form"}},
}

// keyLines are the sources that the tests ask about, as in a Caddyfile.
var keyLines = map[string]string{
	"query": "query key", "form": "form key", "json": "json key", "header": "header X-Store", "cookie": "cookie key",
	"host_label": "host_label 1", "path_segment": "path_segment 2", "bearer": "bearer", "basic_user": "basic_user",
}

// keyRequest is a request with a key in one place, as it is on the wire.
type keyRequest struct {
	source  string
	text    string   // what stands in that place
	headers []string // lines, instead of those that belong to it
}

// wire is the request that asks a reader. The reader "firebreak" is the guard.
func (k *keyRequest) wire(reader string) []byte {
	method, target, host, body := "GET", "/x", "shop.example.com", ""
	headers := slices.Clone(k.headers)
	switch k.source {
	case "query":
		target = "/x?" + k.text
	case "form", "json":
		method, body = "POST", k.text
		if len(headers) == 0 {
			headers = []string{"Content-Type: " + map[string]string{"form": "application/x-www-form-urlencoded", "json": "application/json"}[k.source]}
		}
		headers = append(headers, fmt.Sprintf("Content-Length: %d", len(body)))
	case "host_label":
		host = k.text
	case "path_segment":
		target = k.text
	default:
		headers = append(headers, strings.Split(k.text, "\n")...)
	}
	headers = append(headers, "X-Reader: "+reader, "X-Source: "+k.source)
	return []byte(method + " " + target + " HTTP/1.1\r\nHost: " + host + "\r\n" + strings.Join(headers, "\r\n") + "\r\n\r\n" + body)
}

// keyServers is the guard with all readers behind it.
type keyServers struct {
	addr string
	conn net.Conn
	in   *bufio.Reader
}

func startKeyServers(t *testing.T) *keyServers {
	t.Helper()
	fpmAddr, wsgiAddr, nodeAddr := freeAddr(t), freeAddr(t), freeAddr(t)
	dir, err := filepath.Abs(filepath.Join("testdata", "keys"))
	if err != nil {
		t.Fatal(err)
	}
	conf := filepath.Join(t.TempDir(), "pool.conf")
	settings := "[global]\ndaemonize = no\n[keys]\nlisten = " + fpmAddr + "\npm = static\npm.max_children = 2\nsecurity.limit_extensions =\n"
	if err := os.WriteFile(conf, []byte(settings), 0o644); err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(nodeAddr)
	startReader(t, fpmAddr, exec.Command(phpFPM(), "--nodaemonize", "--allow-to-run-as-root", "--fpm-config", conf))
	startReader(t, wsgiAddr, exec.Command("gunicorn", "--bind", wsgiAddr, "--chdir", dir, "--log-level", "warning", "--workers", "1", "wsgi:application"))
	startReader(t, nodeAddr, exec.Command("node", filepath.Join(dir, "keys.js")), "PORT="+port, "NODE_PATH=/usr/share/nodejs")

	var handlers strings.Builder
	for source, line := range keyLines {
		fmt.Fprintf(&handlers, "\n\t@%s {\n\t\theader X-Reader firebreak\n\t\theader X-Source %s\n\t}\n"+
			"\tfirebreak @%s {\n\t\tkey %s\n\t}\n", source, source, source, line)
	}
	fmt.Fprintf(&handlers, `
	@firebreak header X-Reader firebreak
	respond @firebreak "{http.firebreak.store}"
	@php header X-Reader php
	php_fastcgi @php %s {
		root %s
		index keys.php
	}
	@python header_regexp X-Reader ^(flask|django|python)$
	reverse_proxy @python %s
	@node header_regexp X-Reader ^(express|urls|querystring)$
	reverse_proxy @node %s`, fpmAddr, dir, wsgiAddr, nodeAddr)
	p := startProxy(t, site{pool: 64, source: "hash z1 z2", handlers: handlers.String()})
	return &keyServers{addr: p.addr}
}

func startReader(t *testing.T, addr string, cmd *exec.Cmd, env ...string) {
	t.Helper()
	cmd.Env = append(append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1"), env...)
	logTo(t, cmd, filepath.Base(cmd.Path)+".log")
	if err := as(cmd, "root"); err != nil {
		t.Fatal(err)
	}
	if err := startBehind(cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { killGroup(cmd) })
	eventually(t, 20*time.Second, filepath.Base(cmd.Path)+" listens", func() bool { return listens(addr) })
}

// ask sends a request, over the same connection as the one before.
func (s *keyServers) ask(t *testing.T, wire []byte) (*http.Response, []byte) {
	t.Helper()
	for try := 0; ; try++ {
		if s.conn == nil {
			conn, err := net.Dial("tcp", s.addr)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { conn.Close() })
			s.conn, s.in = conn, bufio.NewReader(conn)
		}
		_ = s.conn.SetDeadline(time.Now().Add(10 * time.Second))
		_, err := s.conn.Write(wire)
		if err == nil {
			var resp *http.Response
			if resp, err = http.ReadResponse(s.in, nil); err == nil {
				var body []byte
				if body, err = io.ReadAll(resp.Body); err == nil {
					if resp.Close {
						s.conn.Close()
						s.conn = nil
					}
					return resp, body
				}
			}
		}
		s.conn.Close()
		if s.conn = nil; try == 2 {
			t.Fatalf("%q: %v", wire, err)
		}
	}
}

// booked is the store that firebreak counts a request to, "" if there is none.
// A request that is no HTTP has no store anywhere.
func (s *keyServers) booked(t *testing.T, k *keyRequest) (store string, ambiguous, ok bool) {
	t.Helper()
	resp, body := s.ask(t, k.wire("firebreak"))
	switch {
	case resp.Header.Get("Firebreak-Refusal") == "ambiguous_key":
		return "", true, true
	case resp.StatusCode != http.StatusOK:
		return "", false, false
	case string(body) == "unknown":
		return "", false, true
	}
	return string(body), false, true
}

// read is the key that an application finds: a string, a list, … or nil. One
// that answers with an error finds none.
func (s *keyServers) read(t *testing.T, k *keyRequest, reader string) any {
	t.Helper()
	resp, body := s.ask(t, k.wire(reader))
	if resp.StatusCode != http.StatusOK {
		if resp.StatusCode >= 502 {
			t.Errorf("%s: %s for %q: %s", reader, resp.Status, k.wire(reader), body)
		}
		return nil
	}
	var found struct {
		Key any `json:"key"`
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	if err := dec.Decode(&found); err != nil {
		t.Errorf("%s: %v: %q", reader, err, body)
	}
	return found.Key
}
