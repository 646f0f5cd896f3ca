package caddymodule_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/textproto"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go/http3"
)

// upstreamAnswers are answers of API servers, as they go over the wire.
var upstreamAnswers = map[string]string{
	"known length":             "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
	"known length, typed":      "HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: 5\r\n\r\nhello",
	"empty":                    "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
	"chunked":                  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
	"chunked, typed":           "HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
	"chunked, HTML":            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n<html>\r\n0\r\n\r\n",
	"chunked, empty":           "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	"chunked, empty, typed":    "HTTP/1.1 404 Not Found\r\nContent-Type: a/b\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	"chunked, trailer":         "HTTP/1.1 200 OK\r\nTrailer: X-End\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-End: 1\r\n\r\n",
	"chunked, empty, trailer":  "HTTP/1.1 200 OK\r\nTrailer: X-End\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-End: 1\r\n\r\n",
	"chunked, trailer unsaid":  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-End: 1\r\n\r\n",
	"chunked, encoded":         "HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
	"chunked, large":           "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4e20\r\n" + strings.Repeat("hello", 4000) + "\r\n0\r\n\r\n",
	"until closed":             "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello",
	"until closed, empty":      "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
	"1.0":                      "HTTP/1.0 200 OK\r\n\r\nhello",
	"1.0, empty":               "HTTP/1.0 200 OK\r\n\r\n",
	"1.0, known length":        "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
	"no content":               "HTTP/1.1 204 No Content\r\n\r\n",
	"reset content":            "HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n",
	"not modified":             "HTTP/1.1 304 Not Modified\r\nEtag: \"1\"\r\n\r\n",
	"not modified, length":     "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
	"early hints":              "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
	"failure, chunked":         "HTTP/1.1 500 Internal Server Error\r\nTransfer-Encoding: chunked\r\n\r\n4\r\noops\r\n0\r\n\r\n",
	"redirect, chunked, empty": "HTTP/1.1 302 Found\r\nLocation: /there\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
}

// newWire is an API server that gives upstreamAnswers, named by the last part of the
// path; to a HEAD request without the body. Requests have no body.
func newWire(t *testing.T) net.Addr {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go serveWire(conn)
		}
	}()
	return listener.Addr()
}

func serveWire(conn net.Conn) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	for {
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		answer := upstreamAnswers[strings.ReplaceAll(r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:], "_", " ")]
		closes := !strings.HasPrefix(answer, "HTTP/1.1") || strings.Contains(answer, "Connection: close")
		if r.Method == http.MethodHead {
			last := strings.LastIndex(answer, "HTTP/1.") // after early hints
			answer = answer[:last+strings.Index(answer[last:], "\r\n\r\n")+4]
		}
		if _, err = io.WriteString(conn, answer); err != nil || closes {
			return
		}
	}
}

// rawClient sends requests over one connection, and reports what goes over the
// wire before the body, in order of names, without what depends on the time.
type rawClient struct {
	t     *testing.T
	site  string
	proto string
	conn  net.Conn
	in    *bufio.Reader
}

func (c *rawClient) send(method, path string) string {
	c.t.Helper()
	if c.conn == nil {
		conn, err := net.Dial("tcp", c.site)
		if err != nil {
			c.t.Fatal(err)
		}
		c.conn, c.in = conn, bufio.NewReader(conn)
	}
	_ = c.conn.SetDeadline(time.Now().Add(10 * time.Second))
	keep := ""
	if c.proto == "HTTP/1.0" {
		keep = "Connection: keep-alive\r\n"
	}
	fmt.Fprintf(c.conn, "%s %s %s\r\nHost: %s\r\n%s\r\n", method, path, c.proto, c.site, keep)
	var seen bytes.Buffer
	head := bufio.NewReader(io.TeeReader(c.in, &seen))
	var said []string
	for {
		seen.Reset()
		text := textproto.NewReader(bufio.NewReaderSize(oneByte{head}, 16))
		line, err := text.ReadLine()
		if err != nil {
			c.t.Fatalf("%s %s %s: %v", method, path, c.proto, err)
		}
		header, err := text.ReadMIMEHeader()
		if err != nil {
			c.t.Fatal(err)
		}
		said = append(said, line, headerText(http.Header(header)))
		if strings.HasPrefix(line, "HTTP/1.1 1") {
			continue
		}
		said = append(said, c.body(method, line, http.Header(header), head))
		return strings.Join(said, "\n")
	}
}

// body reads the body as its header demands.
func (c *rawClient) body(method, line string, header http.Header, in *bufio.Reader) string {
	c.t.Helper()
	var text strings.Builder
	fmt.Fprintf(&text, "%s\r\n", line)
	_ = header.Write(&text)
	text.WriteString("\r\n")
	res, err := http.ReadResponse(bufio.NewReader(io.MultiReader(strings.NewReader(text.String()), oneByte{in})), &http.Request{Method: method})
	if err != nil {
		c.t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	if res.Close {
		c.conn.Close()
		c.conn = nil
	}
	return fmt.Sprintf("%d bytes; trailer: %s; close: %t", len(body), headerText(res.Trailer), res.Close)
}

// oneByte keeps a bufio.Reader above from reading ahead.
type oneByte struct{ in io.Reader }

func (o oneByte) Read(p []byte) (int, error) { return o.in.Read(p[:1]) }

func headerText(h http.Header) string {
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(h)) {
		if name != "Date" {
			lines = append(lines, fmt.Sprintf("%s: %q", name, h[name]))
		}
	}
	return strings.Join(lines, "\n")
}

// TestHeadersAsPlain compares what clients get through transport firebreak with
// what they get through reverse_proxy alone.
func TestHeadersAsPlain(t *testing.T) {
	upstream := newWire(t)
	cert, key, trust := selfSigned(t)
	secure := freeAddress(t)
	_, port, _ := net.SplitHostPort(secure)
	routes := fmt.Sprintf(`
		handle_path /plain/* {
			reverse_proxy %[1]s
		}
		handle_path /simple/* {
			firebreak {
				key header X-Store
			}
			reverse_proxy %[1]s {
				transport firebreak
			}
		}
		handle_path /nethttp/* {
			firebreak {
				key header X-Store
			}
			reverse_proxy %[1]s {
				transport firebreak {
					max_conns_per_host 1000
				}
			}
		}
		handle_path /encode-plain/* {
			route {
				encode {
					minimum_length 10
				}
				reverse_proxy %[1]s
			}
		}
		handle_path /encode-inside/* {
			route {
				firebreak {
				key header X-Store
			}
				encode {
					minimum_length 10
				}
				reverse_proxy %[1]s {
					transport firebreak
				}
			}
		}
		handle_path /encode-outside/* {
			route {
				encode {
					minimum_length 10
				}
				firebreak {
				key header X-Store
			}
				reverse_proxy %[1]s {
					transport firebreak
				}
			}
		}`, upstream)
	s := startSidecar(t, "workers 32\nzone * {\nfail_status 599\n}", routes+fmt.Sprintf("\n}\n\nhttps://localhost:%s {\nbind 127.0.0.1\ntls %s %s\n%s", port, cert, key, routes))
	clients := map[string]func(method, path string) string{}
	for _, proto := range []string{"HTTP/1.1", "HTTP/1.0"} {
		clients[proto] = (&rawClient{t: t, site: s.site, proto: proto}).send
	}
	quic := &http3.Transport{TLSClientConfig: trust}
	defer quic.Close()
	h2 := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trust.RootCAs, ServerName: "localhost"}, ForceAttemptHTTP2: true}
	defer h2.CloseIdleConnections()
	for proto, transport := range map[string]http.RoundTripper{"HTTP/2.0": h2, "HTTP/3.0": quic} {
		clients[proto] = func(method, path string) string {
			return roundTripText(t, transport, proto, method, "https://localhost:"+port+path)
		}
	}
	for _, proto := range slices.Sorted(maps.Keys(clients)) {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			for _, name := range slices.Sorted(maps.Keys(upstreamAnswers)) {
				path := "/" + strings.ReplaceAll(name, " ", "_")
				for plain, ways := range map[string][]string{"/plain": {"/simple", "/nethttp"}, "/encode-plain": {"/encode-inside", "/encode-outside"}} {
					sameAnswers(t, proto+" "+method+" of "+name, func(way string) string { return clients[proto](method, way+path) }, plain, ways)
				}
			}
		}
	}
}

// sameAnswers sends a request several times each way, and expects no answer
// that it never gets through Caddy alone. What that gives may depend on the
// scheduler too, so it is asked for long before something is an error.
func sameAnswers(t *testing.T, what string, send func(way string) string, plain string, ways []string) {
	t.Helper()
	const rounds, patience = 12, 1000
	want := map[string]bool{}
	for range rounds {
		want[send(plain)] = true
	}
	for _, way := range ways {
		for n := range rounds {
			got := send(way)
			for asked := 0; !want[got] && asked < patience; asked++ {
				want[send(plain)] = true
			}
			if !want[got] {
				t.Errorf("%s via %s, request %d:\n%s\n\nwant as via %s:\n%s", what, way, n, got, plain, strings.Join(slices.Collect(maps.Keys(want)), "\n\nor\n"))
				break
			}
		}
	}
}

// roundTripText is rawClient.send for protocols whose frames the test does not read.
func roundTripText(t *testing.T, transport http.RoundTripper, proto, method, url string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept-Encoding", "identity")
	res, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, bodyErr := io.ReadAll(res.Body)
	if res.Proto != proto {
		t.Fatalf("%s, want %s", res.Proto, proto)
	}
	return fmt.Sprintf("%s\n%s\nlength: %d, %d bytes, %v; trailer: %s",
		res.Status, headerText(res.Header), res.ContentLength, len(body), bodyErr, headerText(res.Trailer))
}
