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
	"unicode"
)

// Repair is the request that starts the repair of a store that failed its check
// in a recovery. The store is checked again when the repair is done. A store is
// repaired once in a recovery; if that fails, or does not help, the store is put
// on the work list.
type Repair struct {
	// The method of the request that starts the repair. Default: POST.
	Method string `json:"method,omitempty"`

	// Path and query. {store}, {zone} and {key} are filled in, escaped for where
	// they stand: /repairs?store={store}. {key} is the idempotency key, which
	// is also sent as the header Idempotency-Key; it is the same for every
	// request about the store in one recovery.
	URI string `json:"uri,omitempty"`

	// Where the service that repairs listens: host:port, http://host:port,
	// https://host:port or unix//path. Several take turns.
	To []string `json:"to,omitempty"`

	// Path and query that say, when asked with GET, how far the repair is, with
	// the same placeholders: 202 says that it goes on, 200 or 204 that it is
	// done, 404 that it was never started. 429 and 5xx are asked again; any other
	// status says that it failed. Without it, the answer to the first request
	// comes when the repair is done.
	Poll string `json:"poll,omitempty"`

	// The time between two questions. Default: 2s.
	Every Duration `json:"every,omitempty"`

	// How long a repair may take. Default: 5m.
	Timeout Duration `json:"timeout,omitempty"`

	// How many stores a recovery repairs at a time. Default: 2.
	Parallel int `json:"parallel,omitempty"`

	// More request headers; {store}, {zone} and {key} are filled in as they are.
	Headers map[string]string `json:"headers,omitempty"`
}

// RepairPolicy is a repair with every default filled in. It is nil where none
// is configured.
type RepairPolicy struct {
	Method, URI, Poll string
	To                []string
	Headers           map[string]string
	Every, Timeout    time.Duration
	Parallel          int
}

const (
	defaultRepairEvery    = Duration(2 * time.Second)
	defaultRepairTimeout  = Duration(5 * time.Minute)
	defaultRepairParallel = 2
)

// Validate says what is wrong with the settings.
func (r *Repair) Validate() error {
	_, err := r.policy()
	return err
}

// policy checks the settings and fills in the defaults.
func (r *Repair) policy() (*RepairPolicy, error) {
	if r == nil {
		return nil, nil
	}
	p := &RepairPolicy{
		Method: cmp.Or(r.Method, http.MethodPost), URI: r.URI, Poll: r.Poll, To: slices.Clone(r.To), Headers: maps.Clone(r.Headers),
		Every: time.Duration(cmp.Or(r.Every, defaultRepairEvery)), Timeout: time.Duration(cmp.Or(r.Timeout, defaultRepairTimeout)),
		Parallel: cmp.Or(r.Parallel, defaultRepairParallel),
	}
	return p, r.check(p)
}

// check finds what is wrong with the settings.
func (r *Repair) check(p *RepairPolicy) error {
	switch {
	case !httpMethod.MatchString(p.Method):
		return fmt.Errorf("the method is %q: write for example POST", p.Method)
	case r.URI == "":
		return errors.New("it has no path; write for example: repair POST /repairs?store={store}")
	case !namesStore(r.URI) && !headersName(r.Headers, "{store}"):
		return fmt.Errorf("neither path nor headers hold {store}: %q would repair the same for every store", r.URI)
	case r.Poll != "" && !namesStore(r.Poll) && !headersName(r.Headers, "{store}"):
		return fmt.Errorf("poll: neither %q nor the headers hold {store} or {key}", r.Poll)
	case len(r.To) == 0:
		return errors.New("it does not know where to ask; add where the repair service listens, for example: to localhost:9100")
	case r.Every < 0 || r.Timeout < 0:
		return errors.New("every and timeout must not be negative")
	case p.Parallel < 1 || p.Parallel > MaxCheckParallel:
		return fmt.Errorf("parallel is %d: it must be from 1 to %d", p.Parallel, MaxCheckParallel)
	}
	for _, uri := range []string{r.URI, r.Poll} {
		if uri == "" {
			continue
		}
		if _, err := url.ParseRequestURI(FillRepair(uri, "z", "s", "k")); err != nil || uri[0] != '/' {
			return fmt.Errorf("the path %q is not one of a URL; the address belongs into the option to", uri)
		}
	}
	for _, to := range r.To {
		if _, _, err := SplitTarget(to); err != nil {
			return fmt.Errorf("to: %w", err)
		}
	}
	for name, value := range r.Headers {
		if !headerName.MatchString(name) || strings.ContainsFunc(value, unicode.IsControl) {
			return fmt.Errorf("header %q: its name or its value is not possible in HTTP", name)
		}
	}
	return nil
}

func namesStore(uri string) bool {
	return strings.Contains(uri, "{store}") || strings.Contains(uri, "{key}")
}

// FillRepair fills {store}, {zone} and {key} into a path and query, escaped for
// where they stand. A key has nothing to escape.
func FillRepair(uri, zone, store, key string) string {
	return FillStore(strings.ReplaceAll(uri, "{key}", key), zone, store)
}
