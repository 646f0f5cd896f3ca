package servers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/firebreak-proxy/firebreak/config"
)

// Dial tries to connect to an API server that could not be dialled.
func Dial(ctx context.Context, address string) error {
	at, err := caddy.ParseNetworkAddress(address)
	if err != nil {
		return err
	}
	network := at.Network
	if network == "" {
		network = "tcp"
	}
	conn, err := new(net.Dialer).DialContext(ctx, network, at.JoinHostPort(0))
	if err != nil {
		return err
	}
	return conn.Close()
}

// Check asks an API server whether it is well. Each call opens a connection of
// its own: one that was opened before the trouble proves nothing.
func Check(ctx context.Context, address string, c *config.ServerCheckPolicy) error {
	at, err := caddy.ParseNetworkAddress(address)
	if err != nil {
		return err
	}
	url := config.ServerURL(c.URI, address, at.Host)
	transport := &http.Transport{DisableKeepAlives: true}
	if at.IsUnixNetwork() {
		if !strings.HasPrefix(c.URI, "/") && strings.Contains(c.URI, "{") {
			return errors.New("its address is a socket, which has no place in a URL: give server_check a path")
		}
		if strings.HasPrefix(c.URI, "/") {
			url = "http://localhost" + c.URI
			transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "unix", at.Host)
			}
		}
	}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	for name, value := range c.Headers {
		if strings.EqualFold(name, "Host") {
			req.Host = value
		}
		req.Header.Set(name, value)
	}
	resp, err := transport.RoundTrip(req) // redirections are not followed
	if err != nil {
		if ctx.Err() != nil {
			return errors.New("no answer in time")
		}
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, io.LimitReader(resp.Body, maxCheckBody)); err != nil {
		return fmt.Errorf("its answer breaks off: %w", err)
	}
	if !c.Passes(resp.StatusCode) {
		return fmt.Errorf("it answers %s", resp.Status)
	}
	return nil
}

// maxCheckBody is how much of the answer of a server check is read.
const maxCheckBody = 64 << 10
