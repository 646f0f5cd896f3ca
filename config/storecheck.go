package config

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
)

// StoreCheck asks the API server whether one store is well: the check of
// verified recoveries. A field that a zone leaves out is taken from the app.
type StoreCheck struct {
	// The method of the request. Default: GET.
	Method string `json:"method,omitempty"`

	// Path and query. {store} and {zone} are filled in, escaped for where they
	// stand: /internal/check?key={store}.
	URI string `json:"uri,omitempty"`

	// Where the API server listens, without firebreak in between: host:port,
	// http://host:port, https://host:port or unix//path. Several take turns.
	To []string `json:"to,omitempty"`

	// More request headers; {store} and {zone} are filled in as they are.
	Headers map[string]string `json:"headers,omitempty"`

	// The statuses that pass. Default: 200.
	Status []int `json:"status,omitempty"`

	// What the first 64 KiB of the answer must contain, and what regular
	// expression they must match.
	BodyContains string `json:"body_contains,omitempty"`
	BodyMatch    string `json:"body_match,omitempty"`

	// How long the whole answer may take. Default: the zone's timeout.
	Timeout Duration `json:"timeout,omitempty"`

	// A store must pass so many checks in a row. Default: 2.
	Times int `json:"times,omitempty"`

	// The time between two checks of a store; after a failure it doubles with
	// each turn, to a minute at most. Default: 5s.
	Every *Duration `json:"every,omitempty"`

	// How many stores a recovery checks at a time. Default: 4.
	Parallel int `json:"parallel,omitempty"`

	// How often a failing store is tried again. Default: 4.
	Retries *int `json:"retries,omitempty"`

	// Release so many stores at a time, and watch them for a while before the
	// next are checked. Default: 0, each store is released as soon as it passed.
	Batch int `json:"batch,omitempty"`

	// How long a batch is watched. Default: 10s.
	Watch Duration `json:"watch,omitempty"`

	// Also check a zone that its breaker has opened: when two of the stores it
	// served lately pass, the open state ends early. Default: false.
	EndsOpen *bool `json:"ends_open,omitempty"`
}

// StoreCheckPolicy is a store check with every default filled in. It is nil
// where none is configured.
type StoreCheckPolicy struct {
	Method, URI                     string
	To                              []string
	Headers                         map[string]string
	Status                          []int
	BodyContains                    string
	BodyMatch                       *regexp.Regexp // nil: not asked for
	Timeout, Every, Watch           time.Duration
	Times, Parallel, Retries, Batch int
	EndsOpen                        bool
}

const (
	defaultCheckTimes    = 2
	defaultStoreEvery    = Duration(5 * time.Second)
	defaultCheckParallel = 4
	defaultCheckRetries  = 4
	defaultCheckWatch    = Duration(10 * time.Second)

	// MaxCheckTimes bounds how many checks in a row a store must pass.
	MaxCheckTimes = 100

	// MaxCheckParallel bounds how many stores are checked at a time.
	MaxCheckParallel = 1000
)

// inherit takes what c leaves out from base.
func (c *StoreCheck) inherit(base *StoreCheck) *StoreCheck {
	switch {
	case c == nil:
		return base
	case base == nil:
		return c
	}
	full := *c
	full.Method = cmp.Or(c.Method, base.Method)
	full.URI = cmp.Or(c.URI, base.URI)
	if c.To == nil {
		full.To = base.To
	}
	if base.Headers != nil {
		full.Headers = maps.Clone(base.Headers)
		maps.Copy(full.Headers, c.Headers)
	}
	if c.Status == nil {
		full.Status = base.Status
	}
	full.BodyContains = cmp.Or(c.BodyContains, base.BodyContains)
	full.BodyMatch = cmp.Or(c.BodyMatch, base.BodyMatch)
	full.Timeout = cmp.Or(c.Timeout, base.Timeout)
	full.Times = cmp.Or(c.Times, base.Times)
	full.Every = cmp.Or(c.Every, base.Every)
	full.Parallel = cmp.Or(c.Parallel, base.Parallel)
	full.Retries = cmp.Or(c.Retries, base.Retries)
	full.Batch = cmp.Or(c.Batch, base.Batch)
	full.Watch = cmp.Or(c.Watch, base.Watch)
	full.EndsOpen = cmp.Or(c.EndsOpen, base.EndsOpen)
	return &full
}

// Validate says what is wrong with settings that stand alone.
func (c *StoreCheck) Validate() error {
	_, err := c.policy(time.Duration(defaultTimeout))
	return err
}

// policy checks the settings and fills in the defaults.
func (c *StoreCheck) policy(zoneTimeout time.Duration) (*StoreCheckPolicy, error) {
	if c == nil {
		return nil, nil
	}
	p := &StoreCheckPolicy{
		Method: cmp.Or(c.Method, http.MethodGet), URI: c.URI, To: slices.Clone(c.To),
		Headers: maps.Clone(c.Headers), Status: slices.Clone(c.Status), BodyContains: c.BodyContains,
		Timeout: cmp.Or(time.Duration(c.Timeout), zoneTimeout), Every: time.Duration(deref(c.Every, defaultStoreEvery)),
		Watch: time.Duration(cmp.Or(c.Watch, defaultCheckWatch)), Times: cmp.Or(c.Times, defaultCheckTimes),
		Parallel: cmp.Or(c.Parallel, defaultCheckParallel), Retries: deref(c.Retries, defaultCheckRetries),
		Batch: c.Batch, EndsOpen: deref(c.EndsOpen, false),
	}
	if p.Status == nil {
		p.Status = []int{http.StatusOK}
	}
	if err := c.check(p); err != nil {
		return nil, err
	}
	if c.BodyMatch != "" {
		var err error
		if p.BodyMatch, err = regexp.Compile(c.BodyMatch); err != nil {
			return nil, fmt.Errorf("body_match: %w", err)
		}
	}
	return p, nil
}

var (
	httpMethod = regexp.MustCompile(`^[A-Z]{1,20}$`)
	headerName = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")
)

// check finds what is wrong with the settings.
func (c *StoreCheck) check(p *StoreCheckPolicy) error {
	switch {
	case !httpMethod.MatchString(p.Method):
		return fmt.Errorf("the method is %q: write for example GET", p.Method)
	case c.URI == "":
		return errors.New("it has no path; write for example: check GET /internal/check?key={store}")
	case c.URI[0] != '/':
		return fmt.Errorf("the path is %q: it must begin with a slash; the address belongs into the option to", c.URI)
	case !strings.Contains(c.URI, "{store}") && !headersName(c.Headers, "{store}"):
		return fmt.Errorf("neither path nor headers hold {store}: %q would ask the same for every store", c.URI)
	case len(c.To) == 0:
		return errors.New("it does not know where to ask; add where the API server listens, for example: to localhost:9000")
	case c.Timeout < 0 || p.Every < 0 || c.Watch < 0 || c.Batch < 0 || p.Retries < 0:
		return errors.New("timeout, every, watch, batch and retries must not be negative")
	case p.Times < 1 || p.Times > MaxCheckTimes:
		return fmt.Errorf("times is %d: it must be from 1 to %d", p.Times, MaxCheckTimes)
	case p.Parallel < 1 || p.Parallel > MaxCheckParallel:
		return fmt.Errorf("parallel is %d: it must be from 1 to %d", p.Parallel, MaxCheckParallel)
	}
	if _, err := url.ParseRequestURI(FillStore(c.URI, "z", "s")); err != nil {
		return fmt.Errorf("the path %q is not one of a URL", c.URI)
	}
	for _, to := range c.To {
		if _, _, err := SplitTarget(to); err != nil {
			return fmt.Errorf("to: %w", err)
		}
	}
	for _, status := range p.Status {
		if status < 100 || status > 599 {
			return fmt.Errorf("status %d: only 100 to 599 are possible", status)
		}
	}
	for name, value := range c.Headers {
		if !headerName.MatchString(name) || strings.ContainsFunc(value, unicode.IsControl) {
			return fmt.Errorf("header %q: its name or its value is not possible in HTTP", name)
		}
	}
	return nil
}

func headersName(headers map[string]string, placeholder string) bool {
	for _, value := range headers {
		if strings.Contains(value, placeholder) {
			return true
		}
	}
	return false
}

// FillStore fills {store} and {zone} into a path and query, escaped for where
// they stand.
func FillStore(uri, zone, store string) string {
	path, query, found := strings.Cut(uri, "?")
	path = strings.NewReplacer("{store}", url.PathEscape(store), "{zone}", url.PathEscape(zone)).Replace(path)
	if !found {
		return path
	}
	return path + "?" + strings.NewReplacer("{store}", url.QueryEscape(store), "{zone}", url.QueryEscape(zone)).Replace(query)
}

// SplitTarget reads an address that checks are sent to: the scheme, "unix" for
// a socket, and the host and port or the socket's path.
func SplitTarget(to string) (scheme, address string, err error) {
	scheme, address = "http", to
	if path, ok := strings.CutPrefix(to, "unix/"); ok {
		if !strings.HasPrefix(path, "/") {
			return "", "", fmt.Errorf("%q: the socket's path must be absolute; write for example: to unix//run/api.sock", to)
		}
		return "unix", path, nil
	}
	for _, known := range []string{"http", "https"} {
		if rest, ok := strings.CutPrefix(to, known+"://"); ok {
			scheme, address = known, rest
		}
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil || host == "" || port == "" || strings.ContainsAny(address, "/?#@ ") {
		return "", "", fmt.Errorf("%q is no address; write for example: to localhost:9000", to)
	}
	return scheme, address, nil
}
