package stale

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/pquerna/cachecontrol/cacheobject"
)

// keepable reports whether an HTTP cache that many clients share may keep an answer
// and give it again, and until when, counted from the moment it came.
func (q *Request) keepable(status int, h http.Header) (life time.Duration, ok bool) {
	if status != http.StatusOK || unkeepable(h) {
		return 0, false
	}
	d, err := cacheobject.ParseResponseCacheControl(strings.Join(h["Cache-Control"], ","))
	if err != nil || d.NoStore || d.PrivatePresent || d.NoCachePresent {
		return 0, false
	}
	if strings.Contains(strings.ToLower(q.get("Cache-Control")), "no-store") {
		return 0, false
	}
	if q.get("Authorization") != "" && !d.Public && !q.keeper.policy.authorization {
		return 0, false
	}
	life = q.keeper.lifetime(d, age(h))
	return life, life > 0
}

// unkeepable reports whether an answer is for one client, of no known end, a stream,
// or a refusal.
func unkeepable(h http.Header) bool {
	for _, name := range [...]string{"Set-Cookie", "Firebreak-Refusal", "Content-Range", "Trailer", "Www-Authenticate", "Refresh"} {
		if len(h[name]) > 0 {
			return true
		}
	}
	for _, value := range h["Vary"] {
		if strings.Contains(value, "*") {
			return true
		}
	}
	if strings.Contains(strings.ToLower(strings.Join(h["Pragma"], ",")), "no-cache") {
		return true
	}
	if len(h["Content-Type"]) == 0 {
		return false
	}
	kind := h["Content-Type"][0]
	return strings.HasPrefix(kind, "text/event-stream") || strings.HasPrefix(kind, "application/grpc") || strings.HasPrefix(kind, "multipart/x-mixed-replace")
}

// lifetime is for how long an answer may be given: as long as it is fresh, and then
// for as long as it may stand in for an error. The API server's word comes before the
// operator's. An answer that must not be given stale may be while it is fresh
// (RFC 9111, section 4.2.4).
func (k *Keeper) lifetime(d *cacheobject.ResponseCacheDirectives, age time.Duration) time.Duration {
	fresh := max(seconds(d.MaxAge)-age, 0)
	if d.SMaxAge >= 0 {
		fresh = max(seconds(d.SMaxAge)-age, 0)
	}
	switch {
	case d.MustRevalidate || d.ProxyRevalidate || d.SMaxAge >= 0:
		if d.StaleIfError < 0 && k.policy.staleFor == 0 {
			return 0
		}
		return fresh
	case d.StaleIfError == 0:
		return 0
	case d.StaleIfError > 0:
		return fresh + seconds(d.StaleIfError)
	}
	return max(k.policy.staleFor-age, 0)
}

func seconds(d cacheobject.DeltaSeconds) time.Duration {
	return time.Duration(max(d, 0)) * time.Second
}

// age is how old an answer was when it came, from the caches before it.
func age(h http.Header) time.Duration {
	if len(h["Age"]) == 0 {
		return 0
	}
	n, err := strconv.ParseUint(strings.TrimSpace(h["Age"][0]), 10, 31)
	if err != nil {
		return 0
	}
	return time.Duration(n) * time.Second
}

// obsoletes reports whether a status means that what was kept of the same URL for the
// same client is no longer the answer.
func obsoletes(status int) bool {
	switch status {
	case http.StatusNotModified, http.StatusPartialContent, http.StatusRequestTimeout, http.StatusTooManyRequests,
		http.StatusPreconditionFailed, http.StatusRequestedRangeNotSatisfiable, 499:
		return false
	}
	return status >= 200 && status < 500
}

// vary is a request field that an answer depends on, and the value it was made for.
type vary struct{ name, value string }

// varies are the fields that an answer depends on beside those of the identity.
func (q *Request) varies(h http.Header) (list []vary) {
	names := strings.Join(h["Vary"], ",")
	if len(h["Content-Encoding"]) > 0 {
		names += ",Accept-Encoding"
	}
	for name := range strings.SplitSeq(names, ",") {
		name = http.CanonicalHeaderKey(strings.TrimSpace(name))
		if name == "" || q.isPrivate(name) || q.keeper.policy.headers[name] || name == "Accept-Encoding" {
			continue
		}
		list = append(list, vary{strings.Clone(name), strings.Clone(q.get(name))})
	}
	return list
}

// fits reports whether an answer is for a request, as far as Vary is concerned.
func (e *entry) fits(q *Request) bool {
	for _, v := range e.vary {
		if q.get(v.name) != v.value {
			return false
		}
	}
	return e.coding == "" || accepts(q.get("Accept-Encoding"), e.coding)
}

// accepts reports whether a request takes a content coding.
func accepts(field, coding string) bool {
	for part := range strings.SplitSeq(field, ",") {
		name, weight, _ := strings.Cut(part, ";")
		if !strings.EqualFold(strings.TrimSpace(name), coding) {
			continue
		}
		q, found := strings.CutPrefix(strings.TrimSpace(weight), "q=")
		if !found {
			return weight == ""
		}
		value, err := strconv.ParseFloat(q, 64)
		return err == nil && value > 0
	}
	return false
}
