package routing

import (
	"net/http"
	"strings"
)

func readCookie(f *reading, r *http.Request, name string) {
	lines := fieldLines(r, "Cookie")
	for _, line := range lines {
		for line != "" {
			var pair string
			pair, line, _ = strings.Cut(line, ";")
			readCookiePair(f, strings.Trim(pair, " \t"), name)
		}
	}
	if len(lines) > 1 && (f.n > 0 || f.others) {
		f.spoil(doubtLines)
	}
}

func readCookiePair(f *reading, pair, name string) {
	key, value, _ := strings.Cut(pair, "=")
	switch spelled(key, name) {
	case otherName:
		if strings.ContainsAny(pair, " \t,") {
			readHiddenCookie(f, pair, name)
		}
	case similarName:
		f.maybe(unquoteCookie(value), doubtName)
	case sameName:
		f.add(unquoteCookie(value))
		switch {
		case key != name:
			f.spoil(doubtName) // only some decode names
		case !plainCookie(value):
			f.spoil(doubtCookie)
		}
	}
}

// readHiddenCookie looks for cookies within one: Python's SimpleCookie splits
// at spaces, older servers at commas.
func readHiddenCookie(f *reading, pair, name string) {
	separator := func(c rune) bool { return c == ' ' || c == '\t' || c == ',' }
	for part := range strings.FieldsFuncSeq(pair, separator) {
		key, value, _ := strings.Cut(part, "=")
		if spelled(key, name) != otherName {
			f.maybe(value, doubtCookie)
			f.spoil(doubtCookie)
		}
	}
}

// unquoteCookie drops the quotes around a value.
func unquoteCookie(value string) string {
	if len(value) > 1 && value[0] == '"' && value[len(value)-1] == '"' {
		return value[1 : len(value)-1]
	}
	return value
}

// plainCookie reports whether every API server takes a value as it is.
func plainCookie(value string) bool {
	for i := range len(value) {
		switch c := value[i]; {
		case c <= ' ' || c >= 0x7f:
			return false
		case c == '"' || c == '\\' || c == '%' || c == '+' || c == ',':
			return false
		}
	}
	return true
}
