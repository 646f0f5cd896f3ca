package postgres

import (
	"fmt"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/directories"
	"github.com/firebreak-proxy/firebreak/internal/directive"
	"github.com/firebreak-proxy/firebreak/routing"
	"github.com/firebreak-proxy/firebreak/routing/pgtable"
)

func init() {
	caddy.RegisterModule(Directory{})
}

// Directory reads where stores live from a table of PostgreSQL, or with
// a query: as a whole at the start, on an interval, and when the database says
// that it changed. A new table replaces the old one in one step; a broken one
// is refused whole and the old one stays. While the database is away, the last
// good table stays in force, after a restart too. No request waits for it.
type Directory struct {
	// The database, as a URL or as settings of libpq. Placeholders such as
	// {env.STORES_DSN} are filled in.
	DSN string `json:"dsn"`

	// A table with the columns store and zone, and keys (an array, or one text)
	// if stores are found by other names than their ids.
	Table string `json:"table,omitempty"`

	// A query that returns these columns, instead of a table.
	Query string `json:"query,omitempty"`

	// The channel on which the database tells of changes (NOTIFY).
	Notify string `json:"notify,omitempty"`

	// How often the table is read, beside being told to. Default: 1m.
	Refresh config.Duration `json:"refresh,omitempty"`

	// How long it may take to read the table. Default: 30s.
	Timeout config.Duration `json:"timeout,omitempty"`

	// A file for the last good table, or "off". Default: a file in Caddy's data
	// directory.
	Snapshot string `json:"snapshot,omitempty"`

	log    *zap.Logger
	held   string // settings of the shared source
	source *directories.SharedSource
}

// CaddyModule returns the Caddy module information.
func (Directory) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: directories.Namespace + ".postgres", New: func() caddy.Module { return new(Directory) }}
}

// Provision takes hold of what is known. It opens no connection.
func (p *Directory) Provision(ctx caddy.Context) error {
	p.log = ctx.Logger()
	options, err := p.options()
	if err != nil {
		return fmt.Errorf("directory postgres: %w", err)
	}
	held := fmt.Sprintf("postgres %q", []any{
		options.DSN, options.Table, options.Query, options.Notify, options.Refresh.String(), options.Timeout.String(), options.Snapshot,
	})
	p.source, err = directories.HoldSource(held, func(log func(routing.SourceEvent)) (routing.Source, error) {
		options.Log = log
		return pgtable.Open(options)
	})
	if err != nil {
		return fmt.Errorf("directory postgres: %w", err)
	}
	p.held = held
	return nil
}

// Cleanup gives the source back.
func (p *Directory) Cleanup() error {
	if p.held == "" {
		return nil
	}
	held := p.held
	p.held = ""
	return directories.ReleaseSource(held)
}

// OpenDirectory implements [DirectoryOpener].
func (p *Directory) OpenDirectory() directories.Directory { return p.source.AsDirectory(p.log) }

// form are the options as they are written, placeholders included.
func (p *Directory) form() pgtable.Options {
	return pgtable.Options{
		DSN: p.DSN, Table: p.Table, Query: p.Query, Notify: p.Notify,
		Refresh: time.Duration(p.Refresh), Timeout: time.Duration(p.Timeout),
	}
}

// options are the options with placeholders filled in.
func (p *Directory) options() (o pgtable.Options, err error) {
	o = p.form()
	if o.DSN, err = caddy.NewReplacer().ReplaceOrErr(p.DSN, true, true); err != nil {
		return o, err
	}
	if err := o.Check(); err != nil {
		return o, err
	}
	database, err := pgtable.Config(o.DSN)
	if err != nil {
		return o, err
	}
	o.Snapshot = directories.SourceSnapshot(p.Snapshot, fmt.Sprintf("postgres %q", []string{
		database.Host, fmt.Sprint(database.Port), database.Database, database.User, o.Table, o.Query,
	}))
	return o, nil
}

var postgresDirectoryOptions = directive.Options[Directory]{Block: "firebreak directory postgres", Known: map[string]directive.Option[Directory]{
	"table":    {Usage: "table stores", Min: 1, Max: 1, Set: func(p *Directory, args []string) error { p.Table = args[0]; return nil }},
	"query":    {Usage: `query "SELECT id AS store, zone, keys FROM stores"`, Min: 1, Max: 1, Set: func(p *Directory, args []string) error { p.Query = args[0]; return nil }},
	"notify":   {Usage: "notify stores_changed", Min: 1, Max: 1, Set: func(p *Directory, args []string) error { p.Notify = args[0]; return nil }},
	"refresh":  directive.Duration("refresh 1m", func(p *Directory) *config.Duration { return &p.Refresh }),
	"timeout":  directive.Duration("timeout 30s", func(p *Directory) *config.Duration { return &p.Timeout }),
	"snapshot": {Usage: "snapshot off", Min: 1, Max: 1, Set: func(p *Directory, args []string) error { p.Snapshot = args[0]; return nil }},
}}

// UnmarshalCaddyfile reads
//
//	directory postgres <dsn> {
//	    table    <name>
//	    query    <sql>
//	    notify   <channel>
//	    refresh  <duration>
//	    timeout  <duration>
//	    snapshot off|<path>
//	}
func (p *Directory) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // postgres
	at := directive.Here(d)
	addresses := d.RemainingArgs()
	if len(addresses) != 1 {
		return at.Errf("firebreak directory postgres needs 1 database, but has %d values; write for example: directory postgres postgres://firebreak@db/shop { table stores }, with quotes around settings like \"host=db user=firebreak\"", len(addresses))
	}
	p.DSN = addresses[0]
	if err := postgresDirectoryOptions.Parse(d, p); err != nil {
		return err
	}
	o := p.form()
	check := o.Check
	if strings.Contains(o.DSN, "{") {
		o.DSN = "host={placeholder}"
		check = o.CheckForm
	}
	if err := check(); err != nil {
		return at.WrapErr(fmt.Errorf("firebreak directory postgres: %w", err))
	}
	return nil
}

// Interface guards.
var (
	_ caddy.Provisioner     = (*Directory)(nil)
	_ caddy.CleanerUpper    = (*Directory)(nil)
	_ caddyfile.Unmarshaler = (*Directory)(nil)
	_ directories.Opener    = (*Directory)(nil)
)
