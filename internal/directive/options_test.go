package directive

import "testing"

func TestNearest(t *testing.T) {
	known := []string{"max_hung", "max_inflight", "timeout", "zone"}
	for word, want := range map[string]string{
		"timout":      "timeout",
		"time_out":    "timeout",
		"maxinflight": "max_inflight",
		"max_hang":    "max_hung",
		"zones":       "zone",
		"window":      "",
		"x":           "",
		"":            "",
	} {
		if got := Nearest(word, known); got != want {
			t.Errorf("nearest(%q) = %q, want %q", word, got, want)
		}
	}
}

func TestEditDistance(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want int
	}{
		{"", "", 0},
		{"a", "", 1},
		{"", "abc", 3},
		{"kitten", "sitting", 3},
		{"timeout", "timeout", 0},
	} {
		if got := editDistance(test.a, test.b); got != test.want {
			t.Errorf("editDistance(%q, %q) = %d, want %d", test.a, test.b, got, test.want)
		}
		if got := editDistance(test.b, test.a); got != test.want {
			t.Errorf("editDistance(%q, %q) = %d, want %d", test.b, test.a, got, test.want)
		}
	}
}
