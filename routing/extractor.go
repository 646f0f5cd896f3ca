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
	spec KeySpec
	from string
	name string
	path []string
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
	s := source{spec: spec, from: spec.From, name: spec.Name}
	if s.from == FromPlaceholder {
		s.from, s.name = knownPlaceholder(s.name)
	}
	switch s.from {
	case FromHeader:
		s.name = textproto.CanonicalMIMEHeaderKey(s.name)
	case FromJSON:
		s.path = strings.Split(s.name, ".")
	}
	return s
}

// knownPlaceholder returns the source that a template of one placeholder stands
// for. The replacer joins several values to one.
func knownPlaceholder(template string) (from, name string) {
	if template == "{http.request.host}" {
		return fromHost, ""
	}
	for _, known := range []struct{ prefix, from string }{
		{"{http.request.uri.query.", FromQuery},
		{"{http.request.header.", FromHeader},
		{"{http.request.cookie.", FromCookie},
	} {
		name, ok := strings.CutPrefix(template, known.prefix)
		name, end := strings.CutSuffix(name, "}")
		spec := KeySpec{From: known.from, Name: name}
		if ok && end && !strings.ContainsAny(name, "{}\\") && spec.Validate() == nil {
			return known.from, name
		}
	}
	return FromPlaceholder, template
}

// Key returns the first key that the sources find, or "" if they find none. It
// takes no longer than BodyPeekTimeout.
//
// Where a body has to be looked at, r.Body is replaced by one that gives the
// same bytes and the same error; ContentLength and Trailer stay as they are.
// An error comes only without a key and says why there is none: an
// [*AmbiguousError] if API servers may read different ones; [ErrBodyLate], or
// what reading the body failed with, if it could not be looked at. The request
// can be passed on all the same.
//
// The ResponseWriter is not used and may be nil.
func (e *Extractor) Key(_ http.ResponseWriter, r *http.Request) (string, error) {
	key, _, err := e.Find(r)
	return key, err
}

// Find is Key, and returns the index of the source that has found the key.
func (e *Extractor) Find(r *http.Request) (key string, index int, err error) {
	var peek bodyPeek
	var got reading
	for i := range e.sources {
		s := &e.sources[i]
		if i > 0 {
			got = reading{}
		}
		e.read(&got, s, r, &peek)
		key := got.first
		if got.ambiguous() {
			switch s.spec.Ambiguous {
			case AmbiguousFirst:
			case AmbiguousLast:
				key = got.last
			default:
				return "", i, got.err(s.spec)
			}
		}
		if usableKey(key) {
			return key, i, nil
		}
	}
	if errors.Is(peek.err, errBodyLarge) {
		return "", -1, nil
	}
	return "", -1, peek.err
}

// read notes what a source finds; it need not be usable.
func (e *Extractor) read(f *reading, s *source, r *http.Request, peek *bodyPeek) {
	switch s.from {
	case FromQuery:
		readQuery(f, r.URL.RawQuery, s.name)
	case FromHeader:
		readHeader(f, r, s.name)
	case FromJSON, FromForm:
		e.readBody(f, s, r, peek)
	case FromCookie:
		readCookie(f, r, s.name)
	case FromHostLabel:
		readHostLabel(f, r.Host, s.spec.Index)
	case FromPathSegment:
		readPathSegment(f, r.URL, s.spec.Index)
	case FromBearer:
		readBearer(f, r)
	case FromBasicUser:
		readBasicUser(f, r)
	case FromPlaceholder:
		f.add(e.placeholder(r, s.name))
	case fromHost:
		readHost(f, r.Host)
	}
}
