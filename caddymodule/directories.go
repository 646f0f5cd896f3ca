package caddymodule

import (
	"context"
	"fmt"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/firebreak-proxy/firebreak/internal/directive"
	"github.com/firebreak-proxy/firebreak/routing"
)

func init() {
	caddy.RegisterModule(InlineDirectory{})
	caddy.RegisterModule(FileDirectory{})
	caddy.RegisterModule(HashDirectory{})
	caddy.RegisterModule(HTTPDirectory{})
	caddy.RegisterModule(PostgresDirectory{})
}

const directoryNamespace = "firebreak.directories"

// Directory is what a module of the namespace firebreak.directories must be:
// it knows which store a key belongs to and in which zone that store lives.
//
// Lookup is called for every request: it must not block, and must be safe for
// concurrent use. A directory that may have to ask somebody implements
// [routing.Asker] too. Zones lists all zones there can be; firebreak needs their
// number to suspect itself when too many of them look sick.
//
// A directory that can list its stores implements [routing.Lister] too. A
// directory that changes while it runs implements [DirectoryWatcher]. To be
// usable in a Caddyfile it implements caddyfile.Unmarshaler; the dispenser
// stands before the name of the source ("directory NAME ...").
//
// Provision must not open or write anything exclusive: "caddy validate" may run
// beside a server that uses the same source.
type Directory interface {
	routing.Directory
}

// DirectoryWatcher is a directory that changes while it runs. Watch is called
// when the server starts and returns when ctx ends; it calls changed after each
// change.
type DirectoryWatcher interface {
	Directory
	Watch(ctx context.Context, changed func())
}

// DirectoryOpener is what a module of the namespace firebreak.directories can
// be instead of a [Directory]: it returns one. It is asked once, after it was
// provisioned.
type DirectoryOpener interface {
	OpenDirectory() Directory
}

// directorySources are the names of all registered sources, sorted.
func directorySources() []string {
	var names []string
	for _, module := range caddy.GetModules(directoryNamespace) {
		names = append(names, module.ID.Name())
	}
	slices.Sort(names)
	return names
}

// noDirectory is the directory of an app that has none: every key is unknown.
type noDirectory struct{}

func (noDirectory) Lookup(string) (routing.Route, bool) { return routing.Route{}, false }
func (noDirectory) Zones() []string                     { return nil }

// InlineDirectory lists stores by zone in the configuration itself. A store's
// id is its key.
type InlineDirectory struct {
	// The zones and their stores.
	ZoneList []routing.InlineZone `json:"zones"`

	routing.Lister `json:"-"`
}

// CaddyModule returns the Caddy module information.
func (InlineDirectory) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: directoryNamespace + ".inline", New: func() caddy.Module { return new(InlineDirectory) }}
}

// Provision builds the table.
func (i *InlineDirectory) Provision(caddy.Context) error {
	table, err := routing.NewInline(i.ZoneList)
	if err != nil {
		return fmt.Errorf("directory inline: %w", err)
	}
	i.Lister = table
	return nil
}

var inlineOptions = directive.Options[InlineDirectory]{Block: "firebreak directory inline", Known: map[string]directive.Option[InlineDirectory]{
	"zone": {Block: parseInlineZone, Repeats: true},
}}

var inlineZoneOptions = directive.Options[routing.InlineZone]{Block: "firebreak directory inline zone", Known: map[string]directive.Option[routing.InlineZone]{
	"stores": {Usage: "stores shop1 shop2", Min: 1, Max: -1, Repeats: true, Set: func(z *routing.InlineZone, args []string) error {
		z.Stores = append(z.Stores, args...)
		return nil
	}},
}}

// UnmarshalCaddyfile reads
//
//	directory inline {
//	    zone <name> {
//	        stores <id...>
//	    }
//	}
func (i *InlineDirectory) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // inline
	at := directive.Here(d)
	if d.NextArg() {
		return d.Errf("firebreak directory inline takes a block and no value, but has '%s'", d.Val())
	}
	if err := inlineOptions.Parse(d, i); err != nil {
		return err
	}
	if _, err := routing.NewInline(i.ZoneList); err != nil {
		return at.WrapErr(fmt.Errorf("firebreak directory inline: %w", err))
	}
	return nil
}

func parseInlineZone(d *caddyfile.Dispenser, i *InlineDirectory) error {
	at := directive.Here(d)
	names := d.RemainingArgs()
	if len(names) != 1 {
		return at.Errf("firebreak directory inline: 'zone' needs one name, but has %d; write for example: zone z7 { stores shop1 shop2 }", len(names))
	}
	zone := routing.InlineZone{Name: names[0]}
	if err := routing.CheckZoneName(zone.Name); err != nil {
		return at.WrapErr(fmt.Errorf("firebreak directory inline: %w", err))
	}
	if slices.ContainsFunc(i.ZoneList, func(z routing.InlineZone) bool { return z.Name == zone.Name }) {
		return at.Errf("firebreak directory inline: zone '%s' specified twice", zone.Name)
	}
	if err := inlineZoneOptions.Parse(d, &zone); err != nil {
		return err
	}
	i.ZoneList = append(i.ZoneList, zone)
	return nil
}

// HashDirectory computes the zone of a store from its id (jump hash over the
// list of zones). A store's id is its key; every key is known.
type HashDirectory struct {
	// The zones. Their order matters: add new ones at the end, and only the
	// stores that go to the new zone move.
	ZoneList []string `json:"zones"`

	routing.Directory `json:"-"`
}

// CaddyModule returns the Caddy module information.
func (HashDirectory) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: directoryNamespace + ".hash", New: func() caddy.Module { return new(HashDirectory) }}
}

// Provision checks the list.
func (h *HashDirectory) Provision(caddy.Context) error {
	hash, err := routing.NewHash(h.ZoneList)
	if err != nil {
		return fmt.Errorf("directory hash: %w", err)
	}
	h.Directory = hash
	return nil
}

// UnmarshalCaddyfile reads
//
//	directory hash <zone...>
func (h *HashDirectory) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // hash
	at := directive.Here(d)
	h.ZoneList = d.RemainingArgs()
	if len(h.ZoneList) == 0 {
		return at.Err("firebreak directory hash needs zones; write for example: directory hash z1 z2 z3")
	}
	if _, err := routing.NewHash(h.ZoneList); err != nil {
		return at.WrapErr(fmt.Errorf("firebreak directory hash: %w", err))
	}
	return directive.NoBlock(d, "firebreak directory hash")
}
