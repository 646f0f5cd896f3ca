package routing_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/firebreak-proxy/firebreak/routing"
)

func TestKey(t *testing.T) {
	long := strings.Repeat("k", 129)
	for name, c := range map[string]struct {
		keys   string // sources, separated by commas
		target string
		header map[string]string
		want   string
	}{
		"query":               {keys: "query key", target: "/?a=1&key=s1&key=s2", want: "s1"},
		"query escaped":       {keys: "query key", target: "/?k%65y=s+%31", want: "s 1"},
		"query broken escape": {keys: "query key", target: "/?key=%zz&key=s2", want: "s2"},
		"query semicolon":     {keys: "query key", target: "/?key=a;b&key=s2", want: "s2"},
		"query first empty":   {keys: "query key", target: "/?key=&key=s2", want: ""},
		"query no value":      {keys: "query key", target: "/?key", want: ""},
		"query case":          {keys: "query key", target: "/?KEY=a", want: ""},

		"header":            {keys: "header x-store", header: map[string]string{"X-Store": "s1"}, want: "s1"},
		"header host":       {keys: "header host", target: "http://Shop.example.com:80/", want: "shop.example.com"},
		"cookie":            {keys: "cookie store", header: map[string]string{"Cookie": "a=b; store=s1; store=s2"}, want: "s1"},
		"cookie none":       {keys: "cookie store", want: ""},
		"cookie other":      {keys: "cookie store", header: map[string]string{"Cookie": "a=b"}, want: ""},
		"bearer":            {keys: "bearer", header: map[string]string{"Authorization": "bEaReR  tok "}, want: "tok"},
		"bearer is basic":   {keys: "bearer", header: map[string]string{"Authorization": "Basic czE6eA=="}, want: ""},
		"bearer empty":      {keys: "bearer", header: map[string]string{"Authorization": "Bearer"}, want: ""},
		"basic":             {keys: "basic_user", header: map[string]string{"Authorization": "Basic czE6eA=="}, want: "s1"},
		"basic broken":      {keys: "basic_user", header: map[string]string{"Authorization": "Basic !"}, want: ""},
		"host label":        {keys: "host_label 1", target: "http://Shop1.example.com:8080/", want: "shop1"},
		"host label 3":      {keys: "host_label 3", target: "http://a.b.com./", want: "com"},
		"host label none":   {keys: "host_label 4", target: "http://a.b.com./", want: ""},
		"host is IPv4":      {keys: "host_label 1", target: "http://10.0.0.1:80/", want: ""},
		"host is IPv6":      {keys: "host_label 1", target: "http://[fe80::1]:80/", want: ""},
		"host placeholder":  {keys: "{http.request.host}", target: "http://[FE80::1]:80/", want: "fe80::1"},
		"placeholder":       {keys: "a-{x}", want: "a-replaced"},
		"path":              {keys: "path_segment 2", target: "/stores/s1/items", want: "s1"},
		"path end":          {keys: "path_segment 2", target: "/stores/s1", want: "s1"},
		"path short":        {keys: "path_segment 3", target: "/stores/s1/", want: ""},
		"path slashes":      {keys: "path_segment 2", target: "//stores///s1", want: "s1"},
		"path decoded":      {keys: "path_segment 2", target: "/stores/s%31", want: "s1"},
		"path escaped":      {keys: "path_segment 2", target: "/stores/s%2F1/x", want: "s/1"},
		"path after slash":  {keys: "path_segment 3", target: "/stores/s%2F1/x", want: "x"},
		"first wins":        {keys: "query key,header x-store", target: "/?key=q", header: map[string]string{"X-Store": "h"}, want: "q"},
		"empty falls":       {keys: "query key,header x-store", target: "/?key=", header: map[string]string{"X-Store": "h"}, want: "h"},
		"long falls":        {keys: "query key,header x-store", target: "/?key=" + long, header: map[string]string{"X-Store": "h"}, want: "h"},
		"longest":           {keys: "query key", target: "/?key=" + long[1:], want: long[1:]},
		"control falls":     {keys: "query key,header x-store", target: "/?key=a%00", header: map[string]string{"X-Store": "h"}, want: "h"},
		"not UTF-8 falls":   {keys: "query key,header x-store", target: "/?key=a%ff", header: map[string]string{"X-Store": "h"}, want: "h"},
		"UTF-8":             {keys: "query key", target: "/?key=%C3%BC", want: "ü"},
		"nothing":           {keys: "query key,header x-store,cookie c,bearer,basic_user,json a,form b,path_segment 1", want: ""},
		"many parameters":   {keys: "query key", target: "/?" + strings.Repeat("a=b&", 9990) + "key=s1", want: "s1"},
		"too many of them":  {keys: "query key", target: "/?key=s1" + strings.Repeat("&a=b", 10001), want: ""},
		"body has no bytes": {keys: "json key", header: map[string]string{"Content-Type": "application/json"}, want: ""},
	} {
		t.Run(name, func(t *testing.T) {
			if c.target == "" {
				c.target = "/"
			}
			r := httptest.NewRequest(http.MethodGet, c.target, nil)
			for k, v := range c.header {
				r.Header.Set(k, v)
			}
			got, err := extractor(t, strings.Split(c.keys, ",")...).Key(nil, r)
			if err != nil || got != c.want {
				t.Errorf("Key = %q, %v, want %q", got, err, c.want)
			}
		})
	}
}

func TestKeyInBody(t *testing.T) {
	const form = "application/x-www-form-urlencoded"
	for name, c := range map[string]struct {
		keys, contentType, body, want string
	}{
		"json":               {"json key", "application/json", ` {"a":[1,{"key":"no"}],"key":"s1"} `, "s1"},
		"json, charset":      {"json key", "Application/JSON; charset=utf-8", `{"key":"s1"}`, "s1"},
		"json, suffix":       {"json key", "application/vnd.api+json", `{"key":"s1"}`, "s1"},
		"json, other type":   {"json key", "text/plain", `{"key":"s1"}`, ""},
		"json, only suffix":  {"json key", "+json", `{"key":"s1"}`, ""},
		"json, nested":       {"json auth.key", "application/json", `{"auth":{"x":{},"key":"s1"}}`, "s1"},
		"json, number":       {"json key", "application/json", `{"key":-12.50e+3}`, "-12.50e+3"},
		"json, bool":         {"json key", "application/json", `{"key":true}`, ""},
		"json, object":       {"json key", "application/json", `{"key":{"key":"s1"}}`, ""},
		"json, array":        {"json key", "application/json", `{"key":["s1"]}`, ""},
		"json, last wins":    {"json key", "application/json", `{"key":"s1","key":"s2"}`, "s2"},
		"json, last is null": {"json key", "application/json", `{"key":"s1","key":null}`, ""},
		"json, last parent":  {"json auth.key", "application/json", `{"auth":{"key":"s1"},"auth":{}}`, ""},
		"json, case":         {"json key", "application/json", `{"Key":"s1"}`, ""},
		"json, escapes":      {"json key", "application/json", `{"k\u0065y":"s\u0031"}`, "s1"},
		"json, top array":    {"json key", "application/json", `[{"key":"s1"}]`, ""},
		"json, trailing":     {"json key", "application/json", `{"key":"s1"}{}`, ""},
		"json, cut":          {"json key", "application/json", `{"key":"s1"`, ""},
		"json, comma":        {"json key", "application/json", `{"key":"s1",}`, ""},
		"json, leading zero": {"json key", "application/json", `{"key":"s1","n":01}`, ""},
		"json, raw newline":  {"json key", "application/json", "{\"key\":\"s\n1\"}", ""},
		"json, deep":         {"json key", "application/json", `{"key":"s1","a":` + strings.Repeat("[", 9999) + strings.Repeat("]", 9999) + "}", "s1"},
		"json, too deep":     {"json key", "application/json", `{"key":"s1","a":` + strings.Repeat("[", 10000) + strings.Repeat("]", 10000) + "}", ""},
		"form":               {"form key", form, "a=b&key=s%31&key=s2", "s1"},
		"form, other type":   {"form key", "text/plain", "key=s1", ""},
		"read once":          {"json a,json b,form c", "application/json", `{"b":"s1"}`, "s1"},
		"falls through":      {"json key,query key", "application/json", `{`, "q"},
		"too large":          {"json key,query key", "application/json", `{"key":"s1","pad":"` + strings.Repeat("x", 64<<10) + `"}`, "q"},
		"large":              {"json key", "application/json", `{"pad":"` + strings.Repeat("x", 60<<10) + `","key":"s1"}`, "s1"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, length := range []int64{int64(len(c.body)), -1} {
				r := httptest.NewRequest(http.MethodPost, "/?key=q", strings.NewReader(c.body))
				r.ContentLength = length
				r.Header.Set("Content-Type", c.contentType)
				got, err := extractor(t, strings.Split(c.keys, ",")...).Key(nil, r)
				if err != nil || got != c.want {
					t.Errorf("length %d: Key = %q, %v, want %q", length, got, err, c.want)
				}
				checkBody(t, r, c.body)
			}
		})
	}
}

// TestKeyTwice: two handlers in a row look at the same body.
func TestKeyTwice(t *testing.T) {
	const body = `{"key":"s1"}`
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	for range 2 {
		if got, err := extractor(t, "json key").Key(nil, r); got != "s1" || err != nil {
			t.Errorf("Key = %q, %v, want s1", got, err)
		}
	}
	checkBody(t, r, body)
}

func TestPackedBodyIsNotRead(t *testing.T) {
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(`{"key":"s1"}`))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Content-Encoding", "gzip")
	body := r.Body
	if got, err := extractor(t, "json key").Key(nil, r); got != "" || err != nil {
		t.Errorf("Key = %q, %v, want none", got, err)
	}
	if r.Body != body {
		t.Error("the body was looked at")
	}
}

// TestAnnouncedLargeBodyIsNotRead: what says that it is too large costs
// nothing.
func TestAnnouncedLargeBodyIsNotRead(t *testing.T) {
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(`{"key":"s1"}  `))
	r.Header.Set("Content-Type", "application/json")
	body := r.Body
	e := extractorWith(t, routing.ExtractorOptions{MaxBodyPeek: 13}, "json key")
	if got, err := e.Key(nil, r); got != "" || err != nil {
		t.Errorf("Key = %q, %v, want none", got, err)
	}
	if r.Body != body {
		t.Error("the body was looked at")
	}
}

func TestKeyDoesNotAllocate(t *testing.T) {
	for keys, budget := range map[string]float64{
		"query key": 0, "header x-store": 0, "host_label 1": 0, "path_segment 2": 0,
		"bearer": 0, "{http.request.host}": 0, "query none,header none,path_segment 9": 0,
	} {
		e := extractor(t, strings.Split(keys, ",")...)
		r := httptest.NewRequest(http.MethodGet, "http://shop1.example.com/stores/s1?a=b&key=s1", nil)
		r.Header.Set("X-Store", "s1")
		r.Header.Set("Authorization", "Bearer s1")
		got := testing.AllocsPerRun(200, func() { _, _ = e.Key(nil, r) })
		if got > budget {
			t.Errorf("%s: %v allocations, want at most %v", keys, got, budget)
		}
	}
}

func TestLookupDoesNotAllocate(t *testing.T) {
	table, err := routing.NewInline([]routing.InlineZone{{Name: "z1", Stores: []string{"a", "b"}}})
	must(t, err)
	hash, err := routing.NewHash([]string{"z1", "z2"})
	must(t, err)
	file, err := routing.OpenFile(routing.FileOptions{Path: write(t, "a.csv", csvOf("a", "b"))})
	must(t, err)
	for name, d := range map[string]routing.Directory{"table": table, "hash": hash, "file": file} {
		if got := testing.AllocsPerRun(200, func() { d.Lookup("b"); d.Lookup("unknown") }); got > 0 {
			t.Errorf("%s: %v allocations, want none", name, got)
		}
	}
}
