// Package accept reads the Accept header of HTTP.
package accept

import (
	"strconv"
	"strings"
)

// Quality returns the q parameter among the parameters of a media range; one that
// is missing or cannot be read counts as 1.
func Quality(params string) float64 {
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
