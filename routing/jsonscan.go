package routing

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxJSONDepth is the nesting that encoding/json accepts.
const maxJSONDepth = 10000

// readJSON reads the string or number at path, a way through nested objects,
// in a JSON document. It scans the document once and decodes nothing else.
// Names must match exactly for every API server to see them; some, as Go's
// encoding/json, do not tell upper from lower case.
func readJSON(f *reading, doc []byte, path []string) {
	s := jsonScan{doc: doc, path: path}
	s.space()
	if s.pos == len(doc) {
		return
	}
	var found reading
	if s.value(&found, 0, 0) {
		if s.space(); s.pos == len(doc) {
			*f = found
			return
		}
	}
	if mayName(doc, path[len(path)-1]) {
		f.spoil(doubtJSON)
	}
}

// mayName reports whether a lenient parser could find a name in a document that
// is no JSON: one that takes NaN or comments, stops after the first value, or
// detects UTF-16.
func mayName(doc []byte, name string) bool {
	fold := func(b []byte) []byte { return bytes.ToLower(bytes.ToUpper(b)) }
	return bytes.Contains(fold(doc), fold([]byte(name))) || bytes.Contains(doc, []byte(`\u`)) || bytes.IndexByte(doc, 0) >= 0
}

// unquote decodes a string token that is known to be well formed.
func unquote(token []byte, escaped bool) string {
	if text := token[1 : len(token)-1]; !escaped && utf8.Valid(text) {
		return string(text)
	}
	var text string
	_ = json.Unmarshal(token, &text) // it is well formed
	return text
}

// jsonScan is one pass over a JSON document. Its methods advance pos and
// return false where the document is not valid JSON.
type jsonScan struct {
	doc  []byte
	pos  int
	path []string
}

// offPath is the level of values that are not on the way to the wanted one.
const offPath = -1

// value scans one value. Level is the number of names of path that lead to it,
// or offPath; f is where to note what is found.
func (s *jsonScan) value(f *reading, depth, level int) bool {
	if s.pos == len(s.doc) {
		return false
	}
	from := s.pos
	wanted := level == len(s.path)
	switch c := s.doc[s.pos]; {
	case c == '{':
		if wanted {
			level = offPath
		}
		return s.object(f, depth+1, level)
	case c == '[':
		ok := s.array(depth + 1)
		if wanted && ok && len(bytes.Trim(s.doc[from:s.pos], "[] \t\r\n")) > 0 {
			f.spoil(doubtList)
		}
		return ok
	case c == '"':
		escaped, ok := s.str()
		if wanted && ok {
			text := unquote(s.doc[from:s.pos], escaped)
			if f.add(text); strings.ContainsRune(text, utf8.RuneError) {
				f.spoil(doubtEncoding)
			}
		}
		return ok
	case c == '-' || isDigit(c):
		ok := s.number()
		if wanted && ok {
			text := string(s.doc[from:s.pos])
			if f.add(text); !plainNumber(text) {
				f.spoil(doubtNumber)
			}
		}
		return ok
	}
	return s.word("true") || s.word("false") || s.word("null")
}

// plainNumber reports whether a number is an integer that a float64 holds, so
// that it is the same for every API server.
func plainNumber(text string) bool {
	const largest = 1<<53 - 1
	n, err := strconv.ParseInt(text, 10, 64)
	return err == nil && -largest <= n && n <= largest && text != "-0"
}

func (s *jsonScan) object(f *reading, depth, level int) bool {
	s.pos++
	if depth > maxJSONDepth {
		return false
	}
	if s.space(); s.take('}') {
		return true
	}
	for {
		s.space()
		how, ok := s.name(level)
		if !ok {
			return false
		}
		if s.space(); !s.take(':') {
			return false
		}
		if s.space(); !s.member(f, how, depth, level) {
			return false
		}
		if s.space(); s.take(',') {
			continue
		}
		return s.take('}')
	}
}

// member scans the value of a member. If its name is on the path, f gets what
// is in it: of equal names API servers take the first, the last, or all.
func (s *jsonScan) member(f *reading, how spelling, depth, level int) bool {
	if how == otherName {
		return s.value(f, depth, offPath)
	}
	var below reading
	if !s.value(&below, depth, level+1) {
		return false
	}
	f.merge(&below, how)
	return true
}

// merge notes what is in a member of an object.
func (f *reading) merge(below *reading, how spelling) {
	switch {
	case how == similarName:
		f.maybe(below.last, doubtName)
	case f.n == 0:
		f.first, f.last, f.n, f.values = below.first, below.last, 1, below.values
	default:
		f.add(below.last)
		for _, value := range below.values {
			f.note(value)
		}
	}
	if below.ambiguous() && len(below.values) == 0 {
		f.spoil(below.doubt)
	}
	if how == similarName && len(below.values) > 0 {
		f.spoil(doubtName)
	}
}

// name scans the name of an object's member and compares it with the one that
// the path has at this level.
func (s *jsonScan) name(level int) (how spelling, ok bool) {
	from := s.pos
	escaped, ok := s.str()
	if !ok || level == offPath {
		return otherName, ok
	}
	return spelledJSON(s.doc[from:s.pos], escaped, s.path[level]), true
}

func spelledJSON(token []byte, escaped bool, want string) spelling {
	text := token[1 : len(token)-1]
	if escaped || !utf8.Valid(text) {
		name := unquote(token, escaped)
		text = []byte(name)
	}
	if string(text) == want {
		return sameName
	}
	return similarIf(bytes.EqualFold(text, []byte(want)))
}

func (s *jsonScan) array(depth int) bool {
	s.pos++
	if depth > maxJSONDepth {
		return false
	}
	if s.space(); s.take(']') {
		return true
	}
	for {
		if s.space(); !s.value(nil, depth, offPath) {
			return false
		}
		if s.space(); s.take(',') {
			continue
		}
		return s.take(']')
	}
}

// str scans a string and tells whether it has escapes in it.
func (s *jsonScan) str() (escaped, ok bool) {
	if !s.take('"') {
		return false, false
	}
	for s.pos < len(s.doc) {
		c := s.doc[s.pos]
		s.pos++
		switch {
		case c == '"':
			return escaped, true
		case c < ' ':
			return escaped, false
		case c == '\\':
			escaped = true
			if !s.escape() {
				return escaped, false
			}
		}
	}
	return escaped, false
}

// escape scans what follows a backslash.
func (s *jsonScan) escape() bool {
	if s.pos == len(s.doc) {
		return false
	}
	c := s.doc[s.pos]
	s.pos++
	switch c {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return true
	case 'u':
		for range 4 {
			if s.pos == len(s.doc) || !isHex(s.doc[s.pos]) {
				return false
			}
			s.pos++
		}
		return true
	}
	return false
}

func (s *jsonScan) number() bool {
	s.take('-')
	if !s.take('0') && !s.digits() {
		return false
	}
	if s.take('.') && !s.digits() {
		return false
	}
	if s.take('e') || s.take('E') {
		if !s.take('+') {
			s.take('-')
		}
		return s.digits()
	}
	return true
}

// digits scans one digit or more.
func (s *jsonScan) digits() bool {
	from := s.pos
	for s.pos < len(s.doc) && isDigit(s.doc[s.pos]) {
		s.pos++
	}
	return s.pos > from
}

func (s *jsonScan) space() {
	for s.pos < len(s.doc) {
		switch s.doc[s.pos] {
		case ' ', '\t', '\r', '\n':
			s.pos++
		default:
			return
		}
	}
}

func (s *jsonScan) take(c byte) bool {
	if s.pos < len(s.doc) && s.doc[s.pos] == c {
		s.pos++
		return true
	}
	return false
}

func (s *jsonScan) word(w string) bool {
	if end := s.pos + len(w); end <= len(s.doc) && string(s.doc[s.pos:end]) == w {
		s.pos = end
		return true
	}
	return false
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isHex(c byte) bool {
	return isDigit(c) || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}
