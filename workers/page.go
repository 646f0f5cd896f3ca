package workers

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// maxPage bounds what is read of a status page.
const maxPage = 4 << 20

// dialer makes connections to status pages; ctx bounds them.
var dialer net.Dialer

// dial connects to "host:port", "unix//path" or "unix/@abstract".
func dial(ctx context.Context, address string) (net.Conn, error) {
	network := "tcp"
	if path, ok := strings.CutPrefix(address, "unix/"); ok {
		network, address = "unix", path
	}
	conn, err := dialer.DialContext(ctx, network, strings.TrimPrefix(address, "tcp/"))
	if err != nil {
		return nil, err
	}
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(2 * time.Second)
	}
	if err := conn.SetDeadline(deadline); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// fetch gets a page by HTTP from a server at an address.
func fetch(ctx context.Context, address string, page *url.URL) ([]byte, error) {
	client := &http.Client{
		Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx, address) },
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, page.String(), http.NoBody)
	if err != nil {
		return nil, err
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := readBounded(response.Body)
	switch {
	case err != nil:
		return nil, err
	case response.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("it answered %s: %s", response.Status, beginning(body))
	}
	return body, nil
}

func readBounded(r io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxPage+1))
	if len(data) > maxPage {
		return nil, fmt.Errorf("it is longer than %d MB", maxPage>>20)
	}
	return data, err
}

// parse decodes a page of JSON.
func parse(data []byte, to any) error {
	if err := json.Unmarshal(data, to); err != nil {
		return fmt.Errorf("it is not the JSON it should be: %w: %s", err, beginning(data))
	}
	return nil
}

// beginning is what an unexpected page looks like, for an error.
func beginning(data []byte) string {
	const shown = 80
	text := string(data[:min(len(data), shown)])
	if len(data) > shown {
		text += "..."
	}
	return fmt.Sprintf("%q", text)
}

// httpPage reads the address of a page: "http://host:port/path?query" gives the
// address to connect to and the page to ask for.
func httpPage(text string) (address string, page *url.URL, err error) {
	page, err = url.Parse(text)
	switch {
	case err != nil:
		return "", nil, fmt.Errorf("%q is no URL: %w", text, err)
	case page.Scheme != "http" || page.Host == "":
		return "", nil, fmt.Errorf("%q must be a URL such as http://127.0.0.1:9000/status", text)
	}
	address = page.Host
	if page.Port() == "" {
		address = net.JoinHostPort(page.Hostname(), "80")
	}
	return address, page, nil
}
