package routing

import (
	"bytes"
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
	declared := s.from == FromJSON && isJSON(mediaType(types)) || s.from == FromForm && isForm(types)
	if !declared && (r.ContentLength < 0 || isMessages(mediaType(types))) {
		return
	}
	if !peek.done {
		peek.done = true
		peek.body, peek.err = peekBody(r, e.maxPeek, e.peekTimeout)
	}
	switch body := peek.body; {
	case len(body) == 0:
		return
	case s.from == FromForm:
		readForm(f, string(body), s.name)
	case declared || looksLikeJSON(body):
		readJSON(f, body, s.path)
	}
	if f.n == 0 && !declared && s.from == FromForm {
		*f = reading{} // almost any text is a form of some kind
	}
	doubtBody(f, r, types, declared)
}

// doubtBody looks at what the header says of a body that was read.
func doubtBody(f *reading, r *http.Request, types []string, declared bool) {
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
		if i == 0 && (declared || !f.empty()) {
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

// isMessages reports whether a body that is not declared as what is looked for
// is of a type in which it cannot be.
func isMessages(media string) bool {
	media = strings.ToLower(media)
	return strings.HasPrefix(media, "multipart/") || strings.HasPrefix(media, "application/grpc")
}

func isJSON(media string) bool {
	const suffix = "+json"
	n := len(media) - len(suffix)
	return strings.EqualFold(media, "application/json") || n > 0 && strings.EqualFold(media[n:], suffix)
}

// looksLikeJSON reports whether a body that is not declared as JSON may be an
// object, in UTF-8 or UTF-16. Many API servers do not look at its Content-Type.
func looksLikeJSON(body []byte) bool {
	for _, bom := range []string{"\xef\xbb\xbf", "\xff\xfe", "\xfe\xff"} {
		body = bytes.TrimPrefix(body, []byte(bom))
	}
	body = bytes.TrimLeft(body, " \t\r\n\x00")
	return len(body) > 0 && body[0] == '{'
}

// isForm reports whether an API server may take a body for a form. For PHP its
// type need only begin as that of one; without one, Rack takes it for one, and so
// does Caddy for FastCGI.
func isForm(types []string) bool {
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
