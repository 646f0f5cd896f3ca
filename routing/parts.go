package routing

import (
	"net/http"
	"net/url"
	"strings"
)

// headerValue returns the first value of a header; name is canonical.
func headerValue(r *http.Request, name string) string {
	if name == "Host" {
		// net/http keeps it out of the header map.
		return hostName(r.Host)
	}
	if values := r.Header[name]; len(values) > 0 {
		return values[0]
	}
	return ""
}

func cookieValue(r *http.Request, name string) string {
	if len(r.Header["Cookie"]) == 0 {
		return ""
	}
	cookie, err := r.Cookie(name)
	if err != nil {
		return ""
	}
	return cookie.Value
}

// hostName returns a host in lower case, without port, brackets and the root's
// dot.
func hostName(host string) string {
	if strings.HasPrefix(host, "[") {
		host, _, _ = strings.Cut(host[1:], "]")
		return strings.ToLower(host)
	}
	if i := strings.IndexByte(host, ':'); i >= 0 && i == strings.LastIndexByte(host, ':') {
		host = host[:i]
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

// hostLabel returns label n of a host name, counted from 1 from the left. An
// IP address has no labels.
func hostLabel(host string, n int) string {
	host = hostName(host)
	if strings.Contains(host, ":") || isIPv4(host) {
		return ""
	}
	for ; n > 1; n-- {
		_, rest, ok := strings.Cut(host, ".")
		if !ok {
			return ""
		}
		host = rest
	}
	label, _, _ := strings.Cut(host, ".")
	return label
}

// isIPv4 tells by the last label: that of a name is never a number.
func isIPv4(host string) bool {
	last := host[strings.LastIndexByte(host, '.')+1:]
	return strings.Trim(last, "0123456789") == ""
}

// pathSegment returns segment n of the path, counted from 1. Empty segments do
// not count, since API servers take // for /. An escaped slash is no boundary.
func pathSegment(u *url.URL, n int) string {
	if u.RawPath == "" {
		return segment(u.Path, n)
	}
	raw := segment(u.EscapedPath(), n)
	text, err := url.PathUnescape(raw)
	if err != nil {
		return ""
	}
	return text
}

func segment(path string, n int) string {
	for path != "" {
		var s string
		s, path, _ = strings.Cut(path, "/")
		if s == "" {
			continue
		}
		if n--; n == 0 {
			return s
		}
	}
	return ""
}

func bearerToken(r *http.Request) string {
	const scheme = "bearer "
	auth := headerValue(r, "Authorization")
	if len(auth) < len(scheme) || !strings.EqualFold(auth[:len(scheme)], scheme) {
		return ""
	}
	return strings.Trim(auth[len(scheme):], " ")
}

func basicUser(r *http.Request) string {
	user, _, _ := r.BasicAuth()
	return user
}
