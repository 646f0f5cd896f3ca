package mysql

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/firebreak-proxy/firebreak/routing"
	"github.com/firebreak-proxy/firebreak/routing/sqltable"
	"github.com/firebreak-proxy/firebreak/zonecheck"
)

const (
	connectTimeout = 5 * time.Second
	// mostTable bounds the bytes of a table of stores.
	mostTable = 1 << 30
)

// table is what is read, and when.
type table struct {
	config  *mysql.Config
	name    string // of the table; "": query is given
	query   string // returns store, zone and maybe keys
	version string // says whether that has changed; "": nothing does
	poll    time.Duration
	refresh time.Duration
	timeout time.Duration
}

// session reads the table, and goes on doing so when its version changes, and every
// refresh.
func (t *table) session(ctx context.Context, d *sqltable.Directory) error {
	c, err := t.connect(ctx)
	if err != nil {
		return fmt.Errorf("connecting: %w", inWords(err))
	}
	defer c.Drop()
	for {
		was, err := t.versionNow(ctx, c)
		if err == nil {
			err = t.load(ctx, c, d)
		}
		if err != nil {
			return fmt.Errorf("reading the stores: %w", inWords(err))
		}
		if t.version == "" {
			return nil
		}
		if err := t.wait(ctx, c, was); err != nil {
			return inWords(err)
		}
	}
}

// connect opens a read-only session.
func (t *table) connect(ctx context.Context) (*conn, error) {
	ctx, cancel := context.WithTimeout(ctx, min(connectTimeout, t.timeout))
	defer cancel()
	c, err := connect(ctx, t.config)
	if err != nil {
		return nil, err
	}
	limit := t.timeout * 9 / 10 // a server that lives gives up first, and says so
	set := fmt.Sprintf("SET SESSION transaction_read_only = 1, max_execution_time = %d", limit.Milliseconds())
	if c.maria {
		set = fmt.Sprintf("SET SESSION tx_read_only = 1, max_statement_time = %.3f", limit.Seconds())
	}
	if err := c.rows(ctx, 0, 0, nil, set); err != nil {
		c.Drop()
		return nil, err
	}
	return c, nil
}

// versionNow is what changes when the table does.
func (t *table) versionNow(ctx context.Context, c *conn) (version string, err error) {
	if t.version == "" {
		return "", nil
	}
	ctx, cancel := context.WithTimeout(ctx, t.timeout)
	defer cancel()
	err = c.rows(ctx, 2, 1, func(row []string) { version = row[0] + " " + row[1] }, t.version)
	return version, err
}

// wait returns when it is time to read the table again.
func (t *table) wait(ctx context.Context, c *conn, was string) error {
	refresh := time.NewTimer(t.refresh)
	defer refresh.Stop()
	poll := time.NewTicker(t.poll)
	defer poll.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-refresh.C:
			return nil
		case <-poll.C:
			if now, err := t.versionNow(ctx, c); err != nil || now != was {
				return err
			}
		}
	}
}

// load reads the table. The error is that of a connection that is no longer good.
func (t *table) load(ctx context.Context, c *conn, d *sqltable.Directory) error {
	began := time.Now()
	read, err := t.read(ctx, c, d.Len())
	if err != nil && !c.Said(err) && !errors.Is(err, sqltable.ErrRefused) {
		return err
	}
	d.Loaded(read, err, time.Since(began))
	return nil
}

func (t *table) read(ctx context.Context, c *conn, before int) (*routing.Table, error) {
	ctx, cancel := context.WithTimeout(ctx, t.timeout)
	defer cancel()
	query, err := t.queryNow(ctx, c)
	if err != nil {
		return nil, err
	}
	c.left.Set(mostTable)
	rows, err := c.conn.QueryContext(ctx, query)
	if err != nil {
		return nil, c.note(err)
	}
	names, err := rows.Columns()
	if err != nil {
		return nil, c.note(err)
	}
	store, zone, keys, err := sqltable.Columns(names)
	if err != nil {
		return nil, cmp.Or(c.note(rows.Close()), err)
	}
	row, into := make([]sql.RawBytes, len(names)), make([]any, len(names))
	for i := range row {
		into[i] = &row[i]
	}
	all := sqltable.NewRows()
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return nil, c.note(err)
		}
		all.Add(func(b *routing.Builder, n int) error {
			if keys < 0 {
				return b.Add(n, string(row[store]), string(row[zone]), nil)
			}
			more, err := keysOf(row[keys])
			if err != nil {
				return err
			}
			return b.Add(n, string(row[store]), string(row[zone]), more)
		})
	}
	if err := c.note(cmp.Or(rows.Err(), rows.Close())); err != nil {
		return nil, err
	}
	return all.Table(before)
}

// queryNow is what to ask. Of a table only the columns that are wanted are read.
func (t *table) queryNow(ctx context.Context, c *conn) (string, error) {
	if t.query != "" {
		return t.query, nil
	}
	rows, err := c.conn.QueryContext(ctx, "SELECT * FROM "+t.name+" LIMIT 0")
	if err != nil {
		return "", c.note(err)
	}
	names, err := rows.Columns()
	if err != nil {
		return "", c.note(err)
	}
	if err := c.note(rows.Close()); err != nil {
		return "", err
	}
	_, _, keys, err := sqltable.Columns(names)
	if keys >= 0 {
		return "SELECT store, zone, `keys` FROM " + t.name, err
	}
	return "SELECT store, zone FROM " + t.name, err
}

// keysOf are the keys of a store: an array of JSON, or one text.
func keysOf(text []byte) (keys []string, err error) {
	if len(text) == 0 {
		return nil, nil
	}
	if text[0] != '[' {
		return []string{string(text)}, nil
	}
	var values []any
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(&values); err != nil {
		return nil, fmt.Errorf("keys %.60q: it begins like an array of JSON, but is none", text)
	}
	for _, v := range values {
		switch v := v.(type) {
		case string:
			keys = append(keys, v)
		case json.Number:
			keys = append(keys, v.String())
		default:
			return nil, fmt.Errorf("keys %.60q: texts or numbers are needed", text)
		}
	}
	return keys, nil
}

// inWords says "no answer in time" for whatever a deadline looks like.
func inWords(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return errors.New("no answer in time")
	}
	return err
}

var _ zonecheck.Conn = (*conn)(nil)
