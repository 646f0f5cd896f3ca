package pgtable

import (
	"context"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/firebreak-proxy/firebreak/routing"
	"github.com/firebreak-proxy/firebreak/routing/sqltable"
)

// Directory is read from PostgreSQL.
type Directory struct {
	*sqltable.Directory
	opts   Options
	config *pgconn.Config
}

// Open makes a directory. It reads the snapshot, if there is one; it connects
// to nobody yet.
func Open(o Options) (*Directory, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	o = o.withDefaults()
	config, err := o.config()
	if err != nil {
		return nil, err
	}
	d := &Directory{opts: o, config: config}
	d.Directory = sqltable.Open(sqltable.Options{
		Refresh: o.Refresh, Timeout: o.Timeout, Snapshot: o.Snapshot, Log: o.Log,
		Session: func(ctx context.Context, _ *sqltable.Directory) error { return d.session(ctx) },
	})
	return d, nil
}

// Interface guards.
var (
	_ routing.Source = (*Directory)(nil)
	_ routing.Lister = (*Directory)(nil)
)
