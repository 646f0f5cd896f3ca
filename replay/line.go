package replay

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/config"
)

// line is what is read of a line of Caddy's access log.
type line struct {
	TS          json.RawMessage `json:"ts"`
	Duration    json.RawMessage `json:"duration"`
	Status      *int            `json:"status"`
	Size        int64           `json:"size"`
	Request     json.RawMessage `json:"request"`
	RespHeaders json.RawMessage `json:"resp_headers"`

	Store   string `json:"firebreak_store"`
	Zone    string `json:"firebreak_zone"`
	Outcome string `json:"firebreak_outcome"`
	Refusal string `json:"firebreak_refusal"`
	Bypass  bool   `json:"firebreak_bypass"`
}

// loggedRequest is the request of a line.
type loggedRequest struct {
	Method  string      `json:"method"`
	Host    string      `json:"host"`
	URI     string      `json:"uri"`
	Headers http.Header `json:"headers"`
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
	if err := json.Unmarshal(text, &l); err != nil {
		return p.bad(fmt.Errorf("it is no JSON object of an access log: %w", err))
	}
	if l.Status == nil && l.Duration == nil {
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
	ended, err := readTime(l.TS)
	if err != nil {
		return p.bad(err)
	}
	took, err := readDuration(l.Duration)
	if err != nil {
		return p.bad(err)
	}
	if l.Status == nil || *l.Status < 0 || *l.Status > 999 {
		return p.bad(errors.New(`"status" is no HTTP status`))
	}
	if ended-took < 0 {
		return p.bad(errors.New("it began before 1970"))
	}
	status := *l.Status
	p.request = Request{Begin: ended - took, Took: took, Worker: took, Line: p.number, Status: uint16(status)}
	switch {
	case l.Bypass:
		p.kind = kindBypassed
		return p
	case status == http.StatusSwitchingProtocols || bytes.Contains(l.RespHeaders, []byte("text/event-stream")):
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
	if l.Store != "" && l.Zone != "" {
		return Store{Zone: l.Zone, Name: l.Store}, nil
	}
	if resolve == nil {
		return Store{}, errors.New("it has no firebreak_store and firebreak_zone, and no configuration says where else to find them")
	}
	var logged loggedRequest
	if err := json.Unmarshal(l.Request, &logged); err != nil {
		return Store{}, fmt.Errorf(`"request" cannot be read: %w`, err)
	}
	r, err := http.NewRequest(logged.Method, "http://placeholder"+logged.URI, http.NoBody)
	if err != nil || !strings.HasPrefix(logged.URI, "/") {
		return Store{}, fmt.Errorf("the request's method %q or URI %q cannot be read", logged.Method, logged.URI)
	}
	r.Host, r.RequestURI = logged.Host, logged.URI
	for name, values := range logged.Headers {
		r.Header[http.CanonicalHeaderKey(name)] = values
	}
	return resolve(r)
}

// flags says what else the line tells. An answer of the proxy itself, 502 or
// 504, has neither a body nor a type.
func (l *line) flags(status int, took int64) (f flags) {
	own := l.Size == 0 && !bytes.Contains(l.RespHeaders, []byte("Content-Type"))
	switch {
	case l.Outcome == breaker.Hung.String() || l.Outcome == breaker.GoneLate.String() || l.Outcome == breaker.Gone.String():
		return unanswered
	case l.Outcome == breaker.NoUpstream.String():
		return noUpstream
	case l.Outcome == breaker.Broken.String():
		return brokenOff
	case l.Outcome == "" && l.Refusal != "":
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
	// statusClientGone is what Caddy logs if the client left.
	statusClientGone = 499

	// dialFails is how fast a 502 of the proxy is, if nobody listens.
	dialFails = 50 * time.Millisecond
)

var (
	errTime     = errors.New(`"ts" is no time: a number of seconds since 1970 or an RFC 3339 text`)
	errDuration = errors.New(`"duration" is no time span: a number of seconds or a text like "12.5ms"`)
)

// timeFormats are those of Caddy's encoders, beside numbers.
var timeFormats = []string{time.RFC3339Nano, "2006-01-02T15:04:05.000Z0700", "2006/01/02 15:04:05.000", "2006/01/02 15:04:05"}

// readTime reads any of Caddy's time formats, in nanoseconds.
func readTime(raw json.RawMessage) (int64, error) {
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
func readDuration(raw json.RawMessage) (int64, error) {
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

func unquote(raw json.RawMessage) (string, bool) {
	if len(raw) < 2 || raw[0] != '"' {
		return "", false
	}
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		return "", false
	}
	return text, true
}
