package stale

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Answer is what a memory has for a request.
type Answer struct {
	entry   *entry
	request *Request
	now     time.Time
}

// Age is how long ago the answer was made.
func (a *Answer) Age() time.Duration { return a.entry.age + max(a.now.Sub(a.entry.came), 0) }

// WriteTo writes the answer to a client. detail is why it gets this one.
func (a *Answer) WriteTo(w http.ResponseWriter, detail string) {
	e, h := a.entry, w.Header()
	for i := 0; i < len(e.fields); i += 2 {
		name, value := e.fields[i], e.fields[i+1]
		if i >= 2 && e.fields[i-2] == name {
			h[name] = append(h[name], value)
		} else {
			h[name] = []string{value}
		}
	}
	h["Age"] = []string{strconv.FormatInt(int64(a.Age()/time.Second), 10)}
	h["Cache-Status"] = append(h["Cache-Status"], "firebreak; hit; fwd=stale; detail="+detail)
	h["Firebreak-Refusal"] = []string{detail}
	if a.unchanged() {
		delete(h, "Content-Type")
		delete(h, "Content-Encoding")
		w.WriteHeader(http.StatusNotModified)
		return
	}
	if a.request.method != http.MethodHead || len(e.body) > 0 {
		h["Content-Length"] = []string{strconv.Itoa(len(e.body))}
	}
	w.WriteHeader(http.StatusOK)
	if a.request.method != http.MethodHead {
		_, _ = w.Write(e.body) // a client that left needs no answer
	}
}

// unchanged reports whether the client has this answer already (RFC 9110, section
// 13.2.2).
func (a *Answer) unchanged() bool {
	if tags := a.request.get("If-None-Match"); tags != "" {
		return tags == "*" || matches(tags, a.entry.etag)
	}
	since, err := http.ParseTime(a.request.get("If-Modified-Since"))
	if err != nil {
		return false
	}
	modified, err := http.ParseTime(a.field("Last-Modified"))
	return err == nil && !modified.After(since)
}

func (a *Answer) field(name string) string {
	for i := 0; i < len(a.entry.fields); i += 2 {
		if a.entry.fields[i] == name {
			return a.entry.fields[i+1]
		}
	}
	return ""
}

// matches reports whether a list of entity tags has one, by weak comparison. A tag
// may contain commas.
func matches(tags, etag string) bool {
	etag = strings.TrimPrefix(etag, "W/")
	if etag == "" {
		return false
	}
	for tags != "" {
		tags = strings.TrimPrefix(strings.TrimLeft(tags, " \t,"), "W/")
		if !strings.HasPrefix(tags, `"`) {
			return false
		}
		end := strings.IndexByte(tags[1:], '"')
		if end < 0 {
			return false
		}
		if tags[:end+2] == etag {
			return true
		}
		tags = tags[end+2:]
	}
	return false
}
