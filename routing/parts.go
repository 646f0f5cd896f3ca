package routing

import (
	"net/netip"
	"net/url"
	"strings"
)

// readHost reads a host in lower case, without port, brackets and the root's
// dot.
func readHost(f *reading, host string) {
	name := hostName(host)
	f.add(name)
	if !plainHost(host, name) {
		f.spoil(doubtHost)
	}
}

// readHostLabel reads label n of a host name, counted from 1 from the left. An
// IP address has no labels.
func readHostLabel(f *reading, host string, n int) {
	name := hostName(host)
	if !strings.Contains(name, ":") && !endsInNumber(name) {
		f.add(hostLabel(name, n))
	}
	if !plainHost(host, name) {
		f.spoil(doubtHost)
	}
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

func hostLabel(name string, n int) string {
	for ; n > 1; n-- {
		_, rest, ok := strings.Cut(name, ".")
		if !ok {
			return ""
		}
		name = rest
	}
	label, _, _ := strings.Cut(name, ".")
	return label
}

// endsInNumber reports whether a host is an IPv4 address, or should be one: the
// last label of a name is never a number.
func endsInNumber(host string) bool {
	if host == "" || !isDigit(host[len(host)-1]) {
		return false
	}
	last := host[strings.LastIndexByte(host, '.')+1:]
	return strings.Trim(last, "0123456789") == ""
}

// plainHost reports whether a host, of the given name, is written as names and
// addresses are, with or without a port.
func plainHost(host, name string) bool {
	if !plainLabels(host) {
		return false
	}
	if !endsInNumber(name) {
		return true
	}
	_, err := netip.ParseAddr(name)
	return err == nil
}

// plainLabels reports whether a host has only characters of names and
// addresses, no empty labels, and at most one port.
func plainLabels(host string) bool {
	if strings.HasPrefix(host, "[") {
		end := strings.IndexByte(host, ']')
		if end < 0 || strings.Trim(host[1:end], "0123456789abcdefABCDEF:.") != "" || strings.IndexByte(host[:end], ':') < 0 {
			return false
		}
		return host[end+1:] == "" || host[end+1] == ':' && strings.Trim(host[end+2:], "0123456789") == ""
	}
	before := byte('.')
	for i := range len(host) {
		c := host[i]
		switch {
		case c == '.' && before == '.':
			return false
		case 'a' <= c && c <= 'z' || c == '.' || isDigit(c) || 'A' <= c && c <= 'Z' || c == '-' || c == '_':
		case c == ':':
			return strings.Trim(host[i+1:], "0123456789") == ""
		default:
			return false
		}
		before = c
	}
	return true
}

// readPathSegment reads segment n of the path, counted from 1. Empty segments
// do not count, and an escaped slash is no boundary.
func readPathSegment(f *reading, u *url.URL, n int) {
	if value, ok := plainSegment(u.Path, n); ok && u.RawPath == "" {
		f.add(value)
		return
	}
	f.add(pathSegment(u, n))
	if oddSegments(u.Path, n) || slashEscaped(u.EscapedPath(), n) {
		f.spoil(doubtPath)
	}
}

// plainSegment returns segment n of a path. It reports false if the path has
// something in it that oddSegments has to look at.
func plainSegment(path string, n int) (string, bool) {
	if path == "" || path[0] != '/' {
		return "", false
	}
	before, start, end := byte('/'), 1, len(path)
	for i := 1; i < len(path); i++ {
		c := path[i]
		switch {
		case before == '/' && (c == '/' || c == '.') || c == ';' || c == '\\':
			return "", false
		case c != '/':
		case n > 1:
			n--
			start = i + 1
		case n == 1:
			n--
			end = i
		}
		before = c
	}
	if n > 1 {
		return "", true
	}
	return path[start:end], true
}

func pathSegment(u *url.URL, n int) string {
	if u.RawPath == "" {
		return segment(u.Path, n)
	}
	text, err := url.PathUnescape(segment(u.EscapedPath(), n))
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

// oddSegments reports whether API servers may count the segments of a decoded
// path in different ways: some resolve dot segments and merge slashes, some cut
// a segment at a semicolon, some take a backslash for a slash, and WHATWG's URL
// takes what follows two slashes for a host.
func oddSegments(path string, n int) bool {
	path = strings.TrimPrefix(path, "/")
	for path != "" {
		if c := path[0]; c == '/' && n > 0 {
			return true
		}
		end := strings.IndexByte(path, '/')
		s := path
		if path = ""; end >= 0 {
			s, path = s[:end], s[end+1:]
		}
		if strings.IndexByte(s, '\\') >= 0 {
			return true
		}
		if i := strings.IndexByte(s, ';'); i >= 0 {
			if n > 0 {
				return true
			}
			s = s[:i]
		}
		if s == "." || s == ".." {
			return true
		}
		n--
	}
	return false
}

// slashEscaped reports whether one of the first n segments of an escaped path
// has a slash in it.
func slashEscaped(path string, n int) bool {
	for path != "" && n > 0 {
		var s string
		if s, path, _ = strings.Cut(path, "/"); s == "" {
			continue
		}
		if strings.Contains(s, "%2F") || strings.Contains(s, "%2f") {
			return true
		}
		n--
	}
	return false
}
