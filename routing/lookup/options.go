package lookup

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/firebreak-proxy/firebreak/routing"
)

// Options are the service to ask, and how long to wait for it. Zero values stand for
// the defaults.
type Options struct {
	// URL of the question for one key; {key} stands for the key.
	URL string

	// List is the URL of a list of all stores; {after} stands for the place to
	// go on at. Without one the directory cannot list its stores.
	List string

	// Header is sent with every question.
	Header http.Header

	// TTL is how long an answer is good. Default: 5m.
	TTL time.Duration

	// NegativeTTL is how long a key stays unknown. Default: 30s.
	NegativeTTL time.Duration

	// Stale is how much longer an answer is given while the service is down.
	// Default: 168h.
	Stale time.Duration

	// Timeout is how long a request waits for the service at most.
	// Default: 500ms.
	Timeout time.Duration

	// MaxConcurrent questions are at the service at once. Default: 8.
	MaxConcurrent int

	// Cache is how many keys of stores are kept. Default: 100000.
	Cache int

	// ListEvery is how often the list is read. Default: 5m.
	ListEvery time.Duration

	// ListTimeout is how long a page of the list may take. Default: 10s.
	ListTimeout time.Duration

	// Zones that there are, beside those that answers name.
	Zones []string

	// Snapshot is a file for what is known, so that it outlives a restart.
	// Default: none.
	Snapshot string

	// Log is told what happens, on the goroutine it happens on.
	// Default: none.
	Log func(routing.SourceEvent)

	dial func(ctx context.Context, network, address string) (net.Conn, error) // of tests
}

// The defaults.
const (
	DefaultTTL           = 5 * time.Minute
	DefaultNegativeTTL   = 30 * time.Second
	DefaultStale         = 7 * 24 * time.Hour
	DefaultTimeout       = 500 * time.Millisecond
	DefaultMaxConcurrent = 8
	DefaultCache         = 100_000
	DefaultListEvery     = 5 * time.Minute
	DefaultListTimeout   = 10 * time.Second
)

// Bounds of what can be set.
const (
	maxTimeout    = 10 * time.Second
	maxConcurrent = 1024
	maxCache      = 10_000_000
)

// Check reports what is wrong with the options.
func (o *Options) Check() error {
	if err := checkURL(o.URL, "{key}", true); err != nil {
		return err
	}
	if o.List != "" {
		if err := checkURL(o.List, "{after}", false); err != nil {
			return fmt.Errorf("list: %w", err)
		}
	}
	for _, d := range []time.Duration{o.TTL, o.NegativeTTL, o.Stale, o.Timeout, o.ListEvery, o.ListTimeout} {
		if d < 0 {
			return fmt.Errorf("%s is negative", d)
		}
	}
	switch {
	case o.Timeout > maxTimeout:
		return fmt.Errorf("timeout %s is too long: requests wait for it, so at most %s", o.Timeout, maxTimeout)
	case o.MaxConcurrent < 0 || o.MaxConcurrent > maxConcurrent:
		return fmt.Errorf("max_concurrent is %d: it must be 1 to %d", o.MaxConcurrent, maxConcurrent)
	case o.Cache < 0 || o.Cache > maxCache:
		return fmt.Errorf("cache is %d: it must be 1 to %d", o.Cache, maxCache)
	}
	for _, zone := range o.Zones {
		if err := routing.CheckZoneName(zone); err != nil {
			return err
		}
	}
	return nil
}

// checkURL checks a URL with a variable in it.
func checkURL(text, variable string, needed bool) error {
	const example = "write for example: http://lookup.internal/stores/{key}"
	if text == "" {
		return errors.New("no URL; " + example)
	}
	if needed && !strings.Contains(text, variable) {
		return fmt.Errorf("%q has no %s in it; %s", text, variable, example)
	}
	u, err := url.Parse(strings.ReplaceAll(text, variable, "x"))
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return fmt.Errorf("%q is no http or https URL; %s", text, example)
	}
	other, err := url.Parse(strings.ReplaceAll(text, variable, "y"))
	if err != nil || other.Host != u.Host || other.User.String() != u.User.String() {
		return fmt.Errorf("%q has %s in the name of the host: clients would choose the host that is asked", text, variable)
	}
	return nil
}

func (o Options) withDefaults() Options {
	def := func(d *time.Duration, value time.Duration) {
		if *d == 0 {
			*d = value
		}
	}
	def(&o.TTL, DefaultTTL)
	def(&o.NegativeTTL, DefaultNegativeTTL)
	def(&o.Stale, DefaultStale)
	def(&o.Timeout, DefaultTimeout)
	def(&o.ListEvery, DefaultListEvery)
	def(&o.ListTimeout, DefaultListTimeout)
	if o.MaxConcurrent == 0 {
		o.MaxConcurrent = DefaultMaxConcurrent
	}
	if o.Cache == 0 {
		o.Cache = DefaultCache
	}
	if o.Log == nil {
		o.Log = func(routing.SourceEvent) {}
	}
	return o
}
