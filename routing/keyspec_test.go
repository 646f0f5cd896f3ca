package routing_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/firebreak-proxy/firebreak/routing"
)

func TestParseKeySpec(t *testing.T) {
	for line, want := range map[string]routing.KeySpec{
		"query key":                  {From: "query", Name: "key"},
		"header x-store":             {From: "header", Name: "x-store"},
		"json auth.key":              {From: "json", Name: "auth.key"},
		"form key":                   {From: "form", Name: "key"},
		"cookie store":               {From: "cookie", Name: "store"},
		"host_label 1":               {From: "host_label", Index: 1},
		"path_segment 2":             {From: "path_segment", Index: 2},
		"bearer":                     {From: "bearer"},
		"basic_user":                 {From: "basic_user"},
		"{http.request.host}":        {From: "placeholder", Name: "{http.request.host}"},
		"a-{x}-{y}":                  {From: "placeholder", Name: "a-{x}-{y}"},
		"query ambiguous":            {From: "query", Name: "ambiguous"},
		"query k ambiguous last":     {From: "query", Name: "k", Ambiguous: "last"},
		"bearer ambiguous unknown":   {From: "bearer", Ambiguous: "unknown"},
		"{header.X} ambiguous first": {From: "placeholder", Name: "{header.X}", Ambiguous: "first"},
	} {
		got, err := routing.ParseKeySpec(strings.Fields(line))
		if err != nil {
			t.Errorf("%s: %v", line, err)
			continue
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got)%s", line, diff)
		}
	}
}

const allowed = "query NAME, header NAME, json PATH, form NAME, cookie NAME, host_label N, path_segment N, bearer, basic_user or a {placeholder}"

func TestParseKeySpecRefused(t *testing.T) {
	for line, want := range map[string]string{
		"":                         "no key source given; use " + allowed,
		"qeury key":                `unknown key source "qeury", did you mean "query"? (allowed: ` + allowed + ")",
		"path_segement 1":          `unknown key source "path_segement", did you mean "path_segment"? (allowed: ` + allowed + ")",
		"whatever":                 `unknown key source "whatever" (allowed: ` + allowed + ")",
		"placeholder x":            `unknown key source "placeholder" (allowed: ` + allowed + ")",
		"query":                    "query needs NAME, for example: query key",
		"query a b":                `unexpected "b" after query a; only ambiguous first, last, unknown or refuse can follow`,
		"bearer x":                 `unexpected "x" after bearer; only ambiguous first, last, unknown or refuse can follow`,
		"path_segment":             "path_segment needs N, for example: path_segment 2",
		"path_segment x":           `path_segment needs a number from 1, not "x"`,
		"path_segment 0":           "path_segment counts from 1, got 0",
		"host_label -1":            "host_label counts from 1, got -1",
		"header X_Store":           `header "X_Store" would never be found: Caddy drops request headers with _ or . in their names; send it as "X-Store"`,
		"header x.store":           `header "x.store" would never be found: Caddy drops request headers with _ or . in their names; send it as "X-Store"`,
		"header X:Store":           `"X:Store" cannot be the name of a header`,
		"cookie a=b":               `"a=b" cannot be the name of a cookie`,
		"json auth..key":           `json path "auth..key" has an empty name in it`,
		"{host} x":                 `unexpected "x" after {host}; write a text with spaces in quotes`,
		"json .":                   `json path "." has an empty name in it`,
		"Bearer":                   `unknown key source "Bearer", did you mean "bearer"? (allowed: ` + allowed + ")",
		"path_segment 1 two":       `unexpected "two" after path_segment 1; only ambiguous first, last, unknown or refuse can follow`,
		"bearer ambiguous":         "ambiguous needs a word: first, last, unknown or refuse",
		"bearer ambiguous lst":     `ambiguous "lst", did you mean "last"? (allowed: first, last, unknown or refuse)`,
		"bearer ambiguous 503":     `ambiguous is "503": it must be first, last, unknown or refuse`,
		"query a ambiguous last x": `unexpected "x" after query a ambiguous last`,
	} {
		_, err := routing.ParseKeySpec(strings.Fields(line))
		if err == nil {
			t.Errorf("%q was accepted", line)
		} else if diff := cmp.Diff(want, err.Error()); diff != "" {
			t.Errorf("%q (-want +got)%s", line, diff)
		}
	}
}

func TestKeySpecValidate(t *testing.T) {
	for want, spec := range map[string]routing.KeySpec{
		"no key source given; use " + allowed: {},
		"query needs a name":                  {From: "query"},
		"query takes no index":                {From: "query", Name: "a", Index: 1},
		"path_segment takes no name":          {From: "path_segment", Name: "a", Index: 1},
		"path_segment counts from 1, got 0":   {From: "path_segment"},
		"bearer takes no name and no index":   {From: "bearer", Name: "a"},
		`"abc" has no {placeholder} in it: every request would have the same key`:      {From: "placeholder", Name: "abc"},
		`unknown key source "Query", did you mean "query"? (allowed: ` + allowed + ")": {From: "Query", Name: "a"},
	} {
		if err := spec.Validate(); err == nil || err.Error() != want {
			t.Errorf("%+v: error = %v, want %s", spec, err, want)
		}
	}
}

func TestNewExtractorRefused(t *testing.T) {
	query := []routing.KeySpec{{From: "query", Name: "key"}}
	for want, c := range map[string]struct {
		specs []routing.KeySpec
		opts  routing.ExtractorOptions
	}{
		"no key source given":                                {},
		"key source 2: query needs a name":                   {specs: append(query, routing.KeySpec{From: "query"})},
		"key source 1: placeholders cannot be used here":     {specs: []routing.KeySpec{{From: "placeholder", Name: "{x}"}}},
		"the bounds on looking at a body cannot be negative": {specs: query, opts: routing.ExtractorOptions{MaxBodyPeek: -1}},
	} {
		if _, err := routing.NewExtractor(c.specs, c.opts); err == nil || err.Error() != want {
			t.Errorf("error = %v, want %s", err, want)
		}
	}
}

// extractor makes an Extractor of Caddyfile lines. Placeholders are replaced
// by the word "replaced".
func extractor(t testing.TB, lines ...string) *routing.Extractor {
	t.Helper()
	return extractorWith(t, routing.ExtractorOptions{
		Placeholder: func(_ *http.Request, template string) string {
			return strings.ReplaceAll(template, "{x}", "replaced")
		},
	}, lines...)
}

func extractorWith(t testing.TB, opts routing.ExtractorOptions, lines ...string) *routing.Extractor {
	t.Helper()
	var specs []routing.KeySpec
	for _, line := range lines {
		spec, err := routing.ParseKeySpec(strings.Fields(line))
		must(t, err)
		specs = append(specs, spec)
	}
	e, err := routing.NewExtractor(specs, opts)
	must(t, err)
	return e
}
