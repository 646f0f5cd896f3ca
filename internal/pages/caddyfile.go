package pages

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// What stands around a part of a Caddyfile. %s is the part.
var wraps = map[string]string{
	"global":    "{\n%s\n}\n",
	"app":       "{\n\tfirebreak {\n\t\tworkers 32\n%s\n\t}\n}\n",
	"zone":      "{\n\tfirebreak {\n\t\tworkers 32\n\t\tzone * {\n%s\n\t\t}\n\t}\n}\n",
	"store":     "{\n\tfirebreak {\n\t\tworkers 32\n\t\tstore {\n%s\n\t\t}\n\t}\n}\n",
	"site":      withApp + ":8080 {\n%s\n}\n",
	"handler":   withApp + ":8080 {\n\tfirebreak {\n%s\n\t}\n\treverse_proxy localhost:9000\n}\n",
	"transport": withApp + ":8080 {\n\tfirebreak {\n\t\tkey query key\n\t}\n\treverse_proxy localhost:9000 {\n%s\n\t}\n}\n",
}

const withApp = "{\n\tfirebreak {\n\t\tworkers 32\n\t\tdirectory hash z1 z2 z3\n\t}\n}\n\n"

// alternatives are the kinds of parts in which every line at the margin is a
// configuration of its own: "directory file stores.csv", "directory hash z1".
const alternatives = "each"

func parts() []string { return slices.Sorted(maps.Keys(wraps)) }

// Caddyfile is the whole Caddyfiles that a block stands for: the block itself,
// or, if a second word says which part it is, that part with what belongs
// around it. With the third word "each", every statement at the margin is one of
// several choices, and makes a Caddyfile of its own.
func (b *Block) Caddyfile() ([]string, error) {
	if len(b.Words) == 0 {
		return []string{b.Text}, nil
	}
	wrap, ok := wraps[b.Words[0]]
	if !ok || len(b.Words) > 2 || len(b.Words) == 2 && b.Words[1] != alternatives {
		return nil, fmt.Errorf("%s:%d: no test knows the part %q of a Caddyfile: write ```caddyfile alone for a whole one, or ```caddyfile followed by one of %s (and by %q if its statements are alternatives)",
			b.Page, b.Line, strings.Join(b.Words, " "), strings.Join(parts(), ", "), alternatives)
	}
	if len(b.Words) == 1 {
		return []string{fmt.Sprintf(wrap, b.Text)}, nil
	}
	var whole []string
	for _, statement := range statements(b.Text) {
		whole = append(whole, fmt.Sprintf(wrap, statement))
	}
	return whole, nil
}

// statements are the lines at the margin, each with the block behind it.
func statements(text string) (all []string) {
	for line := range strings.Lines(text) {
		switch {
		case strings.TrimSpace(line) == "" || strings.HasPrefix(line, "#"):
		case len(all) > 0 && strings.ContainsAny(line[:1], " \t}"):
			all[len(all)-1] += line
		default:
			all = append(all, line)
		}
	}
	return all
}
