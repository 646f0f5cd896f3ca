// Package shorten cuts texts and lists of unknown length.
package shorten

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

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

// List is a list of names that may be long.
func List(names []string) string {
	const shown = 12
	text := strings.Join(names[:min(len(names), shown)], ", ")
	if more := len(names) - shown; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
