package stale_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/stale"
)

// browserRequest is a request as a browser sends it.
func browserRequest() *http.Request {
	return get("http://shop.example/catalog/shoes?page=2&sort=price",
		"Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "Accept-Encoding", "gzip, deflate, br, zstd",
		"Accept-Language", "de,en-US;q=0.7,en;q=0.3", "Cookie", "session=0123456789abcdef0123456789abcdef",
		"User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Referer", "http://shop.example/",
		"X-Api-Key", "0123456789abcdef")
}

// BenchmarkCalm is what an answer costs that is not copied, on a calm day: its
// request is noted and its beginning seen. Budget: 150 ns, no allocations.
func BenchmarkCalm(b *testing.B) {
	k := newRig(tenMinutes())
	r, h := browserRequest(), http.Header{"Content-Type": {"text/html"}}
	k.twice(r, "z1", "s1", 200, h, "page")
	now := time.Now()
	var q stale.Request
	b.ReportAllocs()
	for b.Loop() {
		k.keeper.Ask(&q, r, "z1", "s1", now)
		if q.Begin(200, h, nil) != nil {
			b.Fatal("copied")
		}
		q.Reset()
	}
}

// BenchmarkCopy is what a copy costs.
func BenchmarkCopy(b *testing.B) {
	k := newRig(tenMinutes())
	h, body := http.Header{"Content-Type": {"text/html"}, "Content-Length": {"10000"}}, make([]byte, 10000)
	requests := make([]*http.Request, 1000)
	for i := range requests {
		requests[i] = browserRequest()
		requests[i].URL.Path = fmt.Sprint("/", i)
	}
	var q stale.Request
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		k.keeper.Ask(&q, requests[i/2%1000], "z1", "s1", time.Now())
		if c := q.Begin(200, h, nil); c != nil {
			c.Write(body)
			c.Keep()
		}
		q.Reset()
	}
}

// BenchmarkGiven is what an answer from memory costs.
func BenchmarkGiven(b *testing.B) {
	k := newRig(tenMinutes())
	r := browserRequest()
	k.twice(r, "z1", "s1", 200, http.Header{"Content-Type": {"text/html"}}, string(make([]byte, 10000)))
	var q stale.Request
	b.ReportAllocs()
	for b.Loop() {
		k.keeper.Look(&q, r, "z1", "s1")
		q.Find(time.Now()).WriteTo(httptest.NewRecorder(), "zone_open")
		q.Reset()
	}
}
