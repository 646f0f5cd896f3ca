package caddymodule_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// collector takes what OpenTelemetry exports by HTTP.
type collector struct {
	*httptest.Server

	mu  sync.Mutex // guards below
	got bytes.Buffer
}

func newCollector(t *testing.T) *collector {
	t.Helper()
	c := new(collector)
	c.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.got.Write(body)
	}))
	t.Cleanup(c.Close)
	return c
}

func (c *collector) has(words ...string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, word := range words {
		if !bytes.Contains(c.got.Bytes(), []byte(word)) { // protobuf leaves text as it is
			return false
		}
	}
	return true
}

// TestTracingInCaddy: Caddy's own directive, its own exporter, and what a
// collector gets.
func TestTracingInCaddy(t *testing.T) {
	c := newCollector(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", c.URL)
	t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
	s := startNext(t, "", "", status(200))
	app := strings.Replace(fastApp, "%s", "hung_hold 2s", 1)
	site := strings.Replace(strings.Replace(guarded, "%s", "unknown refuse", 1), "%s", "test_next", 1)
	metricsSite := "\n}\nhttp://" + freeAddress(t) + " {\nmetrics"
	if err := s.load(app, "tracing {\nspan search\n}\n"+site+metricsSite); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the spans are exported", func() bool {
		// The first connections may still be those of the configuration before.
		s.get(t, "/?key=a")
		s.get(t, "/?key=nobody")
		return c.has("firebreak.store", "firebreak.zone", "z1", "firebreak.outcome", "firebreak.refusal", "unknown_store", "firebreak.refused")
	})
	_, address, _ := strings.Cut(metricsSite, "http://")
	address, _, _ = strings.Cut(address, " ")
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", "application/openmetrics-text; version=1.0.0")
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), `zone_first_byte_seconds_bucket{zone="z1",le="0.1"} `)
	if line, _, _ := strings.Cut(rest, "\n"); !strings.Contains(line, `trace_id="`) {
		t.Errorf("the zone's bucket has no exemplar: %s", line)
	}
}
