package stale

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"hash/maphash"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Request is one request as it was when it came: handlers that come later may
// change the URL and the header fields. The zero value is ready for Ask; its room is
// used again.
type Request struct {
	zone, store string
	method      string
	host        string
	path        string
	rawPath     string // as it was written, if it could be read in two ways
	query       string
	tls         bool
	peer        *x509.Certificate // the client's, verified; nil: none
	fields      []field           // those of several values are there several times

	keeper *Keeper
	shard  *shard
	epoch  uint64 // of the shard, when the request came
	hash   uint64 // of what distinguishes requests in practice; decides only about copies
	at     time.Time
	plain  bool // an answer to it may be kept, and given
	copies bool // its answer is to be copied
}

// field is one value of a header field.
type field struct{ name, value string }

// Reset makes a request ready to be used again.
func (q *Request) Reset() { q.keeper, q.peer, q.copies, q.plain = nil, nil, false, false }

// harmless are the header fields of requests that do not say who asks. What answers
// depend on all the same is what Vary is for. All others are part of the key.
func harmless(name string) bool {
	switch name {
	case "Accept", "Accept-Charset", "Accept-Encoding", "Accept-Language", "User-Agent", "Referer",
		"Connection", "Keep-Alive", "Proxy-Connection", "Te", "Upgrade-Insecure-Requests", "Priority",
		"Cache-Control", "Pragma", "If-None-Match", "If-Modified-Since", "Content-Length", "Date",
		"Dnt", "Sec-Gpc", "Sec-Purpose", "Sec-Fetch-Dest", "Sec-Fetch-Mode", "Sec-Fetch-Site", "Sec-Fetch-User",
		"Sec-Ch-Ua", "Sec-Ch-Ua-Mobile", "Sec-Ch-Ua-Platform", "Sec-Ch-Ua-Arch", "Sec-Ch-Ua-Model",
		"X-Forwarded-For", "X-Real-Ip", "X-Client-Ip", "True-Client-Ip", "Cf-Connecting-Ip", "Cf-Ray",
		"Traceparent", "Tracestate", "Baggage", "X-Request-Id", "X-Correlation-Id", "X-Amzn-Trace-Id",
		"X-Cloud-Trace-Context", "X-B3-Traceid", "X-B3-Spanid", "X-B3-Parentspanid", "X-B3-Sampled", "B3",
		"Uber-Trace-Id", "Sentry-Trace", "Firebreak-Deadline-Ms":
		return true
	}
	return false
}

// take makes q a copy of what the key is made of.
func (q *Request) take(r *http.Request, zone, store string) {
	q.zone, q.store, q.method = zone, store, r.Method
	q.host, q.path, q.rawPath, q.query, q.tls = r.Host, r.URL.Path, r.URL.RawPath, r.URL.RawQuery, r.TLS != nil
	q.fields, q.copies, q.peer = q.fields[:0], false, nil
	hash := maphash.String(q.keeper.memory.seed, store)
	q.shard = &q.keeper.memory.shards[hash%shardCount]
	q.plain = (r.Method == http.MethodGet || r.Method == http.MethodHead) && r.ContentLength == 0
	if !q.plain {
		return
	}
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		q.peer = r.TLS.PeerCertificates[0]
	}
	q.hash = hash
	fields := q.fields
	for name, values := range r.Header {
		for _, value := range values {
			fields = append(fields, field{name, value})
			switch name {
			case "Range", "If-Range", "If-Match", "If-Unmodified-Since", "Upgrade", "Transfer-Encoding", "Expect":
				q.plain = false
			case "Cookie", "Authorization":
				q.mix(value)
			case "Accept-Encoding", "Accept-Language":
				q.hash += uint64(len(value)) << 40 // fields come in any order
			}
		}
	}
	q.fields = fields
}

// mix makes the quick hash depend on a text.
func (q *Request) mix(text string) { q.hash += maphash.String(q.keeper.memory.seed, text) }

// finish makes the quick hash depend on the URL, and on the latest purge: what was
// seen before it does not count.
func (q *Request) finish() {
	q.mix(q.path)
	q.hash = q.hash*0x9e3779b97f4a7c15 ^ q.epoch
	if q.query != "" {
		q.mix(q.query)
	}
	q.hash += uint64(len(q.host))<<8 + uint64(len(q.method))
	q.hash *= 0x9e3779b97f4a7c15
	q.hash ^= q.hash >> 29
}

// get is a header field of the request, "" if there is none.
func (q *Request) get(name string) string {
	found, several := "", false
	for i := range q.fields {
		switch f := &q.fields[i]; {
		case f.name != name:
		case several:
			found += ", " + f.value
		default:
			found, several = f.value, true
		}
	}
	return found
}

// identity is what an answer and the requests that it is given to have in common.
type identity [sha256.Size]byte

// identify works out the identity of a request, as one of another method if need be.
func (q *Request) identify(method string) (id identity) {
	k := q.keeper
	var room [1024]byte
	buf := append(room[:0], k.memory.key[:]...)
	text := func(s string) {
		buf = binary.AppendUvarint(buf, uint64(len(s)))
		buf = append(buf, s...)
	}
	text(q.zone)
	text(q.store)
	text(k.site)
	text(method)
	scheme := "http"
	if q.tls {
		scheme = "https"
	}
	text(scheme)
	text(strings.ToLower(q.host))
	text(q.path)
	text(q.rawPath)
	text(canonicalQuery(q.query))
	if q.peer != nil {
		text(string(q.peer.Raw))
	} else {
		text("")
	}
	for _, f := range q.private() {
		text(f.name)
		text(f.value)
	}
	return sha256.Sum256(buf)
}

// private are the fields that may say who asks: by name, in order of their values.
func (q *Request) private() []field {
	list := make([]field, 0, len(q.fields))
	var cookies []string
	for _, f := range q.fields {
		switch {
		case !q.isPrivate(f.name):
		case f.name == "Cookie":
			cookies = append(cookies, f.value) // as if they were one, as HTTP/2 says
		default:
			list = append(list, f)
		}
	}
	if kept := q.keeper.policy.withoutIgnored(strings.Join(cookies, "; ")); kept != "" {
		list = append(list, field{"Cookie", kept})
	}
	slices.SortStableFunc(list, func(a, b field) int { return strings.Compare(a.name, b.name) })
	return list
}

// isPrivate reports whether a field is part of the identity.
func (q *Request) isPrivate(name string) bool {
	return !harmless(name) && !q.keeper.policy.headers[name]
}

// resource is the URL of a request, whoever asks. It finds what a change of it makes
// obsolete.
func (q *Request) resource() uint64 {
	var h maphash.Hash
	h.SetSeed(q.keeper.memory.seed)
	for _, part := range []string{q.zone, q.store, q.keeper.site, strings.ToLower(q.host), q.path, q.rawPath, canonicalQuery(q.query)} {
		_, _ = h.WriteString(part)
		_ = h.WriteByte(0)
	}
	return h.Sum64()
}

// canonicalQuery sorts the parameters of a query by name. Those of the same name stay
// in order. Where names are written with escapes, it is left as it is: servers differ
// in what they make of those.
func canonicalQuery(query string) string {
	if !strings.Contains(query, "&") {
		return query
	}
	pairs := strings.Split(query, "&")
	name := func(pair string) string {
		name, _, _ := strings.Cut(pair, "=")
		return name
	}
	if strings.Contains(query, ";") || slices.ContainsFunc(pairs, func(pair string) bool { return strings.ContainsAny(name(pair), "%+[].") }) {
		return query
	}
	byName := func(a, b string) int { return strings.Compare(name(a), name(b)) }
	if slices.IsSortedFunc(pairs, byName) {
		return query
	}
	slices.SortStableFunc(pairs, byName)
	return strings.Join(pairs, "&")
}
