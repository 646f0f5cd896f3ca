// Package placeholder fills in Caddy's placeholders, also in texts that have braces
// of their own, such as JSON and CSS.
package placeholder

import (
	"encoding/json"
	"net/http"
	"regexp"

	"github.com/caddyserver/caddy/v2"
)

// Pattern matches {http.firebreak.zone} and the like, but not the braces of JSON
// and CSS.
var Pattern = regexp.MustCompile(`\{[a-z][a-zA-Z0-9_]*(?:\.[a-zA-Z0-9_-]+)+\}`)

// QuoteJSON returns s as a JSON string.
func QuoteJSON(s string) []byte {
	quoted, err := json.Marshal(s)
	if err != nil {
		return []byte(`""`)
	}
	return quoted
}

// EscapeJSON returns s as it stands between the quotes of a JSON string.
func EscapeJSON(s string) string {
	quoted := QuoteJSON(s)
	return string(quoted[1 : len(quoted)-1])
}

// Fill replaces the placeholders of a template by what they stand for in a
// request.
func Fill(r *http.Request, template string) string {
	repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return ""
	}
	return repl.ReplaceAll(template, "")
}
