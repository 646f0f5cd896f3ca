package routing

import (
	"encoding/base64"
	"net/http"
	"strings"
)

// fieldLines returns the lines of a header field; name is canonical. A field
// that Connection names is for this hop alone: proxies remove it, so an API
// server never sees it.
func fieldLines(r *http.Request, name string) []string {
	lines := r.Header[name]
	if len(lines) == 0 || connectionNames(r.Header["Connection"], name) {
		return nil
	}
	return lines
}

func connectionNames(lines []string, name string) bool {
	for _, line := range lines {
		for line != "" {
			var option string
			option, line, _ = strings.Cut(line, ",")
			if strings.EqualFold(strings.Trim(option, " \t"), name) {
				return true
			}
		}
	}
	return false
}

// headerValue returns the first line of a header field.
func headerValue(r *http.Request, name string) string {
	if lines := fieldLines(r, name); len(lines) > 0 {
		return lines[0]
	}
	return ""
}

func readHeader(f *reading, r *http.Request, name string) {
	if name == "Host" {
		// net/http keeps it out of the header map.
		readHost(f, r.Host)
		return
	}
	for _, line := range fieldLines(r, name) {
		f.add(line)
		if !isASCII(line) {
			f.spoil(doubtEncoding) // UTF-8 for some, Latin-1 for others
		}
	}
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// authorization returns the Authorization line without its scheme, and whether
// it has that scheme.
func authorization(f *reading, r *http.Request, scheme string) (string, bool) {
	lines := fieldLines(r, "Authorization")
	if len(lines) == 0 {
		return "", false
	}
	if len(lines) > 1 {
		f.spoil(doubtAuth) // joined, even equal ones give another token
	}
	line := lines[0]
	if len(line) <= len(scheme) || !strings.EqualFold(line[:len(scheme)], scheme) {
		return line, false
	}
	switch line[len(scheme)] {
	case '\t':
		f.spoil(doubtAuth)
	case ' ':
	default:
		return line, false
	}
	return strings.Trim(line[len(scheme)+1:], " \t"), true
}

func readBearer(f *reading, r *http.Request) {
	token, ok := authorization(f, r, "bearer")
	if ok {
		f.add(token)
		if strings.ContainsAny(token, " \t,") || !isASCII(token) {
			f.spoil(doubtAuth)
		}
		return
	}
	// Many take what follows "Bearer", wherever it stands.
	const scheme = "bearer"
	for i := range max(0, len(token)-len(scheme)) {
		next := token[i+len(scheme)]
		if (next == ' ' || next == '\t') && strings.EqualFold(token[i:i+len(scheme)], scheme) {
			f.spoil(doubtAuth)
		}
	}
}

func readBasicUser(f *reading, r *http.Request) {
	credentials, ok := authorization(f, r, "basic")
	if !ok {
		return
	}
	text, err := base64.StdEncoding.DecodeString(credentials)
	user, _, colon := strings.Cut(string(text), ":")
	f.add(user)
	if err != nil || !colon && user != "" || !isASCII(user) {
		f.spoil(doubtAuth)
	}
}
