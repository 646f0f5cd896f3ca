package directories

import (
	"context"
	"errors"
	"fmt"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/firebreak-proxy/firebreak/internal/directive"
	"github.com/firebreak-proxy/firebreak/routing"
	"github.com/firebreak-proxy/firebreak/telemetry"
)

// File reads where stores live from a CSV or NDJSON file, and again
// whenever the file changes. A new version replaces the old one in one step; a
// broken one is refused whole, logged with the lines that are wrong, and the
// old table stays.
type File struct {
	// Path of the file, relative to the working directory. CSV starts with the
	// header row "store,zone", which may go on with key columns; NDJSON has an
	// object {"store":"s1","zone":"z1","keys":["k1"]} per line. A store is
	// found by its id and by each of its keys.
	Path string `json:"path"`

	*routing.File `json:"-"`

	log     *zap.Logger
	changed func() // set while Watch runs
}

// CaddyModule returns the Caddy module information.
func (File) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: Namespace + ".file", New: func() caddy.Module { return new(File) }}
}

// Provision loads the file.
func (f *File) Provision(ctx caddy.Context) error {
	f.log = ctx.Logger()
	if f.Path == "" {
		return errors.New("directory file: no path; write for example: directory file stores.csv")
	}
	file, err := routing.OpenFile(routing.FileOptions{Path: f.Path, Log: f.report})
	if err != nil {
		return fmt.Errorf("directory file: %w", err)
	}
	f.File = file
	return nil
}

// Watch reloads the file when it changes.
func (f *File) Watch(ctx context.Context, changed func()) {
	f.changed = changed
	f.File.Watch(ctx)
}

func (f *File) report(e routing.FileEvent) {
	fields := []zap.Field{
		zap.String("path", e.Path), zap.Int("stores", e.Stores), zap.Int("keys", e.Keys),
		zap.Int("zones", e.Zones), zap.Duration("took", e.Duration),
	}
	telemetry.Shared().NoteDirectory(e.Err)
	if e.Err != nil {
		f.log.Error(telemetry.LogDirectoryRefused, append(fields, zap.Error(e.Err))...)
		return
	}
	f.log.Info(telemetry.LogDirectoryReloaded, fields...)
	if f.changed != nil {
		f.changed()
	}
}

// UnmarshalCaddyfile reads
//
//	directory file <path>
func (f *File) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // file
	at := directive.Here(d)
	paths := d.RemainingArgs()
	if len(paths) != 1 || paths[0] == "" {
		return at.Errf("firebreak directory file needs 1 path, but has %d; write for example: directory file stores.csv", len(paths))
	}
	f.Path = paths[0]
	return directive.NoBlock(d, "firebreak directory file")
}

// Interface guards.
var (
	_ caddy.Provisioner     = (*File)(nil)
	_ caddyfile.Unmarshaler = (*File)(nil)
	_ Watcher               = (*File)(nil)
)
