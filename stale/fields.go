package stale

import (
	"net/http"
	"strings"
)

// first is the first value of a canonical header name.
func first(h http.Header, name string) string {
	if values := h[name]; len(values) > 0 {
		return values[0]
	}
	return ""
}

// keptFields are the header fields that are kept of an answer, names and values in
// turn, in memory of their own.
func keptFields(h, shared http.Header) []string {
	var size, n int
	each(h, shared, func(name, value string) { size, n = size+len(name)+len(value), n+2 })
	var text strings.Builder
	text.Grow(size)
	lengths := make([]int, 0, n)
	each(h, shared, func(name, value string) {
		text.WriteString(name)
		text.WriteString(value)
		lengths = append(lengths, len(name), len(value))
	})
	all := text.String()
	fields := make([]string, n)
	for i, length := range lengths {
		fields[i], all = all[:length], all[length:]
	}
	return fields
}

// each calls do with all fields that belong to the answer itself, neither to a
// connection nor to the server that gives it.
func each(h, shared http.Header, do func(name, value string)) {
	connection := strings.Join(h["Connection"], ",")
	for name, values := range h {
		if len(values) == 0 || ofConnection(name) || same(values, shared[name]) || listed(connection, name) {
			continue
		}
		for _, value := range values {
			do(name, value)
		}
	}
}

func ofConnection(name string) bool {
	switch name {
	case "Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authentication-Info", "Proxy-Connection", "Te",
		"Transfer-Encoding", "Upgrade", "Trailer", "Content-Length", "Age", "Cache-Status", "Alt-Svc":
		return true
	}
	return strings.HasPrefix(name, http.TrailerPrefix)
}

func listed(connection, name string) bool {
	for one := range strings.SplitSeq(connection, ",") {
		if strings.EqualFold(strings.TrimSpace(one), name) {
			return true
		}
	}
	return false
}

// same reports whether two lists of values are one.
func same(a, b []string) bool { return len(a) == len(b) && len(a) > 0 && &a[0] == &b[0] }
