package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
)

var errUnreachable = errors.New("the admin endpoint cannot be reached")

// refusedError is a problem that the API answered with.
type refusedError struct {
	status int
	detail string
}

// Error is what the API said.
func (e *refusedError) Error() string { return e.detail }

// maxAnswer bounds what is read of an answer.
const maxAnswer = 256 << 20

// attempts is how often a call is made: Caddy replaces its admin endpoint when
// it loads a configuration, and connections get lost. All calls are idempotent.
const attempts = 3

// call asks the API. The whole command, retries included, has the time limit.
func (s *session) call(ctx context.Context, method, path string, body any) ([]byte, error) {
	var data []byte
	if body != nil {
		var err error
		if data, err = json.Marshal(body); err != nil {
			return nil, err
		}
	}
	var answer []byte
	var err error
	for n := range attempts {
		if n > 0 {
			select {
			case <-ctx.Done():
			case <-time.After(200 * time.Millisecond):
			}
		}
		answer, err = s.once(ctx, method, path, data)
		var refused *refusedError
		if err == nil || errors.As(err, &refused) || ctx.Err() != nil {
			break
		}
	}
	switch {
	case err == nil:
		return answer, nil
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return nil, fmt.Errorf("%w: no answer from %s within %s; is it the right address (--address)? does the server hang?", errUnreachable, s.address, s.limit)
	}
	return nil, err
}

func (s *session) once(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	address, err := caddy.ParseNetworkAddress(s.address)
	if err != nil || address.PortRangeSize() > 1 {
		return nil, fmt.Errorf("%q is no admin endpoint: write for example localhost:2019", s.address)
	}
	origin, dial := "http://"+address.JoinHostPort(0), address.JoinHostPort(0)
	if address.IsUnixNetwork() {
		origin = "http://127.0.0.1"
		dial, _, _ = strings.Cut(dial, "|") // permissions of the socket
	}
	request, err := http.NewRequestWithContext(ctx, method, origin+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if !address.IsUnixNetwork() {
		request.Header.Set("Origin", origin)
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, address.Network, dial)
		},
	}}
	response, err := client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("%w at %s: %w; is the server running? is it the right address (--address)?", errUnreachable, s.address, root(err))
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("%w: its answer broke off: %w", errUnreachable, err)
	}
	if response.StatusCode >= http.StatusBadRequest {
		return nil, refusalOf(response, answer)
	}
	return answer, nil
}

// root is the innermost error of a URL's: the rest says what is known.
func root(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// refusalOf reads a problem.
func refusalOf(response *http.Response, answer []byte) error {
	var problem struct{ Detail, Error string }
	_ = json.Unmarshal(answer, &problem)
	detail := problem.Detail
	if detail == "" {
		detail = problem.Error
	}
	if detail == "" && response.StatusCode == http.StatusNotFound {
		detail = "this server has no firebreak in it: build it with the module github.com/firebreak-proxy/firebreak"
	}
	if detail == "" {
		detail = fmt.Sprintf("the server answered %s: %.300s", response.Status, answer)
	}
	return &refusedError{response.StatusCode, detail}
}

func (s *session) context() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), s.limit)
}

// get asks for a view. With --json it is printed as it is, and to is left
// alone: it reports whether to go on.
func (s *session) get(path string, to any) (goOn bool, err error) {
	ctx, cancel := s.context()
	defer cancel()
	return s.ask(ctx, http.MethodGet, path, nil, to)
}

func (s *session) ask(ctx context.Context, method, path string, body, to any) (goOn bool, err error) {
	answer, err := s.call(ctx, method, path, body)
	if err != nil {
		return false, err
	}
	if s.json {
		_, err = s.out.Write(answer)
		return false, err
	}
	if err := json.Unmarshal(answer, to); err != nil {
		return false, fmt.Errorf("the answer of %s is not understood; is the server of another version? %w", s.address, err)
	}
	return true, nil
}
