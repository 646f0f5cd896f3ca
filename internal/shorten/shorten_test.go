package shorten_test

import (
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
