package directories

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/textproto"
	"net/url"
	"strings"
	"time"

	"go.uber.org/zap"
	"golang.org/x/net/http/httpguts"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/internal/directive"
	"github.com/firebreak-proxy/firebreak/routing"
	"github.com/firebreak-proxy/firebreak/routing/lookup"
)

// HTTP asks a lookup service where a store lives:
//
//	GET http://lookup.internal/stores/{key}
//	200 {"store":"s1","zone":"z1","keys":["k1","k2"]}
//	404 there is no such store
//
// Answers are kept, and asked for again in the background before they are too
// old. While the service is down, what is known stays in force and new keys are
// unknown; no request waits for it then.
type HTTP struct {
	// The URL of the question; {key} stands for the key. Placeholders such as
	// {env.LOOKUP_HOST} are filled in once.
	URL string `json:"url"`

	// The URL of a list of all stores, in pages {"stores":[...],"next":"..."};
	// {after} stands for the last page's next. Without a list, recovery and the
	// dashboard cannot list stores.
	List string `json:"list,omitempty"`

	// How often the list is read. Default: 5m.
	ListEvery config.Duration `json:"list_every,omitempty"`

	// How long a page of the list may take. Default: 10s.
	ListTimeout config.Duration `json:"list_timeout,omitempty"`

	// Headers of every question. Placeholders such as {env.LOOKUP_TOKEN} are
	// filled in once.
	Headers http.Header `json:"headers,omitempty"`

	// How long an answer is good. Default: 5m.
	TTL config.Duration `json:"ttl,omitempty"`

	// How long a key stays unknown. Default: 30s.
	NegativeTTL config.Duration `json:"negative_ttl,omitempty"`

	// How much longer an answer is given while the service is down.
	// Default: 7d.
	Stale config.Duration `json:"stale,omitempty"`

	// How long a request waits for the service at most. Default: 500ms.
	Timeout config.Duration `json:"timeout,omitempty"`

	// How many questions are at the service at once. Default: 8.
	MaxConcurrent int `json:"max_concurrent,omitempty"`

	// How many keys of stores are kept. Default: 100000.
	Cache int `json:"cache,omitempty"`

	// All zones there are. Default: those that answers have named.
	ZoneList []string `json:"zones,omitempty"`

	// A file for what is known, so that it outlives a restart, or "off".
	// Default: a file in Caddy's data directory.
	Snapshot string `json:"snapshot,omitempty"`

	log    *zap.Logger
	held   string // settings of the shared source
	source *SharedSource
}

// CaddyModule returns the Caddy module information.
func (HTTP) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: Namespace + ".http", New: func() caddy.Module { return new(HTTP) }}
}

// Provision takes hold of what is known. It opens no connection.
func (h *HTTP) Provision(ctx caddy.Context) error {
	h.log = ctx.Logger()
	options, err := h.options()
	if err != nil {
		return fmt.Errorf("directory http: %w", err)
	}
	settings, err := json.Marshal(options.settings())
	if err != nil {
		return err
	}
	held := "http " + string(settings)
	h.source, err = HoldSource(held, func(log func(routing.SourceEvent)) (routing.Source, error) {
		options.Log = log
		d, err := lookup.Open(options.Options)
		if err == nil && options.List != "" {
			return lookup.Listed{Directory: d}, nil
		}
		return d, err
	})
	if err != nil {
		return fmt.Errorf("directory http: %w", err)
	}
	h.held = held
	return nil
}

// Cleanup gives the source back.
func (h *HTTP) Cleanup() error {
	if h.held == "" {
		return nil
	}
	held := h.held
	h.held = ""
	return ReleaseSource(held)
}

// OpenDirectory implements [DirectoryOpener].
func (h *HTTP) OpenDirectory() Directory { return h.source.AsDirectory(h.log) }

// httpOptions are the options of the source.
type httpOptions struct{ lookup.Options }

// settings tell one source from another.
func (o httpOptions) settings() any {
	o.Log = nil
	return struct {
		lookup.Options
		Log any // hides the function
	}{Options: o.Options}
}

// form are the options as they are written, placeholders included.
func (h *HTTP) form() lookup.Options {
	return lookup.Options{
		URL: h.URL, List: h.List, Header: h.Headers,
		TTL: time.Duration(h.TTL), NegativeTTL: time.Duration(h.NegativeTTL), Stale: time.Duration(h.Stale),
		Timeout: time.Duration(h.Timeout), MaxConcurrent: h.MaxConcurrent, Cache: h.Cache,
		ListEvery: time.Duration(h.ListEvery), ListTimeout: time.Duration(h.ListTimeout), Zones: h.ZoneList,
	}
}

// options are the options with placeholders filled in.
func (h *HTTP) options() (o httpOptions, err error) {
	o.Options = h.form()
	repl := caddy.NewReplacer()
	o.URL, o.List = repl.ReplaceKnown(h.URL, ""), repl.ReplaceKnown(h.List, "")
	o.Header = make(http.Header, len(h.Headers))
	for name, values := range h.Headers {
		for _, value := range values {
			filled, err := repl.ReplaceOrErr(value, true, true)
			if err != nil {
				return o, fmt.Errorf("header %s: %w", name, err)
			}
			if err := checkHeader(name, filled); err != nil {
				return o, err
			}
			o.Header.Add(name, filled)
		}
	}
	o.Snapshot = SourceSnapshot(h.Snapshot, "http "+withoutUser(o.URL)+" "+withoutUser(o.List))
	return o, o.Check()
}

// checkHeader does not repeat the value, which may be a secret.
func checkHeader(name, value string) error {
	if !httpguts.ValidHeaderFieldName(name) {
		return fmt.Errorf("%q is no name of a header", name)
	}
	if !httpguts.ValidHeaderFieldValue(value) {
		return fmt.Errorf("header %s: the value has characters that a header cannot have", name)
	}
	return nil
}

// withoutUser leaves user and password out of a URL.
func withoutUser(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return address
	}
	u.User = nil
	return u.String()
}

var httpDirectoryOptions = directive.Options[HTTP]{Block: "firebreak directory http", Known: map[string]directive.Option[HTTP]{
	"list":           {Usage: "list http://lookup.internal/stores?after={after}", Min: 1, Max: 1, Set: func(h *HTTP, args []string) error { h.List = args[0]; return nil }},
	"list_every":     directive.Duration("list_every 5m", func(h *HTTP) *config.Duration { return &h.ListEvery }),
	"list_timeout":   directive.Duration("list_timeout 10s", func(h *HTTP) *config.Duration { return &h.ListTimeout }),
	"header":         {Usage: "header Authorization \"Bearer {env.LOOKUP_TOKEN}\"", Min: 2, Max: 2, Repeats: true, Set: addDirectoryHeader},
	"ttl":            directive.Duration("ttl 5m", func(h *HTTP) *config.Duration { return &h.TTL }),
	"negative_ttl":   directive.Duration("negative_ttl 30s", func(h *HTTP) *config.Duration { return &h.NegativeTTL }),
	"stale":          directive.Duration("stale 7d", func(h *HTTP) *config.Duration { return &h.Stale }),
	"timeout":        directive.Duration("timeout 500ms", func(h *HTTP) *config.Duration { return &h.Timeout }),
	"max_concurrent": directive.Count("max_concurrent 8", 1, func(h *HTTP) *int { return &h.MaxConcurrent }),
	"cache":          directive.Count("cache 100000", 1, func(h *HTTP) *int { return &h.Cache }),
	"zones":          {Usage: "zones z1 z2 z3", Min: 1, Max: -1, Set: func(h *HTTP, args []string) error { h.ZoneList = args; return nil }},
	"snapshot":       {Usage: "snapshot off", Min: 1, Max: 1, Set: func(h *HTTP, args []string) error { h.Snapshot = args[0]; return nil }},
}}

func addDirectoryHeader(h *HTTP, args []string) error {
	if err := checkHeader(args[0], args[1]); err != nil {
		return err
	}
	if h.Headers == nil {
		h.Headers = make(http.Header)
	}
	name := textproto.CanonicalMIMEHeaderKey(args[0])
	h.Headers[name] = append(h.Headers[name], args[1])
	return nil
}

// UnmarshalCaddyfile reads
//
//	directory http <url> {
//	    ttl | negative_ttl | stale | timeout | list_every | list_timeout <duration>
//	    max_concurrent | cache <number>
//	    list     <url>
//	    header   <name> <value>
//	    zones    <zone...>
//	    snapshot off|<path>
//	}
func (h *HTTP) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // http
	at := directive.Here(d)
	urls := d.RemainingArgs()
	if len(urls) != 1 {
		return at.Errf("firebreak directory http needs 1 URL, but has %d; write for example: directory http http://lookup.internal/stores/{key}", len(urls))
	}
	h.URL = urls[0]
	if err := httpDirectoryOptions.Parse(d, h); err != nil {
		return err
	}
	o := h.form()
	if err := checkForm(&o); err != nil {
		return at.WrapErr(fmt.Errorf("firebreak directory http: %w", err))
	}
	return nil
}

// checkForm checks options whose URLs may have placeholders in them, which are
// not known yet.
func checkForm(o *lookup.Options) error {
	if !strings.Contains(o.URL, "{key}") {
		return o.Check()
	}
	for _, address := range []*string{&o.URL, &o.List} {
		if strings.Contains(strings.NewReplacer("{key}", "", "{after}", "").Replace(*address), "{") {
			*address = "http://placeholder/{key}"
		}
	}
	return o.Check()
}

// Interface guards.
var (
	_ caddy.Provisioner     = (*HTTP)(nil)
	_ caddy.CleanerUpper    = (*HTTP)(nil)
	_ caddyfile.Unmarshaler = (*HTTP)(nil)
	_ Opener                = (*HTTP)(nil)
)
