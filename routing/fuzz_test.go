package routing_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
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

func oneSource(t *testing.T, from, name string) *routing.Extractor {
	t.Helper()
	e, err := routing.NewExtractor([]routing.KeySpec{{From: from, Name: name}}, routing.ExtractorOptions{})
	must(t, err)
	return e
}

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
}

// FuzzQuery compares the query source with url.ParseQuery.
func FuzzQuery(f *testing.F) {
	addParams(f)
	f.Fuzz(func(t *testing.T, name, query string) {
		if !nameFits(name) {
			return
		}
		values, _ := url.ParseQuery(query)
		r := &http.Request{URL: &url.URL{RawQuery: query}}
		got, err := oneSource(t, "query", name).Key(nil, r)
		if want := asKey(values.Get(name)); err != nil || got != want {
			t.Errorf("parameter %q of %q = %q, %v, want %q", name, query, got, err, want)
		}
	})
}

// FuzzForm compares the form source with http.Request.ParseForm.
func FuzzForm(f *testing.F) {
	addParams(f)
	f.Fuzz(func(t *testing.T, name, body string) {
		if !nameFits(name) || len(body) >= 64<<10 {
			return
		}
		request := func() *http.Request {
			r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			return r
		}
		reference := request()
		_ = reference.ParseForm()
		r := request()
		got, err := oneSource(t, "form", name).Key(nil, r)
		if want := asKey(reference.PostForm.Get(name)); err != nil || got != want {
			t.Errorf("field %q of %q = %q, %v, want %q", name, body, got, err, want)
		}
		checkBody(t, r, body)
	})
}

// FuzzJSON compares the json source with encoding/json.
func FuzzJSON(f *testing.F) {
	f.Add("key", `{"key":"a","b":[1,2.5e-3,true,null,{"key":"c"}]}`)
	f.Add("a.b", `{"a":{"b":"x"},"a":{"b":12}}`)
	f.Add("a.b", `{"a":{"b":"x"},"a":"y"}`)
	f.Add("k\uFFFD", "{\"k\xff\":\"\xfe\\ud800\\n\"}")
	f.Add("key", `{"k\u0065y":"\u00e4\"\\\/"}`)
	f.Add("key", `{"key":-0.0E+7,"n":-}`)
	f.Add("key", "\t{ \"key\" : \"\u2028\" }\r\n")
	f.Fuzz(func(t *testing.T, path, body string) {
		spec := routing.KeySpec{From: "json", Name: path}
		if spec.Validate() != nil || !utf8.ValidString(path) || len(body) >= 64<<10 {
			return
		}
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		got, err := oneSource(t, "json", path).Key(nil, r)
		if want := asKey(decoded(body, strings.Split(path, "."))); err != nil || got != want {
			t.Errorf("%q of %q = %q, %v, want %q", path, body, got, err, want)
		}
		checkBody(t, r, body)
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
