package zonecheck

import (
	"net/url"
	"regexp"
	"strings"

	"github.com/firebreak-proxy/firebreak/config"
)

// Dialect is how a kind of database writes literals and comments.
type Dialect struct {
	mysql bool
}

// The dialects. MySQL's is MariaDB's, too.
var (
	PostgreSQL = Dialect{}
	MySQL      = Dialect{mysql: true}
)

// Finder finds the store that a query names.
type Finder struct {
	dialect Dialect
	ways    []string
	res     map[string]*regexp.Regexp
}

// NewFinder is a finder that looks at these places, see [config.Check].
func NewFinder(storeIn []string, dialect Dialect) (*Finder, error) {
	f := &Finder{dialect: dialect, ways: storeIn, res: make(map[string]*regexp.Regexp)}
	for _, way := range storeIn {
		if way == config.StoreInComment || way == config.StoreInAppName {
			continue
		}
		re, err := regexp.Compile(way)
		if err != nil {
			return nil, err
		}
		f.res[way] = re
	}
	return f, nil
}

// Store is the store that a query names; empty if it names none, or several.
func (f *Finder) Store(query, appName string) string {
	for _, way := range f.ways {
		found := ""
		switch re := f.res[way]; {
		case way == config.StoreInComment:
			found = f.dialect.tagged(storeTag, query)
		case way == config.StoreInAppName:
			found = appName
		case re != nil:
			found = onlyOne(re, query)
		}
		if found != "" {
			return found
		}
	}
	return ""
}

// onlyOne is what the group named store matches, if it is the same everywhere.
func onlyOne(re *regexp.Regexp, query string) (store string) {
	at := re.SubexpIndex("store")
	for _, m := range re.FindAllStringSubmatch(query, 16) {
		if store != "" && m[at] != store {
			return ""
		}
		store = m[at]
	}
	return store
}

// Request is the request that a query's comments name; empty if they name none, or
// several.
func (f *Finder) Request(query string) string { return f.dialect.tagged(requestTag, query) }

// Pairs like store='...' of a comment as sqlcommenter writes it: URL encoded, with
// quotes escaped by a backslash.
var (
	storeTag   = tagOf("store")
	requestTag = tagOf("request")
)

func tagOf(name string) *regexp.Regexp {
	return regexp.MustCompile(`(?:^|,)\s*` + name + `='((?:[^'\\]|\\.)*)'\s*`)
}

// tagged is the value that comments of the query give, if it is the same everywhere.
// Text in literals and identifiers is no comment.
func (d Dialect) tagged(tag *regexp.Regexp, query string) (found string) {
	for _, part := range d.split(query) {
		if part.kind != comment || !strings.HasPrefix(part.text, "/*") || !strings.HasSuffix(part.text, "*/") || len(part.text) < 4 {
			continue
		}
		text := strings.TrimSpace(part.text[2 : len(part.text)-2])
		for _, at := range tag.FindAllStringSubmatchIndex(text, 16) {
			if at[1] < len(text) && text[at[1]] != ',' {
				continue
			}
			value, err := url.PathUnescape(strings.ReplaceAll(text[at[2]:at[3]], `\'`, `'`))
			if err != nil || found != "" && value != found {
				return ""
			}
			found = value
		}
	}
	return found
}

// maxShownQuery bounds the text of a query that is shown.
const maxShownQuery = 300

// WithoutLiterals is the query with ? in place of literals, without comments, in
// one line: what may be shown to people who must not see the data.
func (d Dialect) WithoutLiterals(query string) string {
	var b strings.Builder
	for _, part := range d.split(query) {
		switch part.kind {
		case literal:
			b.WriteString("?")
		case comment:
			b.WriteString(" ")
		case code:
			b.WriteString(number.ReplaceAllString(part.text, "${1}?"))
		}
	}
	text := strings.Join(strings.Fields(b.String()), " ")
	if runes := []rune(text); len(runes) > maxShownQuery {
		text = string(runes[:maxShownQuery]) + "..."
	}
	return text
}

var number = regexp.MustCompile(`(^|[^\w$.])(?:0[xX][0-9A-Fa-f]+|\d[\d_]*(?:\.\d+)?(?:[eE][+-]?\d+)?|\.\d+)\b`)

type partKind uint8

const (
	code    partKind = iota // identifiers in quotes included
	literal                 // a string
	comment
)

type part struct {
	kind partKind
	text string
}

var dollarTag = regexp.MustCompile(`^\$(?:[A-Za-z_\x80-\xff][\w\x80-\xff]*)?\$`)

// split takes a query apart. What is cut off in the middle ends where the text
// does.
func (d Dialect) split(query string) (parts []part) {
	from := 0
	for i := 0; i < len(query); {
		kind, n := d.next(query, i)
		if kind == code {
			i += n
			continue
		}
		if i > from {
			parts = append(parts, part{code, query[from:i]})
		}
		parts = append(parts, part{kind, query[i : i+n]})
		i += n
		from = i
	}
	if from < len(query) {
		parts = append(parts, part{code, query[from:]})
	}
	return parts
}

// next is what begins at i, and how long it is.
func (d Dialect) next(query string, i int) (partKind, int) {
	rest := query[i:]
	switch {
	case rest[0] == '\'':
		escapes := d.mysql || i > 0 && (query[i-1] == 'E' || query[i-1] == 'e') && (i < 2 || !isWord(query[i-2]))
		return literal, quoted(rest, '\'', escapes)
	case rest[0] == '"' && d.mysql:
		return literal, quoted(rest, '"', true)
	case rest[0] == '"':
		return code, quoted(rest, '"', false)
	case rest[0] == '`' && d.mysql:
		return code, quoted(rest, '`', false)
	case rest[0] == '#' && d.mysql, strings.HasPrefix(rest, "--") && (!d.mysql || len(rest) == 2 || rest[2] <= ' '):
		if n := strings.IndexByte(rest, '\n'); n >= 0 {
			return comment, n
		}
		return comment, len(rest)
	case strings.HasPrefix(rest, "/*"):
		return comment, commentEnd(rest, !d.mysql)
	case rest[0] == '$' && !d.mysql && (i == 0 || !isWord(query[i-1])) && dollarTag.MatchString(rest):
		tag := dollarTag.FindString(rest)
		if n := strings.Index(rest[len(tag):], tag); n >= 0 {
			return literal, n + 2*len(tag)
		}
		return literal, len(rest)
	}
	return code, 1
}

func isWord(c byte) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c >= 0x80
}

// quoted is how long what is in quotes at the start of s is, quotes included.
func quoted(s string, quote byte, escapes bool) int {
	for i := 1; i < len(s); i++ {
		switch {
		case escapes && s[i] == '\\':
			i++
		case s[i] != quote:
		case i+1 < len(s) && s[i+1] == quote:
			i++
		default:
			return i + 1
		}
	}
	return len(s)
}

// commentEnd is how long the comment at the start of s is.
func commentEnd(s string, nests bool) int {
	depth := 1
	for i := 2; i+1 < len(s); {
		switch {
		case nests && s[i:i+2] == "/*":
			depth++
			i += 2
		case s[i:i+2] == "*/":
			depth--
			i += 2
			if depth == 0 {
				return i
			}
		default:
			i++
		}
	}
	return len(s)
}
