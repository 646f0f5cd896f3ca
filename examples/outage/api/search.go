package api

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
)

// maxBody bounds what a worker reads of a request body.
const maxBody = 1 << 20

// answer reads one request from conn, works on it and writes the response.
func (s *Server) answer(ctx context.Context, id int, conn net.Conn) {
	req, err := http.ReadRequest(bufio.NewReader(conn))
	if err != nil {
		return
	}
	body, err := io.ReadAll(io.LimitReader(req.Body, maxBody))
	if err != nil {
		return
	}
	status, payload := s.route(ctx, id, req, body)
	write(conn, status, payload)
}

func (s *Server) route(ctx context.Context, id int, req *http.Request, body []byte) (int, any) {
	switch req.URL.Path {
	case "/search", "/internal/check":
		return s.search(ctx, id, storeOf(req, body))
	case "/health":
		return http.StatusOK, map[string]string{"status": "up"}
	default:
		return http.StatusNotFound, problem("no such path: try /search?key=s0001")
	}
}

// storeOf finds the store in the query of a GET or the JSON body of a POST.
func storeOf(req *http.Request, body []byte) string {
	if key := req.URL.Query().Get("key"); key != "" {
		return key
	}
	var arguments struct {
		Key string `json:"key"`
	}
	if json.Unmarshal(body, &arguments) != nil {
		return ""
	}
	return arguments.Key
}

func (s *Server) search(ctx context.Context, id int, store string) (int, any) {
	if store == "" {
		return http.StatusBadRequest, problem("key is missing")
	}
	zone, found := s.config.ZoneOf[store]
	if !found {
		return http.StatusNotFound, problem("no such store: " + store)
	}
	s.pool.asks(id, zone)
	value, err := ask(ctx, s.config.ZoneAddr[zone], store)
	if err != nil {
		return http.StatusInternalServerError, problem(fmt.Sprintf("asking zone %s: %v", zone, err))
	}
	return http.StatusOK, map[string]string{"store": store, "zone": zone, "value": value}
}

// ask is one synchronous query. It has no timeout, as most such code in the
// world has none; ctx ends only when the worker is killed.
func ask(ctx context.Context, addr, store string) (string, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if _, err := fmt.Fprintf(conn, "GET %s\n", store); err != nil {
		return "", err
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	return strings.TrimSuffix(line, "\n"), err
}

func problem(text string) any {
	return map[string]string{"error": text}
}

// write sends a whole response. There is no reader left for an error.
func write(conn net.Conn, status int, payload any) {
	body, _ := json.Marshal(payload)
	fmt.Fprintf(conn, "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s\n",
		status, http.StatusText(status), len(body)+1, body)
}
