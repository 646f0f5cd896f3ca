package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// get is a request as it goes over the wire.
func get(target string) string {
	return "GET " + target + " HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: */*\r\n\r\n"
}

// perSecond sends the request over and over on each connection, the next when
// the last is answered, and counts the answers.
func perSecond(addr, request string, conns int, d time.Duration) (float64, error) {
	var answers atomic.Int64
	var failed atomic.Value
	var wg sync.WaitGroup
	end := time.Now().Add(d)
	for range conns {
		wg.Go(func() {
			n, err := repeat(addr, request, end)
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

func repeat(addr, request string, end time.Time) (n int64, err error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	in, out := bufio.NewReader(conn), []byte(request)
	for ; time.Now().Before(end); n++ {
		if _, err := conn.Write(out); err != nil {
			return n, err
		}
		if err := skipResponse(in); err != nil {
			return n, err
		}
	}
	return n, nil
}

var contentLength = []byte("Content-Length: ")

// skipResponse reads a response with a length and forgets it; a client that
// does more would be what is measured.
func skipResponse(in *bufio.Reader) error {
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

// startAPI is an API server that answers at once.
func startAPI() (*http.Server, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	answer := bytes.Repeat([]byte("x"), 200)
	s := &http.Server{Addr: l.Addr().String(), Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(answer) })}
	go s.Serve(l)
	return s, nil
}

// openZone makes three stores fail, so that their zone opens.
func openZone(addr string) error {
	for _, store := range []string{"s2", "s3", "s4", "s5"} {
		res, err := http.Get("http://" + addr + "/?key=" + store)
		if err != nil {
			return err
		}
		io.Copy(io.Discard, res.Body)
		res.Body.Close()
		if res.Header.Get("Firebreak-Refusal") == "zone_open" {
			return nil
		}
	}
	return errors.New("three failing stores did not open their zone")
}
