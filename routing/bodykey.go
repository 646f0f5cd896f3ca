package routing

import (
	"mime"
	"net/http"
	"strings"
)

// bodyPeek is what was learned from the body, at most once per request.
type bodyPeek struct {
	done bool
	body []byte
	err  error
}

// readBody reads a key in the body, if it is of a type that an API server may
// read it in.
func (e *Extractor) readBody(f *reading, s *source, r *http.Request, peek *bodyPeek) {
	if r.Body == nil || r.ContentLength == 0 {
		return
	}
	types := fieldLines(r, "Content-Type")
	if s.from == FromJSON && !mayBeJSON(types, r.ContentLength) || s.from == FromForm && !mayBeForm(types) {
		return
	}
	if !peek.done {
		peek.done = true
		peek.body, peek.err = peekBody(r, e.maxPeek, e.peekTimeout)
	}
	if len(peek.body) == 0 {
		return
	}
	if s.from == FromJSON {
		readJSON(f, peek.body, s.path)
	} else {
		readForm(f, string(peek.body), s.name)
	}
	doubtBody(f, r, types)
}

// doubtBody looks at what the header says of a body that was read.
func doubtBody(f *reading, r *http.Request, types []string) {
	if coding := headerValue(r, "Content-Encoding"); coding != "" && !strings.EqualFold(coding, "identity") {
		// Most API servers do not look at it. A body that is really packed
		// has no key that can be read.
		if f.n == 0 && !f.others {
			*f = reading{}
		} else if !f.empty() {
			f.spoil(doubtCoding)
		}
		return
	}
	for i, line := range types {
		if line != types[0] && !f.empty() {
			f.spoil(doubtType)
		}
		if i == 0 {
			doubtCharsetOf(f, line)
		}
	}
}

// doubtCharsetOf looks at the character set of a body that was read as UTF-8.
// In one that does not contain ASCII as it is, a key may stand where none was
// seen.
func doubtCharsetOf(f *reading, contentType string) {
	_, params, _ := strings.Cut(contentType, ";")
	if params == "" || strings.EqualFold(params, " charset=utf-8") || !strings.Contains(strings.ToLower(params), "charset") {
		return
	}
	_, values, _ := mime.ParseMediaType(contentType)
	charset := strings.ToLower(values["charset"])
	switch {
	case charset == "utf-8" || charset == "utf8":
	case charset == "us-ascii" || strings.HasPrefix(charset, "iso-8859-") || strings.HasPrefix(charset, "windows-125"):
		if !isASCII(f.first) || !isASCII(f.last) {
			f.spoil(doubtEncoding)
		}
	default:
		f.spoil(doubtCharset)
	}
}

// mayBeJSON reports whether an API server may read JSON in a body. Many do not
// look at its Content-Type. But a body that is not declared as JSON is waited
// for only if all of it is announced, since it may be one of many messages.
func mayBeJSON(types []string, length int64) bool {
	media := mediaType(types)
	const suffix = "+json"
	n := len(media) - len(suffix)
	if strings.EqualFold(media, "application/json") || n > 0 && strings.EqualFold(media[n:], suffix) {
		return true
	}
	media = strings.ToLower(media)
	return length > 0 && !strings.HasPrefix(media, "multipart/") && !strings.HasPrefix(media, "application/grpc")
}

// mayBeForm reports whether an API server may read a form in a body: Rack does
// so without a Content-Type, and PHP if it only begins as that of a form.
func mayBeForm(types []string) bool {
	for _, line := range types {
		if i := strings.IndexAny(line, ";, \t"); i >= 0 {
			line = line[:i]
		}
		if strings.EqualFold(line, "application/x-www-form-urlencoded") {
			return true
		}
	}
	return len(types) == 0
}

// mediaType returns the Content-Type without its parameters.
func mediaType(types []string) string {
	if len(types) == 0 {
		return ""
	}
	t, _, _ := strings.Cut(types[0], ";")
	return strings.TrimSpace(t)
}
