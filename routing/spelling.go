package routing

import (
	"bytes"
	"strings"
)

// spelling is how near the name of a parameter is to the wanted one.
type spelling uint8

const (
	otherName   spelling = iota
	sameName             // every API server takes it for the wanted one
	similarName          // some do
)

// longName is where names begin to be decoded on the heap.
const longName = 96

// spelled compares the name of a parameter, as it stands in a query, with the
// wanted one.
func spelled(raw, name string) spelling {
	if plainName(raw) {
		switch {
		case len(raw) != len(name):
			return otherName
		case raw == name:
			return sameName
		}
		return similarIf(sameMangled([]byte(raw), name))
	}
	var buf [longName]byte
	text, _ := unescape(buf[:0], raw)
	if string(text) == name {
		return sameName
	}
	return similar(text, name)
}

// nameClass is what a byte means in the name of a parameter.
type nameClass uint8

const (
	endOfName nameClass = 1 << iota
	oddInName           // some API servers treat it in a way of their own
)

var nameClasses = func() (classes [256]nameClass) {
	for _, c := range []byte("\x00 %+.?[]") {
		classes[c] = oddInName
	}
	classes['='], classes['&'] = endOfName, endOfName
	return classes
}()

// plainName reports whether a name has nothing in it that API servers treat
// differently, except for upper and lower case.
func plainName(name string) bool {
	for i := range len(name) {
		if nameClasses[name[i]] == oddInName {
			return false
		}
	}
	return true
}

func similarIf(is bool) spelling {
	if is {
		return similarName
	}
	return otherName
}

// similar compares a decoded name with the wanted one as the most liberal API
// servers do: PHP ends names at a zero byte, drops leading spaces and takes
// dots, spaces and single brackets for underscores; PHP, Rack and qs read
// key[], key[0] and partly [key] as a list or table named key; ASP.NET does not
// tell upper from lower case; URLSearchParams drops a leading question mark.
func similar(text []byte, name string) spelling {
	text, _, _ = bytes.Cut(text, []byte{0})
	text = bytes.TrimLeft(text, " ?")
	return similarIf(sameMangled(text, name) || nested(text, name))
}

func sameMangled(text []byte, name string) bool {
	if len(text) != len(name) {
		return false
	}
	for i := range text {
		if mangled(text[i]) != mangled(name[i]) {
			return false
		}
	}
	return true
}

func mangled(c byte) byte {
	switch {
	case c == ' ' || c == '.' || c == '[':
		return '_'
	case 'A' <= c && c <= 'Z':
		return c | 0x20
	}
	return c
}

// nested reports whether text is name with brackets around or behind it.
func nested(text []byte, name string) bool {
	for first := true; ; first = false {
		name = strings.TrimLeft(name, "[]")
		if name == "" {
			return !first
		}
		text = bytes.TrimLeft(text, "[]")
		wanted, part := name, text
		if i := strings.IndexAny(name, "[]"); i >= 0 {
			wanted = name[:i]
		}
		if i := bytes.IndexAny(text, "[]"); i >= 0 {
			part = text[:i]
		}
		if !sameMangled(part, wanted) {
			return false
		}
		name, text = name[len(wanted):], text[len(part):]
	}
}
