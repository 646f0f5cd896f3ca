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
func get(target string) []byte {
	return []byte("GET " + target + " HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: */*\r\n\r\n")
}

// perSecond sends the requests over and over on each connection, the next when
// the last is answered, and counts the answers.
func perSecond(addr string, requests [][]byte, conns int, d time.Duration) (float64, error) {
	var answers atomic.Int64
	var failed atomic.Value
	var wg sync.WaitGroup
	end := time.Now().Add(d)
	for i := range conns {
		wg.Go(func() {
			n, err := repeat(addr, requests, i*len(requests)/conns, end)
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

func repeat(addr string, requests [][]byte, next int, end time.Time) (n int64, err error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	in := bufio.NewReader(conn)
	for ; time.Now().Before(end); n++ {
		next = (next + 1) % len(requests)
		if _, err := conn.Write(requests[next]); err != nil {
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
	for _, store := range []string{"b1", "b2", "b3", "b4"} {
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
