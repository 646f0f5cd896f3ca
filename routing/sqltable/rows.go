package sqltable

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/firebreak-proxy/firebreak/routing"
)

// ErrRefused is a result that cannot be a table of stores.
var ErrRefused = errors.New("refused")

// maxRowErrors is how many wrong rows are told; the rest is counted.
const maxRowErrors = 10

// Rows makes a table of rows as they come in.
type Rows struct {
	b     *routing.Builder
	n     int // the row that was added last
	wrong []error
	more  int
}

// NewRows is without rows.
func NewRows() *Rows { return &Rows{b: routing.NewBuilder()} }

// Add adds the next row, which add reads.
func (r *Rows) Add(add func(b *routing.Builder, row int) error) {
	r.n++
	err := add(r.b, r.n)
	switch {
	case err == nil:
	case len(r.wrong) == maxRowErrors:
		r.more++
	default:
		r.wrong = append(r.wrong, fmt.Errorf("row %d: %w", r.n, err))
	}
}

// Table is the table of all rows; the error is [ErrRefused] if they are none. before
// is how many stores there were.
func (r *Rows) Table(before int) (*routing.Table, error) {
	if r.more > 0 {
		r.wrong = append(r.wrong, fmt.Errorf("and %d more", r.more))
	}
	switch {
	case len(r.wrong) > 0:
		return nil, fmt.Errorf("%w: %w", ErrRefused, errors.Join(r.wrong...))
	case r.b.Stores() > 0:
		return r.b.Table(), nil
	case before > 0:
		return nil, fmt.Errorf("%w: there are no rows, but %d stores before", ErrRefused, before)
	}
	return nil, fmt.Errorf("%w: there are no rows", ErrRefused)
}

// Columns are the places of the columns that are wanted; keys is -1 if there is none.
func Columns(names []string) (store, zone, keys int, err error) {
	store, zone, keys = slices.Index(names, "store"), slices.Index(names, "zone"), slices.Index(names, "keys")
	if store < 0 || zone < 0 {
		err = fmt.Errorf("%w: the columns are %s; store and zone are needed, keys is possible: name them in the query (SELECT id AS store, ...)",
			ErrRefused, strings.Join(names, ", "))
	}
	return store, zone, keys, err
}
