package routing_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/firebreak-proxy/firebreak/routing"
)

// asKey is what a value found in a request is worth as a key.
func asKey(value string) string {
	if len(value) > 128 || !utf8.ValidString(value) || strings.ContainsFunc(value, unicode.IsControl) {
		return ""
	}
	return value
}

func nameFits(name string) bool { return name != "" && utf8.ValidString(name) }

func checkBody(t *testing.T, r *http.Request, want string) {
	t.Helper()
	got, err := io.ReadAll(r.Body)
	if err != nil || string(got) != want {
		t.Errorf("body = %.100q (%d bytes), %v, want %.100q (%d bytes)", got, len(got), err, want, len(want))
	}
}

func addParams(f *testing.F) {
	f.Add("key", "key=a")
	f.Add("key", "a=b&key=%41+b&key=c")
	f.Add("a b", "a+b=1&a%20b=2")
	f.Add("key", "key=;&key=%&k%65y=x")
	f.Add("key", "&&=&key")
	f.Add("k=", "k%3d=v")
	f.Add("k", "k=a%2")
	f.Add("k_", "k[]=a&k.=b&[k_]=c&K_=d&?k_=e")
	f.Add("k[", "k[=a#&k[=b")
}

// checkParams compares what is found with what url.ParseQuery finds.
func checkParams(t *testing.T, name, text string, find func(spec routing.KeySpec) (string, error)) {
	t.Helper()
	values, broken := url.ParseQuery(text)
	all := values[name]
	spec := routing.KeySpec{From: "query", Name: name}
	got, err := find(spec)
	switch several := len(slices.Compact(slices.Clone(all))) > 1; {
	case isAmbiguous(err):
	case err != nil || got != asKey(values.Get(name)):
		t.Errorf("parameter %q of %q = %q, %v, want %q", name, text, got, err, values.Get(name))
	case several:
		t.Errorf("parameter %q of %q = %q though it has the values %q", name, text, got, all)
	}
	if broken != nil {
		return
	}
	for word, want := range map[string]string{"first": values.Get(name), "last": lastOf(all)} {
		spec.Ambiguous = word
		if got, err := find(spec); err != nil || got != asKey(want) {
			t.Errorf("%s of parameter %q of %q = %q, %v, want %q", word, name, text, got, err, want)
		}
	}
}

func lastOf(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[len(values)-1]
}

func isAmbiguous(err error) bool {
	return errors.As(err, new(*routing.AmbiguousError))
}

// FuzzQuery compares the query source with url.ParseQuery.
func FuzzQuery(f *testing.F) {
	addParams(f)
	f.Fuzz(func(t *testing.T, name, query string) {
		if !nameFits(name) || strings.Count(query, "&") > 1000 {
			return
		}
		checkParams(t, name, query, func(spec routing.KeySpec) (string, error) {
			e, err := routing.NewExtractor([]routing.KeySpec{spec}, routing.ExtractorOptions{})
			must(t, err)
			return e.Key(nil, &http.Request{URL: &url.URL{RawQuery: query}})
		})
	})
}

// FuzzForm compares the form source with url.ParseQuery.
func FuzzForm(f *testing.F) {
	addParams(f)
	f.Fuzz(func(t *testing.T, name, body string) {
		if !nameFits(name) || len(body) >= 64<<10 || strings.Count(body, "&") > 1000 {
			return
		}
		checkParams(t, name, body, func(spec routing.KeySpec) (string, error) {
			spec.From = "form"
			e, err := routing.NewExtractor([]routing.KeySpec{spec}, routing.ExtractorOptions{})
			must(t, err)
			r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			key, err := e.Key(nil, r)
			checkBody(t, r, body)
			return key, err
		})
	})
}

// FuzzJSON compares the json source with encoding/json.
func FuzzJSON(f *testing.F) {
	f.Add("key", `{"key":"a","b":[1,2.5e-3,true,null,{"key":"c"}]}`)
	f.Add("a.b", `{"a":{"b":"x"},"a":{"b":12}}`)
	f.Add("a.b", `{"a":{"b":"x"},"a":"y"}`)
	f.Add("a.b", `{"a":{"b":"x"},"A":{"B":["y"]}}`)
	f.Add("k\uFFFD", "{\"k\xff\":\"\xfe\\ud800\\n\"}")
	f.Add("key", `{"k\u0065y":"\u00e4\"\\\/"}`)
	f.Add("key", `{"key":-0.0E+7,"n":-}`)
	f.Add("key", "\t{ \"key\" : \"\u2028\" }\r\n")
	f.Fuzz(func(t *testing.T, path, body string) {
		spec := routing.KeySpec{From: "json", Name: path}
		if spec.Validate() != nil || !utf8.ValidString(path) || len(body) >= 64<<10 {
			return
		}
		want := asKey(decoded(body, strings.Split(path, ".")))
		for _, spec.Ambiguous = range []string{"refuse", "last"} {
			e, err := routing.NewExtractor([]routing.KeySpec{spec}, routing.ExtractorOptions{})
			must(t, err)
			r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
			r.Header.Set("Content-Type", "application/json")
			got, err := e.Key(nil, r)
			refused := isAmbiguous(err) && spec.Ambiguous == "refuse"
			if err != nil && !refused || err == nil && got != want {
				t.Errorf("%s of %q of %q = %q, %v, want %q", spec.Ambiguous, path, body, got, err, want)
			}
			checkBody(t, r, body)
		}
	})
}

// FuzzCookie compares the cookie source with net/http.
func FuzzCookie(f *testing.F) {
	f.Add("k", "a=b; k=c; d")
	f.Add("k", `k="c d"; k=c%`)
	f.Add("k", `K=1,k=2; k =3;k= 4`)
	f.Fuzz(func(t *testing.T, name, line string) {
		spec := routing.KeySpec{From: "cookie", Name: name}
		if spec.Validate() != nil {
			return
		}
		e, err := routing.NewExtractor([]routing.KeySpec{spec}, routing.ExtractorOptions{})
		must(t, err)
		r := &http.Request{URL: new(url.URL), Header: http.Header{"Cookie": {line}}}
		got, err := e.Key(nil, r)
		if isAmbiguous(err) {
			return
		}
		for _, cookie := range r.CookiesNamed(name) {
			if err != nil || got != asKey(cookie.Value) {
				t.Errorf("cookie %q of %q = %q, %v, want %q", name, line, got, err, cookie.Value)
			}
		}
	})
}

// decoded finds the value at path with encoding/json.
func decoded(body string, path []string) string {
	if !json.Valid([]byte(body)) {
		return ""
	}
	dec := json.NewDecoder(bytes.NewReader([]byte(body)))
	dec.UseNumber()
	var value any
	if err := dec.Decode(&value); err != nil {
		return ""
	}
	for _, name := range path {
		object, ok := value.(map[string]any)
		if !ok {
			return ""
		}
		value = object[name]
	}
	switch value := value.(type) {
	case string:
		return value
	case json.Number:
		return value.String()
	}
	return ""
}
