// Package shorten cuts texts of unknown length.
package shorten

import "unicode/utf8"

// To cuts a text to at most n bytes, without breaking a character. What is cut
// ends with an ellipsis.
func To(text string, n int) string {
	if len(text) <= n {
		return text
	}
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n] + "…"
}
