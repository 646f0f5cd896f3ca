package replay

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/config"
)

// line is what is read of a line of Caddy's access log, as it is written there.
type line struct {
	ts, duration, status, size            []byte
	request, respHeaders                  []byte
	store, zone, outcome, refusal, bypass []byte
}

// scan reads a line, and says whether it is a JSON object.
func (l *line) scan(text []byte) bool {
	return scanFields(text, func(name, value []byte) {
		switch string(name) {
		case "ts":
			l.ts = value
		case "duration":
			l.duration = value
		case "status":
			l.status = value
		case "size":
			l.size = value
		case "request":
			l.request = value
		case "resp_headers":
			l.respHeaders = value
		case "firebreak_store":
			l.store = value
		case "firebreak_zone":
			l.zone = value
		case "firebreak_outcome":
			l.outcome = value
		case "firebreak_refusal":
			l.refusal = value
		case "firebreak_bypass":
			l.bypass = value
		}
	})
}

// parsed is a line made ready.
type parsed struct {
	number  uint32
	request Request // without its store
	store   Store
	kind    kind
	err     error
}

type kind uint8

const (
	kindRequest kind = iota
	kindEmpty
	kindOther
	kindStream
	kindBypassed
	kindBad
)

// Resolve tells the store and the zone of a request whose line does not say so.
type Resolve func(*http.Request) (Store, error)

// parse reads one line.
func parse(text []byte, number int, resolve Resolve) parsed {
	p := parsed{number: uint32(number)}
	text = bytes.TrimSpace(text)
	if len(text) == 0 {
		p.kind = kindEmpty
		return p
	}
	var l line
	if !l.scan(text) {
		return p.bad(errors.New("it is no JSON object"))
	}
	if l.status == nil && l.duration == nil {
		p.kind = kindOther
		return p
	}
	return p.read(&l, resolve)
}

func (p parsed) bad(err error) parsed {
	p.kind, p.err = kindBad, err
	return p
}

func (p parsed) read(l *line, resolve Resolve) parsed {
	ended, err := readTime(l.ts)
	if err != nil {
		return p.bad(err)
	}
	took, err := readDuration(l.duration)
	if err != nil {
		return p.bad(err)
	}
	status, err := strconv.Atoi(string(l.status))
	if err != nil || status < 0 || status > 999 {
		return p.bad(errors.New(`"status" is no HTTP status`))
	}
	if ended-took < 0 {
		return p.bad(errors.New("it began before 1970"))
	}
	p.request = Request{Begin: ended - took, Took: took, Worker: took, Line: p.number, Status: uint16(status)}
	switch {
	case string(l.bypass) == "true":
		p.kind = kindBypassed
		return p
	case status == http.StatusSwitchingProtocols || bytes.Contains(l.respHeaders, []byte("text/event-stream")):
		p.kind = kindStream
		return p
	}
	if p.store, err = l.whose(resolve); err != nil {
		return p.bad(err)
	}
	p.request.flags = l.flags(status, took)
	return p
}

// whose is the line's store.
func (l *line) whose(resolve Resolve) (Store, error) {
	store, _ := unquote(l.store)
	zone, _ := unquote(l.zone)
	if store != "" && zone != "" {
		return Store{Zone: zone, Name: store}, nil
	}
	if resolve == nil {
		return Store{}, errors.New("it has no firebreak_store and firebreak_zone, and no configuration says where else to find them")
	}
	r, err := readRequest(l.request)
	if err != nil {
		return Store{}, err
	}
	return resolve(r)
}

// readRequest makes a request of what is logged of it.
func readRequest(raw []byte) (*http.Request, error) {
	r := &http.Request{Header: make(http.Header, 8), Body: http.NoBody, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}
	ok := scanFields(raw, func(name, value []byte) {
		switch string(name) {
		case "method":
			r.Method, _ = unquote(value)
		case "host":
			r.Host, _ = unquote(value)
		case "uri":
			r.RequestURI, _ = unquote(value)
		case "headers":
			scanFields(value, func(name, value []byte) {
				if values := readList(value); len(values) > 0 {
					r.Header[http.CanonicalHeaderKey(string(name))] = values
				}
			})
		}
	})
	if !ok {
		return nil, errors.New(`"request" cannot be read`)
	}
	var err error
	if r.URL, err = url.ParseRequestURI(r.RequestURI); err != nil {
		return nil, fmt.Errorf("the request's URI %q cannot be read", r.RequestURI)
	}
	return r, nil
}

// readList reads a JSON list of strings; most have one.
func readList(raw []byte) (values []string) {
	if len(raw) > 2 {
		if value, ok := unquote(raw[1 : len(raw)-1]); ok {
			return []string{value}
		}
	}
	if err := json.Unmarshal(raw, &values); err != nil {
		return nil
	}
	return values
}

// flags says what else the line tells. An answer of the proxy itself, 502 or
// 504, has neither a body nor a type.
func (l *line) flags(status int, took int64) (f flags) {
	outcome, _ := unquote(l.outcome)
	refusal, _ := unquote(l.refusal)
	own := (len(l.size) == 0 || string(l.size) == "0") && !bytes.Contains(l.respHeaders, []byte("Content-Type"))
	switch {
	case outcome == breaker.Hung.String() || outcome == breaker.GoneLate.String() || outcome == breaker.Gone.String():
		return unanswered
	case outcome == breaker.NoUpstream.String():
		return noUpstream
	case outcome == breaker.Broken.String():
		return brokenOff
	case outcome == outcomeStale && refusal == "hung": // answered from memory at its deadline
		return unanswered
	case (outcome == "" || outcome == outcomeStale) && refusal != "":
		return refusedByUs
	case status == 0 || status == statusClientGone:
		return unanswered
	case own && status == http.StatusGatewayTimeout:
		return unanswered
	case own && status == http.StatusBadGateway && time.Duration(took) < dialFails:
		return noUpstream
	case own && status == http.StatusBadGateway:
		return brokenOff
	}
	return 0
}

const (
	// outcomeStale is the outcome of a request that was answered from memory.
	outcomeStale = "stale"

	// statusClientGone is what Caddy logs if the client left.
	statusClientGone = 499

	// dialFails is how fast a 502 of the proxy is, if no process listens.
	dialFails = 50 * time.Millisecond
)

var (
	errTime     = errors.New(`"ts" is no time: a number of seconds since 1970 or an RFC 3339 text`)
	errDuration = errors.New(`"duration" is no time span: a number of seconds or a text like "12.5ms"`)
)

// timeFormats are those of Caddy's encoders, beside numbers.
var timeFormats = []string{time.RFC3339Nano, "2006-01-02T15:04:05.000Z0700", "2006/01/02 15:04:05.000", "2006/01/02 15:04:05"}

// readTime reads any of Caddy's time formats, in nanoseconds.
func readTime(raw []byte) (int64, error) {
	if text, ok := unquote(raw); ok {
		for _, format := range timeFormats {
			if t, err := time.Parse(format, text); err == nil && t.Year() >= 1970 && t.Year() < maxYear {
				return t.UnixNano(), nil
			}
		}
		return 0, errTime
	}
	// Seconds, milliseconds or nanoseconds: told by their size.
	n, err := strconv.ParseFloat(string(raw), 64)
	if err != nil {
		return 0, errTime
	}
	unit := float64(time.Second)
	switch {
	case n >= 1e17:
		unit = 1
	case n >= 1e11:
		unit = float64(time.Millisecond)
	}
	if ns := n * unit; n >= 0 && ns < maxTime {
		return int64(ns), nil
	}
	return 0, errTime
}

const (
	maxYear = 2200
	maxTime = float64((maxYear - 1970) * 365 * 24 * int64(time.Hour))
)

// readDuration reads any of Caddy's formats of time spans, in nanoseconds.
func readDuration(raw []byte) (int64, error) {
	if text, ok := unquote(raw); ok {
		d, err := config.ParseDuration(text)
		if err != nil || d < 0 || time.Duration(d) > maxDuration {
			return 0, errDuration
		}
		return int64(d), nil
	}
	n, err := strconv.ParseFloat(string(raw), 64)
	if err != nil || !(n >= 0) {
		return 0, errDuration
	}
	if n < maxDuration.Seconds() {
		return int64(n * float64(time.Second)), nil
	}
	return 0, errDuration
}

// maxDuration is longer than any request.
const maxDuration = 30 * 24 * time.Hour

// unquote reads a JSON string.
func unquote(raw []byte) (string, bool) {
	if len(raw) < 2 || raw[0] != '"' {
		return "", false
	}
	if inner := raw[1 : len(raw)-1]; bytes.IndexByte(inner, '\\') < 0 && bytes.IndexByte(inner, '"') < 0 && utf8.Valid(inner) {
		return string(inner), true
	}
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		return "", false
	}
	return text, true
}
