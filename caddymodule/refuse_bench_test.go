package caddymodule_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/firebreak-proxy/firebreak/caddymodule"
)

// BenchmarkRefusalThroughput asks one Caddy in turn for refusals of a zone
// that is open and for answers of Caddy's respond, and reports how many
// refusals there are for an answer in the same time. Budget: 0.9.
func BenchmarkRefusalThroughput(b *testing.B) {
	b.Setenv("XDG_CONFIG_HOME", caddymodule.TempHome(b))
	b.Setenv("XDG_DATA_HOME", caddymodule.TempHome(b))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	site := listener.Addr().String()
	listener.Close()
	config, err := adapt(fmt.Sprintf(`{
		admin off
		persist_config off
		auto_https off
		firebreak {
			workers 32
			directory inline {
				zone z1 {
					stores a
				}
			}
		}
	}
	http://%s {
		handle /respond {
			header Cache-Control no-store
			header Content-Type application/problem+json
			respond "This part of the service is not available at the moment. Please try again later." 503
		}
		handle {
			firebreak {
				key query key
				unknown refuse
			}
			respond ok
		}
	}`, site))
	if err != nil {
		b.Fatal(err)
	}
	if err := caddy.Load([]byte(config), true); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = caddy.Stop() })
	refusal, respond := dialAsker(b, site, "/?key=nobody"), dialAsker(b, site, "/respond")
	var refusals, answers time.Duration
	const batch = 100
	for b.Loop() {
		refusals += refusal.ask(b, batch, 404)
		answers += respond.ask(b, batch, 503)
	}
	b.ReportMetric(float64(answers)/float64(refusals), "refusals/answer")
	b.ReportMetric(float64(batch*b.N)/refusals.Seconds(), "refusals/s")
}

// asker sends the same request over one connection.
type asker struct {
	conn    net.Conn
	in      *bufio.Reader
	request []byte
}

func dialAsker(b *testing.B, site, path string) *asker {
	b.Helper()
	conn, err := net.Dial("tcp", site)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close() })
	return &asker{conn, bufio.NewReader(conn), []byte("GET " + path + " HTTP/1.1\r\nHost: " + site + "\r\n\r\n")}
}

func (a *asker) ask(b *testing.B, n, status int) time.Duration {
	b.Helper()
	start := time.Now()
	for range n {
		if _, err := a.conn.Write(a.request); err != nil {
			b.Fatal(err)
		}
		res, err := http.ReadResponse(a.in, nil)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, res.Body); err != nil || res.StatusCode != status {
			b.Fatalf("status %d, error %v; want %d", res.StatusCode, err, status)
		}
	}
	return time.Since(start)
}
