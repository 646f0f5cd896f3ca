package mysql

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/directories"
	"github.com/firebreak-proxy/firebreak/internal/directive"
	"github.com/firebreak-proxy/firebreak/routing"
	"github.com/firebreak-proxy/firebreak/routing/sqltable"
)

func init() {
	caddy.RegisterModule(Directory{})
}

// Directory reads where stores live from a table of MySQL or MariaDB, or with a
// query: as a whole at the start, on an interval, and when the highest value in a
// column or the number of rows has changed. A new table replaces the old one in one
// step; a broken one is refused whole and the old one stays. While the database is
// away, the last good table stays in force, after a restart too. No request waits
// for it.
type Directory struct {
	// The database, as a URL or as Go's driver takes it. Placeholders such as
	// {env.STORES_DSN} are filled in.
	DSN string `json:"dsn"`

	// A table with the columns store and zone, and keys (an array in JSON, or one
	// text) if stores are found by other names than their ids.
	Table string `json:"table,omitempty"`

	// A query that returns these columns, instead of a table.
	Query string `json:"query,omitempty"`

	// A column of the table or the query that only rises when a row is changed, like
	// a time of the latest change.
	Version string `json:"version,omitempty"`

	// How often the version is looked at. Default: 1s.
	Poll config.Duration `json:"poll,omitempty"`

	// How often the table is read, whatever its version. Default: 1m.
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
	return caddy.ModuleInfo{ID: directories.Namespace + ".mysql", New: func() caddy.Module { return new(Directory) }}
}

// Provision takes hold of what is known. It opens no connection.
func (p *Directory) Provision(ctx caddy.Context) error {
	p.log = ctx.Logger()
	dsn, err := caddy.NewReplacer().ReplaceOrErr(p.DSN, true, true)
	if err != nil {
		return fmt.Errorf("directory mysql: %w", err)
	}
	if err := p.check(dsn); err != nil {
		return fmt.Errorf("directory mysql: %w", err)
	}
	t, err := p.table(dsn)
	if err != nil {
		return fmt.Errorf("directory mysql: %w", err)
	}
	snapshot := directories.SourceSnapshot(p.Snapshot, fmt.Sprintf("mysql %q", []string{t.config.Addr, t.config.DBName, t.config.User, t.name, t.query}))
	held := fmt.Sprintf("mysql %q", []any{dsn, t.name, t.query, t.version, t.poll.String(), t.refresh.String(), t.timeout.String(), snapshot})
	p.source, err = directories.HoldSource(held, func(log func(routing.SourceEvent)) (routing.Source, error) {
		return sqltable.Open(sqltable.Options{Refresh: t.refresh, Timeout: t.timeout, Snapshot: snapshot, Log: log, Session: t.session}), nil
	})
	if err != nil {
		return fmt.Errorf("directory mysql: %w", err)
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

// OpenDirectory implements [directories.Opener].
func (p *Directory) OpenDirectory() directories.Directory { return p.source.AsDirectory(p.log) }

var (
	tableName  = regexp.MustCompile(`^[\pL_][\pL\pN_$]*(\.[\pL_][\pL\pN_$]*)?$`)
	columnName = regexp.MustCompile(`^[\pL_][\pL\pN_$]*$`)
)

// shortest is how often the database may be asked.
const shortest = config.Duration(100 * time.Millisecond)

// check says what is wrong with the options. Errors hold no password.
func (p *Directory) check(dsn string) error {
	isURL := strings.HasPrefix(dsn, "mysql://") || strings.HasPrefix(dsn, "mariadb://")
	switch {
	case !isURL && (strings.Contains(dsn, "://") || !strings.Contains(dsn, "/")):
		return errors.New("write a URL like mysql://firebreak@db/shop or an address like firebreak@unix(/run/mysqld/mysqld.sock)/shop")
	case p.Table == "" && p.Query == "":
		return errors.New("nothing to read: name a table with the columns store, zone and keys, or a query")
	case p.Table != "" && p.Query != "":
		return errors.New("either table or query, not both")
	case p.Table != "" && !tableName.MatchString(p.Table):
		return fmt.Errorf("%q is no name of a table; write for example: shop.stores, or use query", p.Table)
	case p.Version != "" && !columnName.MatchString(p.Version):
		return fmt.Errorf("%q is no name of a column; write for example: version updated_at", p.Version)
	case p.Version == "" && p.Poll != 0:
		return errors.New("poll needs a version, the column that is looked at; write for example: version updated_at")
	case p.Refresh < 0 || p.Timeout < 0 || p.Poll < 0:
		return errors.New("poll, refresh and timeout must not be negative")
	case p.Refresh != 0 && p.Refresh < shortest || p.Poll != 0 && p.Poll < shortest:
		return fmt.Errorf("poll and refresh must be at least %s", shortest)
	}
	return nil
}

// table is what is read, and when.
func (p *Directory) table(dsn string) (*table, error) {
	c, err := Config(dsn)
	if err != nil {
		return nil, err
	}
	t := &table{
		config: c, name: p.Table, query: p.Query,
		poll: time.Duration(cmp.Or(p.Poll, config.Duration(time.Second))), refresh: cmp.Or(time.Duration(p.Refresh), sqltable.DefaultRefresh),
		timeout: cmp.Or(time.Duration(p.Timeout), sqltable.DefaultTimeout),
	}
	from := p.Table
	if from == "" {
		from = "(" + p.Query + ") AS q"
	}
	if p.Version != "" {
		t.version = fmt.Sprintf("SELECT MAX(%s), COUNT(*) FROM %s", p.Version, from)
	}
	return t, nil
}

var mysqlDirectoryOptions = directive.Options[Directory]{Block: "firebreak directory mysql", Known: map[string]directive.Option[Directory]{
	"table":    {Usage: "table stores", Min: 1, Max: 1, Set: func(p *Directory, args []string) error { p.Table = args[0]; return nil }},
	"query":    {Usage: `query "SELECT id AS store, zone, updated_at FROM stores"`, Min: 1, Max: 1, Set: func(p *Directory, args []string) error { p.Query = args[0]; return nil }},
	"version":  {Usage: "version updated_at", Min: 1, Max: 1, Set: func(p *Directory, args []string) error { p.Version = args[0]; return nil }},
	"poll":     directive.Duration("poll 1s", func(p *Directory) *config.Duration { return &p.Poll }),
	"refresh":  directive.Duration("refresh 1m", func(p *Directory) *config.Duration { return &p.Refresh }),
	"timeout":  directive.Duration("timeout 30s", func(p *Directory) *config.Duration { return &p.Timeout }),
	"snapshot": {Usage: "snapshot off", Min: 1, Max: 1, Set: func(p *Directory, args []string) error { p.Snapshot = args[0]; return nil }},
}}

// UnmarshalCaddyfile reads
//
//	directory mysql <dsn> {
//	    table    <name>
//	    query    <sql>
//	    version  <column>
//	    poll     <duration>
//	    refresh  <duration>
//	    timeout  <duration>
//	    snapshot off|<path>
//	}
func (p *Directory) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // mysql
	at := directive.Here(d)
	addresses := d.RemainingArgs()
	if len(addresses) != 1 {
		return at.Errf("firebreak directory mysql needs 1 database, but has %d values; write for example: directory mysql mysql://firebreak@db/shop { table stores }", len(addresses))
	}
	p.DSN = addresses[0]
	if err := mysqlDirectoryOptions.Parse(d, p); err != nil {
		return err
	}
	dsn := p.DSN
	if strings.Contains(dsn, "{") {
		dsn = "placeholder/"
	} else if _, err := Config(dsn); err != nil {
		return at.WrapErr(fmt.Errorf("firebreak directory mysql: %w", err))
	}
	if err := p.check(dsn); err != nil {
		return at.WrapErr(fmt.Errorf("firebreak directory mysql: %w", err))
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
