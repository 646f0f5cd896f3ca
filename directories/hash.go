package directories

import (
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/firebreak-proxy/firebreak/internal/directive"
	"github.com/firebreak-proxy/firebreak/routing"
)

// Hash computes the zone of a store from its id (jump hash over the
// list of zones). A store's id is its key; every key is known.
type Hash struct {
	// The zones. Their order matters: add new ones at the end, and only the
	// stores that go to the new zone move.
	ZoneList []string `json:"zones"`

	routing.Directory `json:"-"`
}

// CaddyModule returns the Caddy module information.
func (Hash) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: Namespace + ".hash", New: func() caddy.Module { return new(Hash) }}
}

// Provision checks the list.
func (h *Hash) Provision(caddy.Context) error {
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
func (h *Hash) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
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

// Interface guards.
var (
	_ caddy.Provisioner     = (*Hash)(nil)
	_ caddyfile.Unmarshaler = (*Hash)(nil)
)
