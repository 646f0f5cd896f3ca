package routing

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"strings"
)

// csvParser reads CSV with the header row "store,zone" and any number of
// columns whose names start with "key" after it. Fields may be quoted but
// cannot span lines, since no name has a line break in it.
type csvParser struct {
	columns int
	// broken is set by a bad header: then every row would be reported too.
	broken bool
	fields []string
}

var errNoHeader = errors.New(`the file is empty; the first line must be "store,zone" and may go on with key columns`)

func (p *csvParser) line(b *builder, n uint32, text []byte) error {
	if p.broken {
		return nil
	}
	err := p.split(text)
	if p.columns == 0 {
		if err == nil {
			err = p.header()
		}
		p.broken = err != nil
		return err
	}
	if err != nil {
		return err
	}
	if len(p.fields) != p.columns {
		return fmt.Errorf("%d columns where the header has %d", len(p.fields), p.columns)
	}
	return b.add(n, p.fields[0], p.fields[1], p.fields[2:])
}

func (p *csvParser) done() error {
	if p.columns == 0 {
		return errNoHeader
	}
	return nil
}

// header checks the header row.
func (p *csvParser) header() error {
	if len(p.fields) < 2 || p.fields[0] != "store" || p.fields[1] != "zone" {
		return fmt.Errorf(`the header row must start with "store,zone", not %q`, clip(strings.Join(p.fields, ",")))
	}
	for i, name := range p.fields[2:] {
		if !strings.HasPrefix(name, "key") {
			return fmt.Errorf("column %d is %q; only columns named key, key2, ... may follow store,zone", i+3, clip(name))
		}
	}
	p.columns = len(p.fields)
	return nil
}

// split cuts a row into p.fields.
func (p *csvParser) split(text []byte) error {
	p.fields = p.fields[:0]
	if bytes.IndexByte(text, '"') < 0 {
		rest, more := string(text), true
		for more {
			var field string
			field, rest, more = strings.Cut(rest, ",")
			p.fields = append(p.fields, field)
		}
		return nil
	}
	r := csv.NewReader(bytes.NewReader(text))
	r.FieldsPerRecord = -1
	fields, err := r.Read()
	if err != nil {
		var parse *csv.ParseError
		if errors.As(err, &parse) {
			err = fmt.Errorf("column %d: %w", parse.Column, parse.Err)
		}
		return err
	}
	p.fields = append(p.fields, fields...)
	return nil
}
