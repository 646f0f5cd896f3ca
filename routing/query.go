package routing

import (
	"strings"
	"unicode/utf8"
)

// readQuery reads a parameter of a URL's query.
func readQuery(f *reading, query, name string) {
	if strings.IndexByte(query, ';') < 0 && strings.IndexByte(query, '#') < 0 {
		readParams(f, query, name)
		return
	}
	readSplit(f, query, name)
	if i := strings.IndexByte(query, '#'); i >= 0 && mentions(query[strings.LastIndexByte(query[:i], '&')+1:], name, "&;#") {
		f.spoil(doubtFragment)
	}
}

// readForm reads a field of an urlencoded form.
func readForm(f *reading, form, name string) {
	if strings.IndexByte(form, ';') < 0 {
		readParams(f, form, name)
		return
	}
	readSplit(f, form, name)
}

// readParams reads parameters without semicolons. What it does for a parameter
// of another name is on the way of every request.
func readParams(f *reading, text, name string) {
	for text != "" {
		var c nameClass
		end := 0
		for end < len(text) {
			class := nameClasses[text[end]]
			if c |= class; class == endOfName {
				break
			}
			end++
		}
		next := end
		if i := strings.IndexByte(text[end:], '&'); i >= 0 {
			next += i
		} else {
			next = len(text)
		}
		if c&oddInName != 0 || end == len(name) && end > 0 {
			readPair(f, text[:next], name)
		}
		text = text[min(next+1, len(text)):]
	}
}

// readSplit reads parameters with semicolons among them.
func readSplit(f *reading, text, name string) {
	for text != "" {
		var pair string
		pair, text, _ = strings.Cut(text, "&")
		readPair(f, pair, name)
		if strings.IndexByte(pair, ';') >= 0 && mentions(pair, name, ";") {
			f.spoil(doubtSemicolon)
		}
	}
}

// mentions reports whether the parameter is in text for an API server that
// splits it at any of separators, or does not.
func mentions(text, name, separators string) bool {
	key, _, _ := strings.Cut(text, "=")
	if spelled(key, name) != otherName {
		return true
	}
	for part := range strings.FieldsFuncSeq(text, func(c rune) bool { return strings.ContainsRune(separators, c) }) {
		key, _, _ := strings.Cut(part, "=")
		if spelled(key, name) != otherName {
			return true
		}
	}
	return false
}

func readPair(f *reading, pair, name string) {
	key, value, _ := strings.Cut(pair, "=")
	how := spelled(key, name)
	if how == otherName {
		return
	}
	value, why := paramValue(value)
	switch {
	case how == similarName:
		f.maybe(value, doubtName)
	default:
		f.add(value)
	}
	if why != "" {
		f.spoil(why)
	}
}

// paramValue decodes a value. An invalid escape stays as it is.
func paramValue(raw string) (string, doubt) {
	var why doubt
	if escaped(raw) {
		text, ok := unescape(make([]byte, 0, len(raw)), raw)
		if raw = string(text); !ok {
			why = doubtEscape
		}
	}
	if !utf8.ValidString(raw) {
		why = doubtEncoding
	}
	return raw, why
}

func escaped(s string) bool {
	for i := range len(s) {
		if s[i] == '%' || s[i] == '+' {
			return true
		}
	}
	return false
}

// unescape appends the text that s stands for. It reports whether all escapes
// are valid; the others stay as they are.
func unescape(dst []byte, s string) ([]byte, bool) {
	valid := true
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '+':
			dst = append(dst, ' ')
		case c == '%' && i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]):
			dst = append(dst, unhex(s[i+1])<<4|unhex(s[i+2]))
			i += 2
		default:
			valid = valid && c != '%'
			dst = append(dst, c)
		}
	}
	return dst, valid
}

func unhex(c byte) byte {
	if isDigit(c) {
		return c - '0'
	}
	return c | 0x20 - 'a' + 10
}
