package routing

import (
	"encoding/json"
	"unicode/utf8"
)

// maxJSONDepth is the nesting that encoding/json accepts.
const maxJSONDepth = 10000

// jsonField returns the string or number found in a JSON object by following
// path through nested objects. It scans the document once and decodes nothing
// else. It agrees with encoding/json: the whole document must be valid, of
// equal names in one object the last one counts, numbers come as written.
// Names must match exactly, upper and lower case included.
func jsonField(doc []byte, path []string) (string, bool) {
	s := jsonScan{doc: doc, path: path}
	s.space()
	if !s.value(0, 0) {
		return "", false
	}
	if s.space(); s.pos != len(doc) || s.found == nil {
		return "", false
	}
	if s.found[0] != '"' {
		return string(s.found), true
	}
	return unquote(s.found, s.escaped)
}

// unquote decodes a string token that is known to be well formed.
func unquote(token []byte, escaped bool) (string, bool) {
	if text := token[1 : len(token)-1]; !escaped && utf8.Valid(text) {
		return string(text), true
	}
	var text string
	err := json.Unmarshal(token, &text)
	return text, err == nil
}

// jsonScan is one pass over a JSON document. Its methods advance pos and
// return false where the document is not valid JSON.
type jsonScan struct {
	doc  []byte
	pos  int
	path []string

	found   []byte // token of the value at path
	escaped bool   // found is a string with escapes in it
}

// offPath is the level of values that are not on the way to the wanted one.
const offPath = -1

// value scans one value. Level is the number of names of path that lead to it,
// or offPath.
func (s *jsonScan) value(depth, level int) bool {
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
		return s.object(depth+1, level)
	case c == '[':
		return s.array(depth + 1)
	case c == '"':
		escaped, ok := s.str()
		if wanted {
			s.found, s.escaped = s.doc[from:s.pos], escaped
		}
		return ok
	case c == '-' || isDigit(c):
		ok := s.number()
		if wanted {
			s.found = s.doc[from:s.pos]
		}
		return ok
	}
	return s.word("true") || s.word("false") || s.word("null")
}

func (s *jsonScan) object(depth, level int) bool {
	s.pos++
	if depth > maxJSONDepth {
		return false
	}
	if s.space(); s.take('}') {
		return true
	}
	for {
		s.space()
		below, ok := s.name(level)
		if !ok {
			return false
		}
		if s.space(); !s.take(':') {
			return false
		}
		if s.space(); !s.value(depth, below) {
			return false
		}
		if s.space(); s.take(',') {
			continue
		}
		return s.take('}')
	}
}

// name scans the name of an object's member and returns the level of its
// value.
func (s *jsonScan) name(level int) (below int, ok bool) {
	from := s.pos
	escaped, ok := s.str()
	if !ok || level == offPath || !sameName(s.doc[from:s.pos], escaped, s.path[level]) {
		return offPath, ok
	}
	// An earlier member of this name, and all within it, is overruled.
	s.found = nil
	return level + 1, true
}

func sameName(token []byte, escaped bool, want string) bool {
	text := token[1 : len(token)-1]
	if !escaped && (string(text) == want || utf8.Valid(text)) {
		return string(text) == want
	}
	name, ok := unquote(token, escaped)
	return ok && name == want
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
		if s.space(); !s.value(depth, offPath) {
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
