package stale

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/firebreak-proxy/firebreak/config"
)

// Defaults of Config.
const (
	DefaultMaxSize  = 64 << 20
	DefaultMaxEntry = 64 << 10
	DefaultRefresh  = 30 * time.Second
)

// Bounds of Config.
const (
	leastSize = 1 << 20
	mostSize  = 64 << 30
	mostEntry = 16 << 20
)

// Config says which answers a handler keeps and gives again while it would refuse.
type Config struct {
	// For how long an answer may be given after it was made, where the API server
	// does not say so itself with stale-if-error. Default: answers without
	// stale-if-error are not kept.
	For config.Duration `json:"for,omitempty"`

	// How much memory the answers of all handlers take together, in bytes, at least
	// 1 MiB. The largest value of all handlers counts. Default: 64MiB.
	MaxSize int64 `json:"max_size,omitempty"`

	// The largest body that is kept, in bytes. Default: 64KiB.
	MaxEntry int64 `json:"max_entry,omitempty"`

	// For how long a copy is left as it is before the next answer replaces it.
	// Default: 30s.
	Refresh config.Duration `json:"refresh,omitempty"`

	// Keep answers to requests with Authorization also if they are not marked as
	// public. They are given only to requests with the same Authorization.
	Authorization bool `json:"authorization,omitempty"`

	// Request header fields and cookies that make no difference to the answer:
	// requests that differ in nothing else get each other's answers. Never name one
	// here that says who asks.
	IgnoreHeaders []string `json:"ignore_headers,omitempty"`
	IgnoreCookies []string `json:"ignore_cookies,omitempty"`
}

// Check reports what is wrong with the settings.
func (c *Config) Check() error {
	switch {
	case c.For < 0:
		return errors.New("for must not be negative")
	case c.MaxSize != 0 && (c.MaxSize < leastSize || c.MaxSize > mostSize):
		return fmt.Errorf("max_size is %d bytes: it must be at least 1 MiB and at most 64 GiB", c.MaxSize)
	case c.MaxEntry < 0 || c.MaxEntry > mostEntry:
		return fmt.Errorf("max_entry is %d bytes: it must be above 0 and at most 16 MiB", c.MaxEntry)
	case c.Refresh != 0 && time.Duration(c.Refresh) < time.Second:
		return fmt.Errorf("refresh is %s: it must be at least 1s", time.Duration(c.Refresh))
	case c.maxEntry() > c.Size()/shares:
		return fmt.Errorf("max_entry is %d bytes: it must be at most 1/%d of max_size (%d bytes)", c.maxEntry(), shares, c.Size())
	}
	for _, name := range c.IgnoreHeaders {
		switch canonical := http.CanonicalHeaderKey(name); {
		case !httpguts.ValidHeaderFieldName(name):
			return fmt.Errorf("ignore_headers: %q is no name of a header field", name)
		case canonical == "Authorization" || canonical == "Cookie" || canonical == "Proxy-Authorization":
			return fmt.Errorf("ignore_headers: %s says who asks, so answers must not be shared between its values", canonical)
		}
	}
	for _, name := range c.IgnoreCookies {
		if !httpguts.ValidHeaderFieldName(name) {
			return fmt.Errorf("ignore_cookies: %q is no name of a cookie", name)
		}
	}
	return nil
}

// shares is the part of the memory that one answer may take at most.
const shares = 16

// Size is how many bytes all answers may take together.
func (c *Config) Size() int64 {
	if c.MaxSize == 0 {
		return DefaultMaxSize
	}
	return c.MaxSize
}

func (c *Config) maxEntry() int64 {
	if c.MaxEntry == 0 {
		return DefaultMaxEntry
	}
	return c.MaxEntry
}

// policy is a Config made ready.
type policy struct {
	staleFor      time.Duration
	maxEntry      int
	refresh       uint32 // seconds
	authorization bool
	headers       map[string]bool // ignored, by canonical name
	cookies       map[string]bool // ignored
}

func (c *Config) policy() policy {
	p := policy{
		staleFor: time.Duration(c.For), maxEntry: int(c.maxEntry()), refresh: uint32(DefaultRefresh / time.Second),
		authorization: c.Authorization, headers: make(map[string]bool), cookies: make(map[string]bool),
	}
	if c.Refresh > 0 {
		p.refresh = uint32(time.Duration(c.Refresh) / time.Second)
	}
	p.headers[config.RequestHeader] = true // another one for each request
	for _, name := range c.IgnoreHeaders {
		p.headers[http.CanonicalHeaderKey(name)] = true
	}
	for _, name := range c.IgnoreCookies {
		p.cookies[name] = true
	}
	return p
}

// withoutIgnored is a Cookie field without the cookies that make no difference.
func (p *policy) withoutIgnored(cookies string) string {
	if len(p.cookies) == 0 {
		return cookies
	}
	var kept []string
	for pair := range strings.SplitSeq(cookies, ";") {
		pair = strings.TrimSpace(pair)
		if name, _, _ := strings.Cut(pair, "="); !p.cookies[strings.TrimSpace(name)] {
			kept = append(kept, pair)
		}
	}
	return strings.Join(kept, "; ")
}
