package refusal

import (
	"net/http"
	"strings"

	"github.com/firebreak-proxy/firebreak/internal/accept"
)

// mediaFormat is a way to write a refusal.
type mediaFormat uint8

const (
	formatProblem mediaFormat = iota // application/problem+json, and the default
	formatHTML
	formatText
	formatGRPC
	formats
)

var contentTypes = [formats]string{
	formatProblem: "application/problem+json",
	formatHTML:    "text/html; charset=utf-8",
	formatText:    "text/plain; charset=utf-8",
	formatGRPC:    "application/grpc",
}

// formatFor chooses the format a client wants most. Whoever wants none of
// them, or all the same, gets the default.
func formatFor(header http.Header) mediaFormat {
	if asksGRPC(header) {
		return formatGRPC
	}
	lines := header["Accept"]
	if len(lines) == 0 || len(lines) == 1 && lines[0] == "*/*" {
		return formatProblem
	}
	var best [formats]float64
	for _, line := range lines {
		for part := range strings.SplitSeq(line, ",") {
			name, params, _ := strings.Cut(part, ";")
			rate(&best, strings.ToLower(strings.TrimSpace(name)), accept.Quality(params))
		}
	}
	choice := formatProblem
	for _, format := range []mediaFormat{formatHTML, formatText} {
		if best[format] > best[choice] {
			choice = format
		}
	}
	return choice
}

// asksGRPC reports whether a request is one of gRPC.
func asksGRPC(header http.Header) bool {
	return strings.HasPrefix(header.Get("Content-Type"), "application/grpc")
}

func rate(best *[formats]float64, name string, q float64) {
	switch name {
	case "application/problem+json", "application/json", "application/*", "*/*":
		best[formatProblem] = max(best[formatProblem], q)
	case "text/html", "application/xhtml+xml":
		best[formatHTML] = max(best[formatHTML], q)
	case "text/plain", "text/*":
		best[formatText] = max(best[formatText], q)
	}
}
