package pgtable

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/firebreak-proxy/firebreak/routing"
	"github.com/firebreak-proxy/firebreak/routing/sqltable"
)

// read reads all stores. Whatever the types of the columns are, they come as
// text.
func (s *session) read(ctx context.Context) (*routing.Table, error) {
	ctx, cancel := context.WithTimeout(ctx, s.d.opts.Timeout)
	defer cancel()
	query, err := s.query(ctx)
	if err != nil {
		return nil, err
	}
	rows := s.conn.ExecParams(ctx, query, nil, nil, nil, nil)
	table, wrong := s.table(rows)
	if _, err := rows.Close(); err != nil {
		return nil, err
	}
	return table, wrong
}

// query is what to ask. Of a table only the columns that are wanted are read.
func (s *session) query(ctx context.Context) (string, error) {
	if s.d.opts.Query != "" {
		return s.d.opts.Query, nil
	}
	about, err := s.conn.Prepare(ctx, "", "SELECT * FROM "+s.d.opts.Table, nil)
	if err != nil {
		return "", err
	}
	columns := "store, zone"
	if slices.ContainsFunc(about.Fields, func(f pgconn.FieldDescription) bool { return f.Name == "keys" }) {
		columns += ", keys"
	}
	return "SELECT " + columns + " FROM " + s.d.opts.Table, nil
}

// table makes a table of rows as they come in.
func (s *session) table(rows *pgconn.ResultReader) (*routing.Table, error) {
	read := sqltable.NewRows()
	var columns columns
	for n := 1; rows.NextRow(); n++ {
		if n == 1 {
			var err error
			if columns, err = columnsOf(rows.FieldDescriptions()); err != nil {
				return nil, err
			}
		}
		read.Add(func(b *routing.Builder, row int) error { return columns.add(b, row, rows.Values()) })
	}
	return read.Table(s.d.Len())
}

// columns are the places of what is wanted in a row.
type columns struct {
	store, zone, keys int // keys: -1 if there are none

	types    *pgtype.Map
	keysType uint32
	list     pgtype.ScanPlan // of keys that are an array; nil: one key
}

func columnsOf(fields []pgconn.FieldDescription) (c columns, err error) {
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.Name
	}
	if c.store, c.zone, c.keys, err = sqltable.Columns(names); err != nil {
		return c, err
	}
	if c.keys < 0 {
		return c, nil
	}
	c.types, c.keysType = pgtype.NewMap(), fields[c.keys].DataTypeOID
	known, ok := c.types.TypeForOID(c.keysType)
	if !ok {
		return c, nil // a domain, an enum: one key, as text
	}
	switch known.Codec.(type) {
	case *pgtype.ArrayCodec:
		c.list = c.types.PlanScan(c.keysType, pgtype.TextFormatCode, new([]string))
	case *pgtype.JSONCodec, *pgtype.JSONBCodec:
		return c, fmt.Errorf("%w: keys is of type %s; it must be an array (text[]) or one text", sqltable.ErrRefused, known.Name)
	}
	return c, nil
}

func (c *columns) add(b *routing.Builder, row int, values [][]byte) error {
	var keys []string
	switch {
	case c.keys < 0 || values[c.keys] == nil:
	case c.list != nil:
		if err := c.list.Scan(values[c.keys], &keys); err != nil {
			return fmt.Errorf("keys %s: %w", clip(values[c.keys]), err)
		}
	default:
		keys = []string{string(values[c.keys])}
	}
	return b.Add(row, string(values[c.store]), string(values[c.zone]), keys)
}

// clip shortens what is repeated in an error.
func clip(s []byte) string { return strings.ToValidUTF8(string(s[:min(len(s), 60)]), "?") }
