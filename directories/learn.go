package directories

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/textproto"
	"slices"
	"sync"

	"go.uber.org/zap"
	"golang.org/x/net/http/httpguts"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/firebreak-proxy/firebreak/internal/directive"
	"github.com/firebreak-proxy/firebreak/routing"
	"github.com/firebreak-proxy/firebreak/routing/learned"
)

// Learn is taught by the API server: each response says in a header which zone
// served it. The header is removed before the client gets the response.
//
//	X-Firebreak-Zone: z7
//	X-Firebreak-Store: s0601
//
// The first response for a key teaches where its store lives, the next one corrects
// it after a move. Until then the fallback answers, or the key is unknown. A request
// header of the same name is removed and teaches nothing.
type Learn struct {
	// The response header that has the zone.
	Header string `json:"header"`

	// The response header that has the store. Without it, or where a response lacks
	// it, the key is the store.
	StoreHeader string `json:"store_header,omitempty"`

	// The directory for keys of which no response has been seen.
	FallbackRaw json.RawMessage `json:"fallback,omitempty" caddy:"namespace=firebreak.directories inline_key=source"`

	// How many stores and keys are kept; those without a response for the longest
	// time make room. Default: 100000.
	Cache int `json:"cache,omitempty"`

	// A file for what was learned, so that it outlives a restart, or "off".
	// Default: a file in Caddy's data directory.
	Snapshot string `json:"snapshot,omitempty"`

	log      *zap.Logger
	held     string // settings of the shared source
	source   *SharedSource
	fallback Directory // nil: none
}

// CaddyModule returns the Caddy module information.
func (Learn) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: Namespace + ".learn", New: func() caddy.Module { return new(Learn) }}
}

// Provision takes hold of what was learned.
func (l *Learn) Provision(ctx caddy.Context) error {
	l.log = ctx.Logger()
	if err := l.check(); err != nil {
		return fmt.Errorf("directory learn: %w", err)
	}
	if l.FallbackRaw != nil {
		module, err := ctx.LoadModule(l, "FallbackRaw")
		if err != nil {
			return fmt.Errorf("directory learn: loading the fallback: %w", err)
		}
		if l.fallback, err = OfModule(module); err != nil {
			return fmt.Errorf("directory learn: the fallback: %w", err)
		}
		if _, nested := l.fallback.(Taught); nested {
			return fmt.Errorf("directory learn: the fallback is a directory learn itself")
		}
	}
	options := learned.Options{Cache: l.Cache, Snapshot: SourceSnapshot(l.Snapshot, "learn "+l.Header+" "+l.StoreHeader)}
	settings, err := json.Marshal(options)
	if err != nil {
		return err
	}
	held := "learn " + string(settings)
	l.source, err = HoldSource(held, func(log func(routing.SourceEvent)) (routing.Source, error) {
		options.Log = log
		return learned.Open(options)
	})
	if err != nil {
		return fmt.Errorf("directory learn: %w", err)
	}
	l.held = held
	return nil
}

// Cleanup gives the source back.
func (l *Learn) Cleanup() error {
	if l.held == "" {
		return nil
	}
	held := l.held
	l.held = ""
	return ReleaseSource(held)
}

// OpenDirectory implements [Opener].
func (l *Learn) OpenDirectory() Directory {
	return taught{
		Directory: l.source.Source.(*learned.Directory), watcher: sourceDirectory{l.source, l.log}, fallback: l.fallback,
		zoneHeader: textproto.CanonicalMIMEHeaderKey(l.Header), storeHeader: textproto.CanonicalMIMEHeaderKey(l.StoreHeader),
	}
}

func (l *Learn) check() error {
	if l.Header == "" || !httpguts.ValidHeaderFieldName(l.Header) {
		return fmt.Errorf("%q is no name of a header", l.Header)
	}
	if l.StoreHeader != "" && !httpguts.ValidHeaderFieldName(l.StoreHeader) {
		return fmt.Errorf("%q is no name of a header", l.StoreHeader)
	}
	if textproto.CanonicalMIMEHeaderKey(l.Header) == textproto.CanonicalMIMEHeaderKey(l.StoreHeader) {
		return fmt.Errorf("the zone and the store are in the same header, %s", l.Header)
	}
	return nil
}

var learnOptions = directive.Options[Learn]{Block: "firebreak directory learn", Known: map[string]directive.Option[Learn]{
	"fallback": {Block: parseFallback},
	"cache":    directive.Count("cache 100000", 1, func(l *Learn) *int { return &l.Cache }),
	"snapshot": {Usage: "snapshot off", Min: 1, Max: 1, Set: func(l *Learn, args []string) error { l.Snapshot = args[0]; return nil }},
}}

// UnmarshalCaddyfile reads
//
//	directory learn header <zone-header> [<store-header>] {
//	    fallback <source> ...
//	    cache    <number>
//	    snapshot off|<path>
//	}
func (l *Learn) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // learn
	at := directive.Here(d)
	args := d.RemainingArgs()
	if len(args) < 2 || len(args) > 3 || args[0] != "header" {
		return at.Err("firebreak directory learn needs the response header that has the zone; write for example: directory learn header X-Firebreak-Zone X-Firebreak-Store")
	}
	l.Header = args[1]
	if len(args) == 3 {
		l.StoreHeader = args[2]
	}
	if err := l.check(); err != nil {
		return at.WrapErr(fmt.Errorf("firebreak directory learn: %w", err))
	}
	return learnOptions.Parse(d, l)
}

func parseFallback(d *caddyfile.Dispenser, l *Learn) error {
	at := directive.Here(d)
	if !d.NextArg() {
		return at.Err("firebreak directory learn: 'fallback' needs a source; write for example: fallback file stores.csv")
	}
	name := d.Val()
	if name == "learn" {
		return at.Err("firebreak directory learn: the fallback cannot be a directory learn itself")
	}
	id := Namespace + "." + name
	if _, err := caddy.GetModule(id); err != nil {
		return at.Err(directive.Unrecognized("firebreak directory learn: fallback", name, slices.DeleteFunc(Names(), func(n string) bool { return n == "learn" })))
	}
	module, err := caddyfile.UnmarshalModule(d, id)
	if err != nil {
		return err
	}
	l.FallbackRaw = caddyconfig.JSONModuleObject(module, "source", name, nil)
	return nil
}

// Taught is a directory that learns from responses.
type Taught interface {
	// Learn takes the headers of a response to a request with this key. It removes
	// those that are for firebreak.
	Learn(key string, response http.Header)

	// Forget removes from a request what only responses may say.
	Forget(request http.Header)

	// Alone reports whether no other directory knows keys that were never answered.
	Alone() bool
}

// taught is what was learned, with the directory behind it.
type taught struct {
	*learned.Directory
	watcher                 Watcher
	fallback                Directory // nil: none
	zoneHeader, storeHeader string    // canonical; storeHeader may be empty
}

// Learn implements [Taught].
func (t taught) Learn(key string, response http.Header) {
	zone, store := response[t.zoneHeader], response[t.storeHeader]
	if len(zone) == 0 && len(store) == 0 {
		return
	}
	t.Forget(response)
	// Two values are one too many: a header of a proxy in between, perhaps.
	if key == "" || len(zone) != 1 || len(store) > 1 {
		return
	}
	_ = t.Directory.Learn(key, slices.Concat(store, []string{""})[0], zone[0]) // the log has what is wrong
}

// Forget implements [Taught].
func (t taught) Forget(header http.Header) {
	delete(header, t.zoneHeader)
	delete(header, t.storeHeader)
}

// Alone implements [Taught].
func (t taught) Alone() bool { return t.fallback == nil }

// Lookup implements [routing.Directory].
func (t taught) Lookup(key string) (routing.Route, bool) {
	if route, ok := t.Directory.Lookup(key); ok || t.fallback == nil {
		return route, ok
	}
	return t.fallback.Lookup(key)
}

// Ask implements [routing.Asker].
func (t taught) Ask(ctx context.Context, key string) (routing.Route, bool) {
	if route, ok := t.Directory.Lookup(key); ok || t.fallback == nil {
		return route, ok
	}
	return routing.Locate(ctx, t.fallback, key)
}

// Zones implements [routing.Directory].
func (t taught) Zones() []string {
	zones := t.Directory.Zones()
	if t.fallback != nil {
		zones = append(zones, t.fallback.Zones()...)
		slices.Sort(zones)
		zones = slices.Compact(zones)
	}
	return zones
}

// EachStore implements [routing.Lister]. A fallback that cannot list its stores adds
// none.
func (t taught) EachStore(zone string, yield func(store string) bool) {
	stopped := false
	once := func(store string) bool {
		stopped = !yield(store)
		return !stopped
	}
	t.Directory.EachStore(zone, once)
	lister, ok := t.fallback.(routing.Lister)
	if !ok || stopped {
		return
	}
	lister.EachStore(zone, func(store string) bool {
		if _, ok := t.Directory.Lookup(store); ok {
			return true // listed, or moved to another zone
		}
		return once(store)
	})
}

// Len implements [routing.Lister].
func (t taught) Len() (n int) {
	lister, ok := t.fallback.(routing.Lister)
	if !ok {
		return t.Directory.Len()
	}
	n = lister.Len()
	t.Directory.EachStore("", func(store string) bool {
		if _, ok := lister.Lookup(store); !ok {
			n++
		}
		return true
	})
	return n
}

// Watch implements [Watcher].
func (t taught) Watch(ctx context.Context, changed func()) {
	var both sync.WaitGroup
	both.Go(func() { t.watcher.Watch(ctx, changed) })
	if watcher, ok := t.fallback.(Watcher); ok {
		both.Go(func() { watcher.Watch(ctx, changed) })
	}
	both.Wait()
}

// Interface guards.
var (
	_ caddy.Provisioner     = (*Learn)(nil)
	_ caddy.CleanerUpper    = (*Learn)(nil)
	_ caddyfile.Unmarshaler = (*Learn)(nil)
	_ Opener                = (*Learn)(nil)
	_ Taught                = taught{}
	_ Watcher               = taught{}
	_ routing.Asker         = taught{}
	_ routing.Lister        = taught{}
)
