package pgtable

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/firebreak-proxy/firebreak/routing"
	"github.com/firebreak-proxy/firebreak/routing/sqltable"
)

// Options say what is read, and when. Zero values stand for the defaults.
type Options struct {
	// DSN is a URL or a list of settings, as libpq takes it. What it leaves out
	// comes from libpq's environment variables and files.
	DSN string

	// Table has the columns store and zone, and may have keys. Others are not
	// read.
	Table string

	// Query, instead of Table, returns these columns.
	Query string

	// Notify is the channel on which the database tells of changes.
	// Default: none.
	Notify string

	// Refresh is how often the table is read, beside being told to.
	// Default: 1m.
	Refresh time.Duration

	// Timeout is how long it may take to read the table. Default: 30s.
	Timeout time.Duration

	// Snapshot is a file for the last good table, so that it outlives a
	// restart. Default: none.
	Snapshot string

	// Log is told what happens, on the goroutine of Run or Open. Default: none.
	Log func(routing.SourceEvent)
}

const minRefresh = 100 * time.Millisecond

var (
	tableName   = regexp.MustCompile(`^[\pL_][\pL\pN_$]*(\.[\pL_][\pL\pN_$]*){0,2}$`)
	channelName = regexp.MustCompile(`^[\pL_][\pL\pN_$]{0,62}$`)
)

// Check reports what is wrong with the options. It reads the environment and
// files that libpq would, and opens no connection. Errors hold no password.
func (o *Options) Check() error {
	if err := o.CheckForm(); err != nil {
		return err
	}
	_, err := o.config()
	return err
}

// CheckForm is Check without a look at the DSN's settings.
func (o *Options) CheckForm() error {
	isURL := strings.HasPrefix(o.DSN, "postgres://") || strings.HasPrefix(o.DSN, "postgresql://")
	switch {
	case o.DSN == "":
		return errors.New("no database; write for example: postgres://firebreak@db/shop")
	case !isURL && !strings.Contains(o.DSN, "="):
		return errors.New(`write a URL like postgres://firebreak@db/shop or settings like "host=db user=firebreak dbname=shop"`)
	case o.Table == "" && o.Query == "":
		return errors.New("nothing to read: name a table with the columns store, zone and keys, or a query")
	case o.Table != "" && o.Query != "":
		return errors.New("either table or query, not both")
	case o.Table != "" && !tableName.MatchString(o.Table):
		return fmt.Errorf("%q is no name of a table; write for example: shop.stores, or use query", o.Table)
	case o.Notify != "" && !channelName.MatchString(o.Notify):
		return fmt.Errorf("%q is no name of a channel: letters, digits and _, at most 63 bytes", o.Notify)
	case o.Refresh < 0 || o.Timeout < 0:
		return errors.New("refresh and timeout must not be negative")
	case o.Refresh != 0 && o.Refresh < minRefresh:
		return fmt.Errorf("refresh %s is too often: at least %s", o.Refresh, minRefresh)
	}
	return nil
}

func (o *Options) config() (*pgconn.Config, error) {
	config, err := Config(o.DSN)
	if err != nil {
		return nil, err
	}
	if config.RuntimeParams["application_name"] == "" {
		config.RuntimeParams["application_name"] = "firebreak"
	}
	return config, nil
}

// libpqOnly are settings of libpq that its server does not know. The driver
// does not know them either, and would send them on.
var libpqOnly = []string{
	"gssencmode", "gsslib", "gssdelegation", "keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count",
	"tcp_user_timeout", "sslcompression", "sslcrl", "sslcrldir", "load_balance_hosts",
}

// Config reads a DSN as libpq would. Errors hold no password.
func Config(dsn string) (*pgconn.Config, error) {
	config, err := pgconn.ParseConfig(dsn)
	if err != nil {
		var outer *pgconn.ParseConfigError
		if errors.As(err, &outer) && outer.Unwrap() != nil {
			err = outer.Unwrap() // without the address, which may hold a password
		}
		return nil, fmt.Errorf("the database's address: %w", err)
	}
	for _, name := range libpqOnly {
		delete(config.RuntimeParams, name)
	}
	return config, nil
}

func (o Options) withDefaults() Options {
	if o.Refresh == 0 {
		o.Refresh = sqltable.DefaultRefresh
	}
	if o.Timeout == 0 {
		o.Timeout = sqltable.DefaultTimeout
	}
	if o.Log == nil {
		o.Log = func(routing.SourceEvent) {}
	}
	return o
}
