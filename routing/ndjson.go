package routing

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// ndjsonParser reads one JSON object per line:
//
//	{"store":"s1","zone":"z1","keys":["k1","k2"]}
type ndjsonParser struct{}

type ndjsonRow struct {
	Store string   `json:"store"`
	Zone  string   `json:"zone"`
	Keys  []string `json:"keys"`
}

var errEmptyKey = errors.New("key is empty")

func (ndjsonParser) line(b *builder, n uint32, text []byte) error {
	row, ok := scanRow(text)
	if !ok {
		var err error
		if row, err = decodeRow(text); err != nil {
			return err
		}
	}
	for _, key := range row.Keys {
		if key == "" {
			return errEmptyKey
		}
	}
	return b.add(n, row.Store, row.Zone, row.Keys)
}

func (ndjsonParser) done() error { return nil }

// decodeRow is the full truth about a line, and finds the words for what is
// wrong with it.
func decodeRow(text []byte) (row ndjsonRow, err error) {
	if !utf8.Valid(text) {
		return row, errors.New("line is not valid UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&row); err != nil {
		return row, rowError(err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return row, errors.New("more than one JSON object on the line")
	}
	return row, nil
}

// rowError words an error of encoding/json in terms that need no Go.
func rowError(err error) error {
	var wrongType *json.UnmarshalTypeError
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("JSON object is cut short")
	case errors.As(err, &wrongType) && wrongType.Field == "":
		return fmt.Errorf("%s where an object is wanted", wrongType.Value)
	case errors.As(err, &wrongType):
		return fmt.Errorf("%s is a %s; store and zone must be strings, keys a list of strings", wrongType.Field, wrongType.Value)
	}
	return errors.New(strings.TrimPrefix(err.Error(), "json: "))
}

// scanRow reads the plain form of a line, about six times as fast as
// encoding/json. It gives up on everything unusual: escapes, repeated or
// unknown fields, null, errors.
func scanRow(text []byte) (row ndjsonRow, ok bool) {
	s := jsonScan{doc: text}
	if s.space(); !s.take('{') {
		return row, false
	}
	for {
		name, ok := s.plain()
		if s.space(); !ok || !s.take(':') {
			return row, false
		}
		s.space()
		switch {
		case name == "store" && row.Store == "":
			row.Store, ok = s.plain()
		case name == "zone" && row.Zone == "":
			row.Zone, ok = s.plain()
		case name == "keys" && row.Keys == nil:
			row.Keys, ok = s.plainList()
		default:
			return row, false
		}
		if !ok {
			return row, false
		}
		if s.space(); !s.take(',') {
			break
		}
	}
	if !s.take('}') {
		return row, false
	}
	s.space()
	return row, s.pos == len(text) && row.Store != "" && row.Zone != ""
}

// plain reads a string that stands for itself: no escapes, valid UTF-8.
func (s *jsonScan) plain() (string, bool) {
	s.space()
	from := s.pos
	escaped, ok := s.str()
	if !ok || escaped {
		return "", false
	}
	text := s.doc[from+1 : s.pos-1]
	return string(text), utf8.Valid(text)
}

func (s *jsonScan) plainList() ([]string, bool) {
	if !s.take('[') {
		return nil, false
	}
	list := []string{}
	if s.space(); s.take(']') {
		return list, true
	}
	for {
		item, ok := s.plain()
		if !ok {
			return nil, false
		}
		list = append(list, item)
		if s.space(); s.take(',') {
			continue
		}
		return list, s.take(']')
	}
}
