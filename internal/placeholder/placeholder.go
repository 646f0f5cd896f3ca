// Package placeholder fills Caddy's placeholders into texts that have braces of
// their own, such as JSON and CSS.
package placeholder

import (
	"encoding/json"
	"regexp"
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
