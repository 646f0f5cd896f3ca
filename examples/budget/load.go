package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// get is a request as it goes over the wire, with as little as possible.
func get(target string) []byte {
	return []byte("GET " + target + " HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: */*\r\n\r\n")
}

// fetch is the same as the page of a shop sends it: the header fields are those
// of fetch() in Chromium.
func fetch(target string) []byte {
	return crlf("GET " + target + ` HTTP/1.1
Host: api.example.com
Connection: keep-alive
sec-ch-ua-platform: "Windows"
User-Agent: Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36
Accept: application/json
sec-ch-ua: "Chromium";v="142", "Google Chrome";v="142", "Not_A Brand";v="99"
sec-ch-ua-mobile: ?0
Origin: https://shop.example
Sec-Fetch-Site: cross-site
Sec-Fetch-Mode: cors
Sec-Fetch-Dest: empty
Referer: https://shop.example/
Accept-Encoding: gzip, deflate, br, zstd
Accept-Language: en-US,en;q=0.9

`)
}

// post is an order as the same page sends it.
func post(target string) []byte {
	const order = `{"lines":[{"product":1003,"size":"43","count":1},{"product":1017,"size":"M","count":2}],"voucher":"","comment":""}`
	header, _ := bytes.CutSuffix(bytes.Replace(fetch(target), []byte("GET"), []byte("POST"), 1), []byte("\r\n"))
	return fmt.Appendf(header, "Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(order), order)
}

func crlf(s string) []byte { return []byte(strings.ReplaceAll(s, "\n", "\r\n")) }

// perSecond sends the requests over and over on each connection, the next when
// the last is answered, and counts the answers, which must be of the status.
func perSecond(addr string, requests [][]byte, status, conns int, d time.Duration) (float64, error) {
	var answers atomic.Int64
	var failed atomic.Value
	var wg sync.WaitGroup
	end := time.Now().Add(d)
	for i := range conns {
		wg.Go(func() {
			n, err := repeat(addr, requests, i*len(requests)/conns, status, end)
			answers.Add(n)
			if err != nil {
				failed.Store(err)
			}
		})
	}
	wg.Wait()
	if err, ok := failed.Load().(error); ok {
		return 0, fmt.Errorf("loading %s: %w", addr, err)
	}
	return float64(answers.Load()) / d.Seconds(), nil
}

func repeat(addr string, requests [][]byte, next, status int, end time.Time) (n int64, err error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	in := bufio.NewReader(conn)
	statusLine := fmt.Appendf(nil, "HTTP/1.1 %d ", status)
	for ; time.Now().Before(end); n++ {
		next = (next + 1) % len(requests)
		if _, err := conn.Write(requests[next]); err != nil {
			return n, err
		}
		if err := skipResponse(in, statusLine); err != nil {
			return n, err
		}
	}
	return n, nil
}

var contentLength = []byte("Content-Length: ")

// skipResponse reads a response with a length and forgets it; a client that
// does more would be what is measured.
func skipResponse(in *bufio.Reader, statusLine []byte) error {
	start, err := in.ReadSlice('\n')
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(start, statusLine) {
		return fmt.Errorf("the answer is %q, want %q", bytes.TrimSpace(start), statusLine)
	}
	length := 0
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return err
		}
		if rest, ok := bytes.CutPrefix(line, contentLength); ok {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(rest))); err != nil {
				return err
			}
		}
		if len(line) <= 2 {
			_, err = in.Discard(length)
			return err
		}
	}
}

// products is a page of search results.
var products = sync.OnceValue(func() []byte {
	type product struct {
		ID    int    `json:"id"`
		Name  string `json:"name"`
		Price string `json:"price"`
		Image string `json:"image"`
	}
	page := make([]product, 24)
	for i := range page {
		page[i] = product{1000 + i, fmt.Sprintf("Running shoe no. %d", i), "89.90", fmt.Sprintf("https://images.example.com/s1/%d.webp", 1000+i)}
	}
	body, _ := json.Marshal(page)
	return body
})

// startAPI is an API server that answers at once: /search with a page of
// products, everything else with little.
func startAPI() (*http.Server, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	answer := bytes.Repeat([]byte("x"), 200)
	search := func(w http.ResponseWriter) {
		h := w.Header()
		h.Set("Content-Type", "application/json")
		h.Set("Access-Control-Allow-Origin", "*")
		h.Set("Cache-Control", "max-age=60")
		h.Set("Content-Length", strconv.Itoa(len(products())))
		w.Write(products())
	}
	s := &http.Server{Addr: l.Addr().String(), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/search" {
			search(w)
			return
		}
		w.Write(answer)
	})}
	go s.Serve(l)
	return s, nil
}

// isolateZone has the requests of the zone that is called broken refused.
func isolateZone(admin string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+admin+"/firebreak/zones/broken/isolate", strings.NewReader(`{"reason": "measuring refusals"}`))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if body, err := io.ReadAll(res.Body); err != nil || res.StatusCode != http.StatusOK {
		return fmt.Errorf("isolating a zone: %s: %s (%w)", res.Status, body, err)
	}
	return nil
}
