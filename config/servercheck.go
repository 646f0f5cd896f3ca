package config

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// ServerCheck asks an API server that is out of service, over HTTP, whether it is
// well. It is not asked while the server is in service.
type ServerCheck struct {
	// What to ask: a path, "/healthz", which is asked at the server's own address
	// over plain HTTP; or a URL, for servers that speak FastCGI or TLS, in which
	// {server} stands for the server's address and {host} for its host:
	// "http://{host}:8080/ping".
	URI string `json:"uri"`

	// How often to ask. Default: 1s.
	Every Duration `json:"every,omitempty"`

	// How long the answer may take. Default: 1s.
	Timeout Duration `json:"timeout,omitempty"`

	// The statuses that pass. Default: any from 200 to 299.
	Status []int `json:"status,omitempty"`

	// More request headers; "Host" is the host that is asked for.
	Headers map[string]string `json:"headers,omitempty"`
}

// ServerCheckPolicy is a server check with every default filled in.
type ServerCheckPolicy struct {
	URI            string
	Every, Timeout time.Duration
	Status         []int // empty: any from 200 to 299
	Headers        map[string]string
}

// Passes reports whether an answer of this status passes.
func (c *ServerCheckPolicy) Passes(status int) bool {
	if len(c.Status) == 0 {
		return status >= 200 && status <= 299
	}
	return slices.Contains(c.Status, status)
}

// Validate says what is wrong with the settings.
func (c *ServerCheck) Validate() error {
	_, err := c.policy()
	return err
}

func (c *ServerCheck) policy() (*ServerCheckPolicy, error) {
	if c == nil {
		return nil, nil //nolint:nilnil // there is no check
	}
	if err := checkServerURI(c.URI); err != nil {
		return nil, err
	}
	if c.Every < 0 || c.Timeout < 0 {
		return nil, errors.New("every and timeout must not be negative")
	}
	for _, status := range c.Status {
		if status < 100 || status > 599 {
			return nil, fmt.Errorf("status %d: it must be from 100 to 599", status)
		}
	}
	for name := range c.Headers {
		if name == "" || strings.ContainsAny(name, " \t\r\n:") {
			return nil, fmt.Errorf("header %q: it is no name of a header", name)
		}
	}
	return &ServerCheckPolicy{
		URI: c.URI, Every: time.Duration(cmp.Or(c.Every, defaultCheckEvery)), Timeout: time.Duration(cmp.Or(c.Timeout, defaultCheckTimeout)),
		Status: slices.Clone(c.Status), Headers: maps.Clone(c.Headers),
	}, nil
}

func checkServerURI(uri string) error {
	const example = "write a path like /healthz, or a URL like http://{host}:8080/ping"
	target, err := url.Parse(ServerURL(uri, "10.0.0.1:9000", "10.0.0.1"))
	switch {
	case uri == "":
		return errors.New("what to ask is missing; " + example)
	case strings.HasPrefix(uri, "//"), err != nil, target.Host == "", target.Scheme != "http" && target.Scheme != "https":
		return fmt.Errorf("%q is neither a path nor a URL; %s", uri, example)
	}
	if _, err := http.NewRequest(http.MethodGet, target.String(), nil); err != nil {
		return fmt.Errorf("%q: %w; %s", uri, err, example)
	}
	return nil
}

// ServerURL is the URL of a server check for the server at an address.
func ServerURL(uri, address, host string) string {
	if strings.HasPrefix(uri, "/") {
		return "http://" + address + uri
	}
	return strings.NewReplacer("{server}", address, "{host}", host).Replace(uri)
}
