package directories

import (
	"fmt"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/firebreak-proxy/firebreak/internal/directive"
	"github.com/firebreak-proxy/firebreak/routing"
)

// Inline lists stores by zone in the configuration itself. A store's
// id is its key.
type Inline struct {
	// The zones and their stores.
	ZoneList []routing.InlineZone `json:"zones"`

	routing.Lister `json:"-"`
}

// CaddyModule returns the Caddy module information.
func (Inline) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: Namespace + ".inline", New: func() caddy.Module { return new(Inline) }}
}

// Provision builds the table.
func (i *Inline) Provision(caddy.Context) error {
	table, err := routing.NewInline(i.ZoneList)
	if err != nil {
		return fmt.Errorf("directory inline: %w", err)
	}
	i.Lister = table
	return nil
}

var inlineOptions = directive.Options[Inline]{Block: "firebreak directory inline", Known: map[string]directive.Option[Inline]{
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
func (i *Inline) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
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

func parseInlineZone(d *caddyfile.Dispenser, i *Inline) error {
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

// Interface guards.
var (
	_ caddy.Provisioner     = (*Inline)(nil)
	_ caddyfile.Unmarshaler = (*Inline)(nil)
)
