package routing_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/firebreak-proxy/firebreak/routing"
)

// TestAmbiguousOption: what becomes of a key with several values.
func TestAmbiguousOption(t *testing.T) {
	for line, want := range map[string]string{
		"query key":                               ambiguous,
		"query key ambiguous refuse":              ambiguous,
		"query key ambiguous unknown":             ambiguous,
		"query key ambiguous first":               "s1",
		"query key ambiguous last":                "s 3",
		"query odd ambiguous first":               "%zz;a",
		"query list ambiguous last":               "h", // no list is plainly the key: the next source is asked
		"header x-store ambiguous first":          "h",
		"header x-store ambiguous last":           "i",
		"cookie c ambiguous first":                "1",
		"cookie c ambiguous last":                 "2%",
		"json a.b ambiguous first":                "x",
		"json a.b ambiguous last":                 "1.50",
		"path_segment 1 ambiguous first":          "..",
		"host_label 1 ambiguous last":             "s%31",
		"{http.request.header.X-Store}":           ambiguous,
		"{http.request.cookie.c} ambiguous first": "1",
	} {
		r := httptest.NewRequest(http.MethodPost, "/../x?key=s1&list[]=l&key=s2&key=s+3&odd=%zz;a",
			strings.NewReader(`{"a":{"b":"x","b":"y"},"a":{"b":1.50}}`))
		r.Header = http.Header{"X-Store": {"h", "i"}, "Cookie": {"c=1; c=2%"}, "Content-Type": {"application/json"}}
		r.Host = "s%31.example.com"
		checkKey(t, extractor(t, line, "header x-store ambiguous first"), r, want)
		if t.Failed() {
			t.Fatal(line)
		}
	}
}

// TestAmbiguousError: what is said of a key with several values, for clients
// without them.
func TestAmbiguousError(t *testing.T) {
	for target, want := range map[string]struct{ short, detail string }{
		"/?key=a&key=b":       {"the request carries two different values for query key", ": a, b"},
		"/?key=a&key=&key=b":  {"the request carries 3 different values for query key", `: a, "", b`},
		"/?key=b&key=a,b&KEY": {"the request carries two different values for query key", `: b, "a,b"`},
		"/?key=a&key[]=b":     {"API servers may read different values for query key: its name is written in a way that some take for it and others do not", " (a, b)"},
		"/?a;key=b":           {"API servers may read different values for query key: it stands beside a semicolon, where some split the parameters and others do not", ""},
		"/?key=1&key=2&key=3&key=4&key=5&key=6&key=7&key=8&key=9&key=10": {"the request carries many different values for query key", ": 1, 2, 3, 4, …"},
	} {
		r := httptest.NewRequest(http.MethodGet, target, nil)
		_, err := extractor(t, "query key").Key(nil, r)
		var why *routing.AmbiguousError
		if !errors.As(err, &why) || !why.Refuse || why.Key.String() != "query key" {
			t.Errorf("%s: error %#v", target, err)
			continue
		}
		if why.Error() != want.short || why.Detail() != want.short+want.detail {
			t.Errorf("%s: got\n%s\n%s\nwant\n%s%s", target, why, why.Detail(), want.short, want.detail)
		}
	}
	r := httptest.NewRequest(http.MethodGet, "/?key=a&key=b", nil)
	if _, err := extractor(t, "query key ambiguous unknown").Key(nil, r); err == nil || err.(*routing.AmbiguousError).Refuse {
		t.Errorf("error %#v: the request is not to be refused", err)
	}
}
