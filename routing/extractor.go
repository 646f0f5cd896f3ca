package routing

import (
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"strings"
	"time"
)

// ExtractorOptions bound what an [Extractor] does.
type ExtractorOptions struct {
	// MaxBodyPeek is how many bytes of a body are looked at. In a larger
	// body no key is found, and a body of unannounced length must be smaller
	// than this. Default: 64 KiB.
	MaxBodyPeek int64

	// BodyPeekTimeout is how long a request waits for its own body to
	// arrive. In a later one no key is found. Default: 1s.
	BodyPeekTimeout time.Duration

	// Placeholder replaces the placeholders in a text. Needed if a KeySpec
	// has placeholders.
	Placeholder func(r *http.Request, template string) string
}

// Extractor finds the key of a request. It is safe for concurrent use.
type Extractor struct {
	sources     []source
	maxPeek     int64
	peekTimeout time.Duration
	placeholder func(r *http.Request, template string) string
}

// source is a KeySpec made ready.
type source struct {
	from  string
	name  string
	path  []string
	index int
}

// fromHost is the placeholder {http.request.host}, without the replacer.
const fromHost = "host"

// NewExtractor makes an Extractor that tries specs in order.
func NewExtractor(specs []KeySpec, opts ExtractorOptions) (*Extractor, error) {
	if len(specs) == 0 {
		return nil, errors.New("no key source given")
	}
	if opts.MaxBodyPeek < 0 || opts.BodyPeekTimeout < 0 {
		return nil, errors.New("the bounds on looking at a body cannot be negative")
	}
	if opts.MaxBodyPeek == 0 {
		opts.MaxBodyPeek = 64 << 10
	}
	if opts.BodyPeekTimeout == 0 {
		opts.BodyPeekTimeout = time.Second
	}
	e := &Extractor{maxPeek: opts.MaxBodyPeek, peekTimeout: opts.BodyPeekTimeout, placeholder: opts.Placeholder}
	for i, spec := range specs {
		if err := spec.Validate(); err != nil {
			return nil, fmt.Errorf("key source %d: %w", i+1, err)
		}
		s := compile(spec)
		if s.from == FromPlaceholder && e.placeholder == nil {
			return nil, fmt.Errorf("key source %d: placeholders cannot be used here", i+1)
		}
		e.sources = append(e.sources, s)
	}
	return e, nil
}

func compile(spec KeySpec) source {
	s := source{from: spec.From, name: spec.Name, index: spec.Index}
	switch {
	case s.from == FromHeader:
		s.name = textproto.CanonicalMIMEHeaderKey(s.name)
	case s.from == FromJSON:
		s.path = strings.Split(s.name, ".")
	case s.from == FromPlaceholder && s.name == "{http.request.host}":
		s.from = fromHost
	}
	return s
}

// Key returns the first key that the sources find, or "" if they find none. It
// takes no longer than BodyPeekTimeout.
//
// Where a body has to be looked at, r.Body is replaced by one that gives the
// same bytes and the same error; ContentLength and Trailer stay as they are.
// An error comes only without a key and says why a body could not be looked
// at: [ErrBodyLate], or what reading it failed with. The request can be passed
// on all the same.
//
// The ResponseWriter is not used and may be nil.
func (e *Extractor) Key(_ http.ResponseWriter, r *http.Request) (string, error) {
	var peek bodyPeek
	for i := range e.sources {
		s := &e.sources[i]
		if key := e.find(s, r, &peek); usableKey(key) {
			return key, nil
		}
	}
	if errors.Is(peek.err, errBodyLarge) {
		return "", nil
	}
	return "", peek.err
}

// find returns what a source finds; it need not be usable.
func (e *Extractor) find(s *source, r *http.Request, peek *bodyPeek) string {
	switch s.from {
	case FromQuery:
		return queryValue(r.URL.RawQuery, s.name)
	case FromHeader:
		return headerValue(r, s.name)
	case FromJSON:
		if body := e.body(r, peek, isJSON); body != nil {
			key, _ := jsonField(body, s.path)
			return key
		}
	case FromForm:
		if body := e.body(r, peek, isForm); body != nil {
			return queryValue(string(body), s.name)
		}
	case FromCookie:
		return cookieValue(r, s.name)
	case FromHostLabel:
		return hostLabel(r.Host, s.index)
	case FromPathSegment:
		return pathSegment(r.URL, s.index)
	case FromBearer:
		return bearerToken(r)
	case FromBasicUser:
		return basicUser(r)
	case FromPlaceholder:
		return e.placeholder(r, s.name)
	case fromHost:
		return hostName(r.Host)
	}
	return ""
}

// bodyPeek is what was learned from the body, at most once per request.
type bodyPeek struct {
	done bool
	body []byte
	err  error
}

// body returns the request's body, or nil if it is not of the wanted type,
// empty, packed, too large or too late.
func (e *Extractor) body(r *http.Request, peek *bodyPeek, wanted func(contentType string) bool) []byte {
	if r.Body == nil || r.ContentLength == 0 || !wanted(mediaType(r)) || packed(r) {
		return nil
	}
	if !peek.done {
		peek.done = true
		peek.body, peek.err = peekBody(r, e.maxPeek, e.peekTimeout)
	}
	return peek.body
}

// mediaType returns the Content-Type without its parameters.
func mediaType(r *http.Request) string {
	t, _, _ := strings.Cut(headerValue(r, "Content-Type"), ";")
	return strings.TrimSpace(t)
}

func packed(r *http.Request) bool {
	coding := headerValue(r, "Content-Encoding")
	return coding != "" && !strings.EqualFold(coding, "identity")
}

func isJSON(mediaType string) bool {
	const suffix = "+json"
	n := len(mediaType) - len(suffix)
	return strings.EqualFold(mediaType, "application/json") || n > 0 && strings.EqualFold(mediaType[n:], suffix)
}

func isForm(mediaType string) bool {
	return strings.EqualFold(mediaType, "application/x-www-form-urlencoded")
}
