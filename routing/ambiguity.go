package routing

import (
	"fmt"
	"strconv"
	"strings"
)

// Values of [KeySpec] Ambiguous.
const (
	AmbiguousRefuse  = "refuse"
	AmbiguousFirst   = "first"
	AmbiguousLast    = "last"
	AmbiguousUnknown = "unknown"
)

var ambiguousWords = []string{AmbiguousFirst, AmbiguousLast, AmbiguousRefuse, AmbiguousUnknown}

// AmbiguousError means that API servers may read different keys in a request:
// it carries several values of one key, or one in a form that they do not all
// read alike. Its text has no value in it, since keys may be secrets.
type AmbiguousError struct {
	// Key is the source that is ambiguous.
	Key KeySpec

	// Values are the different values, in order, as far as they can be read.
	Values []string

	// Refuse reports whether the request should be refused. If not, it has no
	// key.
	Refuse bool

	doubt doubt
}

// Error implements error.
func (e *AmbiguousError) Error() string {
	if e.doubt == "" {
		return fmt.Sprintf("the request carries %s different values for %s", countWord(len(e.Values)), e.Key)
	}
	return fmt.Sprintf("API servers may read different values for %s: %s", e.Key, e.doubt)
}

// Detail is the error with the values.
func (e *AmbiguousError) Detail() string {
	const most = 4
	var values []string
	for i, value := range e.Values {
		if i == most {
			values = append(values, "…")
			break
		}
		values = append(values, quoteOdd(clip(value)))
	}
	switch {
	case len(values) == 0:
		return e.Error()
	case e.doubt == "":
		return e.Error() + ": " + strings.Join(values, ", ")
	}
	return e.Error() + " (" + strings.Join(values, ", ") + ")"
}

func countWord(n int) string {
	switch n {
	case 2:
		return "two"
	case mostValues:
		return "many"
	}
	return strconv.Itoa(n)
}

// quoteOdd quotes what could be misread in a list.
func quoteOdd(s string) string {
	if q := strconv.Quote(s); s == "" || strings.ContainsAny(s, ", ") || q[1:len(q)-1] != s {
		return q
	}
	return s
}

// doubt is the reason why API servers may read a value differently.
type doubt string

const (
	doubtName      doubt = "its name is written in a way that some take for it and others do not"
	doubtSemicolon doubt = "it stands beside a semicolon, where some split the parameters and others do not"
	doubtFragment  doubt = "it stands at or after a #, where some end the query and others do not"
	doubtEscape    doubt = "it has an invalid percent escape"
	doubtEncoding  doubt = "it has characters that are not decoded alike"
	doubtCookie    doubt = "it has spaces, commas, quotes or escapes, which are not decoded alike in cookies"
	doubtLines     doubt = "there are several Cookie lines, which are not joined alike"
	doubtJSON      doubt = "the body is not valid JSON, but some read it all the same"
	doubtList      doubt = "it is a list"
	doubtNumber    doubt = "it is a number that not all read as it is written"
	doubtCharset   doubt = "the body is in a character set that not all read alike"
	doubtCoding    doubt = "the body is not encoded as its Content-Encoding says"
	doubtType      doubt = "there are several values of Content-Type"
	doubtPath      doubt = "the path has dot segments, empty segments, escaped slashes, backslashes or semicolons"
	doubtHost      doubt = "the host has characters that no host name has"
	doubtAuth      doubt = "Authorization is not written as its scheme prescribes, or is there several times"
)

// reading is what a source finds in a request.
type reading struct {
	first, last string   // what is plainly there
	n           int      // how many values are plainly there
	values      []string // different ones, in order; only if there are several
	other       string   // what some API servers read beside it
	others      bool     // some do
	doubt       doubt    // why some do
	spoiled     bool     // nothing can be said of what others read
}

// add notes a value that every API server sees.
func (f *reading) add(value string) {
	f.n++
	if f.n == 1 {
		f.first, f.last = value, value
		return
	}
	if value != f.first || len(f.values) > 0 {
		f.note(f.first)
		f.note(value)
	}
	f.last = value
}

// mostValues is where a list of different values is cut.
const mostValues = 8

// note adds to the different values.
func (f *reading) note(value string) {
	for _, known := range f.values {
		if known == value {
			return
		}
	}
	if len(f.values) < mostValues {
		f.values = append(f.values, value)
	}
}

// maybe notes a value that only some API servers see.
func (f *reading) maybe(value string, why doubt) {
	if f.others && f.other != value {
		f.spoil(why)
		return
	}
	f.other, f.others, f.doubt = value, true, why
}

// spoil notes that API servers read something else, whatever it is.
func (f *reading) spoil(why doubt) {
	f.spoiled, f.doubt = true, why
}

// ambiguous reports whether API servers may see different values. To see an
// empty one is to see none.
func (f *reading) ambiguous() bool {
	return f.spoiled || len(f.values) > 0 || f.others && f.other != f.first
}

// empty reports whether no API server sees a value.
func (f *reading) empty() bool {
	return !f.ambiguous() && f.first == ""
}

func (f *reading) err(key KeySpec) *AmbiguousError {
	e := &AmbiguousError{Key: key, Values: f.values, Refuse: key.Ambiguous != AmbiguousUnknown}
	if len(f.values) == 0 {
		e.doubt = f.doubt
		if f.n > 0 {
			e.Values = append(e.Values, f.first)
		}
		if f.others && f.other != f.first {
			e.Values = append(e.Values, f.other)
		}
	}
	return e
}
