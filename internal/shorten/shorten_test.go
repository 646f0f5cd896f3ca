package shorten_test

import (
	"strings"
	"testing"

	"github.com/firebreak-proxy/firebreak/internal/shorten"
)

func TestTo(t *testing.T) {
	for text, want := range map[string]string{"short": "short", "äöüß": "äö…", "12345678": "12345…", "\xff\xff\xff\xff\xff\xff": "\xff\xff\xff\xff\xff…"} {
		if got := shorten.To(text, 5); got != want {
			t.Errorf("To(%q, 5) is %q, want %q", text, got, want)
		}
	}
}

func TestList(t *testing.T) {
	names := strings.Split("a b c d e f g h i j k l m n", " ")
	if got, want := shorten.List(names), "a, b, c, d, e, f, g, h, i, j, k, l and 2 more"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := shorten.List(names[:2]), "a, b"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
