package pgtable

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/firebreak-proxy/firebreak/routing"
)

// errRefused is a result that cannot be a table of stores.
var errRefused = errors.New("refused")

// maxRowErrors is how many wrong rows are told; the rest is counted.
const maxRowErrors = 10

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
	b := routing.NewBuilder()
	var columns columns
	var wrong []error
	more := 0
	for n := 1; rows.NextRow(); n++ {
		if n == 1 {
			var err error
			if columns, err = columnsOf(rows.FieldDescriptions()); err != nil {
				return nil, err
			}
		}
		if err := columns.add(b, n, rows.Values()); err != nil {
			if len(wrong) == maxRowErrors {
				more++
				continue
			}
			wrong = append(wrong, fmt.Errorf("row %d: %w", n, err))
		}
	}
	if more > 0 {
		wrong = append(wrong, fmt.Errorf("and %d more", more))
	}
	if len(wrong) > 0 {
		return nil, fmt.Errorf("%w: %w", errRefused, errors.Join(wrong...))
	}
	if b.Stores() > 0 {
		return b.Table(), nil
	}
	if was := s.d.table.Load(); was != nil {
		return nil, fmt.Errorf("%w: there are no rows, but %d stores before", errRefused, was.Len())
	}
	return nil, fmt.Errorf("%w: there are no rows", errRefused)
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
	c.store, c.zone, c.keys = slices.Index(names, "store"), slices.Index(names, "zone"), slices.Index(names, "keys")
	if c.store < 0 || c.zone < 0 {
		return c, fmt.Errorf("%w: the columns are %s; store and zone are needed, keys is possible: name them in the query (SELECT id AS store, ...)",
			errRefused, strings.Join(names, ", "))
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
		return c, fmt.Errorf("%w: keys is of type %s; it must be an array (text[]) or one text", errRefused, known.Name)
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
