package caddymodule

import (
	"net/http"
	"strconv"
	"strings"
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
	if isGRPC(header) {
		return formatGRPC
	}
	accept := header["Accept"]
	if len(accept) == 0 || len(accept) == 1 && accept[0] == "*/*" {
		return formatProblem
	}
	var best [formats]float64
	for _, line := range accept {
		for part := range strings.SplitSeq(line, ",") {
			name, params, _ := strings.Cut(part, ";")
			rate(&best, strings.ToLower(strings.TrimSpace(name)), quality(params))
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

// quality is the q parameter; what cannot be read counts as 1.
func quality(params string) float64 {
	for params != "" {
		var param string
		param, params, _ = strings.Cut(params, ";")
		name, value, _ := strings.Cut(strings.TrimSpace(param), "=")
		if name != "q" && name != "Q" {
			continue
		}
		if q, err := strconv.ParseFloat(value, 64); err == nil && q >= 0 && q <= 1 {
			return q
		}
	}
	return 1
}
