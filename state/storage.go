package state

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/caddyserver/certmagic"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/internal/directive"
	"github.com/firebreak-proxy/firebreak/maintenance"
)

func init() {
	caddy.RegisterModule(Storage{})
}

// Storage keeps the switches in Caddy's storage: files on this machine by
// default; with one of Caddy's storage plugins, a place that a fleet shares.
type Storage struct {
	// The folder within the storage. Default: firebreak.
	Prefix string `json:"prefix,omitempty"`

	// How often the storage is asked for changes that other sidecars made.
	// Default: 1s.
	Sync config.Duration `json:"sync,omitempty"`

	// How long a call to the storage may take. Default: 2s.
	Timeout config.Duration `json:"timeout,omitempty"`

	// A storage of its own. Default: the one Caddy is configured with.
	StorageRaw json.RawMessage `json:"storage,omitempty" caddy:"namespace=caddy.storage inline_key=module"`

	storage certmagic.Storage
}

// CaddyModule returns the Caddy module information.
func (Storage) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  Namespace + ".storage",
		New: func() caddy.Module { return new(Storage) },
	}
}

// Provision finds the storage.
func (s *Storage) Provision(ctx caddy.Context) error {
	s.storage = ctx.Storage()
	if s.StorageRaw == nil {
		return nil
	}
	module, err := ctx.LoadModule(s, "StorageRaw")
	if err != nil {
		return fmt.Errorf("loading the storage: %w", err)
	}
	converter, ok := module.(caddy.StorageConverter)
	if !ok {
		return fmt.Errorf("%T is no storage", module)
	}
	s.storage, err = converter.CertMagicStorage()
	return err
}

// Validate checks the times.
func (s *Storage) Validate() error { return CheckTimes(s.Sync, s.Timeout) }

// CheckTimes checks how often a state backend is asked, and how long an answer may
// take.
func CheckTimes(sync, timeout config.Duration) error {
	if sync < 0 || timeout < 0 {
		return fmt.Errorf("sync and timeout must not be negative")
	}
	if sync != 0 && sync < config.Duration(10*time.Millisecond) {
		return fmt.Errorf("sync %s is too often: at least 10ms", sync)
	}
	return nil
}

// OpenState returns the backend.
func (s *Storage) OpenState() (*State, error) {
	prefix := s.Prefix
	if prefix == "" {
		prefix = "firebreak"
	}
	identity := fmt.Sprintf("storage %v %s %s", s.storage, s.StorageRaw, prefix)
	return &State{
		Backend:  maintenance.NewStorage(s.storage, prefix),
		Identity: identity, Sync: time.Duration(s.Sync), Timeout: time.Duration(s.Timeout),
	}, nil
}

var storageStateOptions = directive.Options[Storage]{Block: "firebreak state storage", Known: map[string]directive.Option[Storage]{
	"prefix":  {Usage: "prefix firebreak", Min: 1, Max: 1, Set: func(s *Storage, args []string) error { s.Prefix = args[0]; return nil }},
	"sync":    directive.Duration("sync 1s", func(s *Storage) *config.Duration { return &s.Sync }),
	"timeout": directive.Duration("timeout 2s", func(s *Storage) *config.Duration { return &s.Timeout }),
}}

// UnmarshalCaddyfile reads
//
//	state storage {
//	    prefix  <folder>
//	    sync    <duration>
//	    timeout <duration>
//	}
func (s *Storage) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the backend's name
	if d.NextArg() {
		return d.Errf("firebreak state 'storage' takes no value, but has '%s': it is Caddy's own storage, see the global option storage", d.Val())
	}
	return storageStateOptions.Parse(d, s)
}

// Interface guards.
var (
	_ caddy.Provisioner     = (*Storage)(nil)
	_ caddy.Validator       = (*Storage)(nil)
	_ caddyfile.Unmarshaler = (*Storage)(nil)
	_ Module                = (*Storage)(nil)
)
