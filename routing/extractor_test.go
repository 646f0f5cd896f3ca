package routing_test

import (
	"errors"
	"io"
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
		want   string // or ambiguous
	}{
		"query":               {keys: "query key", target: "/?a=1&key=s1&b=", want: "s1"},
		"query twice":         {keys: "query key", target: "/?key=s1&key=s2", want: ambiguous},
		"query twice same":    {keys: "query key", target: "/?key=s+1&key=s%201&key=s+1", want: "s 1"},
		"query last of three": {keys: "query key", target: "/?key=s1&key=s1&key=s2", want: ambiguous},
		"ambiguous ends it":   {keys: "query key,header x-store", target: "/?key=s1&key=s2", header: map[string]string{"X-Store": "h"}, want: ambiguous},
		"query escaped":       {keys: "query key", target: "/?k%65y=s+%31", want: "s 1"},
		"query broken escape": {keys: "query key", target: "/?key=%zz&key=s2", want: ambiguous},
		"query escape alone":  {keys: "query key", target: "/?key=s1%2", want: ambiguous},
		"query other escape":  {keys: "query key", target: "/?a=%zz&%=1&key=s2", want: "s2"},
		"query semicolon":     {keys: "query key", target: "/?key=a;b&key=s2", want: ambiguous},
		"query semicolon 1":   {keys: "query key", target: "/?key=a;b", want: ambiguous},
		"query semicolon 2":   {keys: "query key", target: "/?b=1;key=a", want: ambiguous},
		"query semicolon 3":   {keys: "query key", target: "/?key=a&b=1;key=a", want: ambiguous},
		"query semicolon 4":   {keys: "query key", target: "/?a=b;c=d;&key=s1", want: "s1"},
		"query fragment":      {keys: "query key", target: "/?key=a%23b", want: "a#b"},
		"query list":          {keys: "query key", target: "/?key[]=a", want: ambiguous},
		"query list escaped":  {keys: "query key", target: "/?key%5B0%5D=a&key=b", want: ambiguous},
		"query qs brackets":   {keys: "query key", target: "/?[key]=a", want: ambiguous},
		"query PHP names":     {keys: "query api_key", target: "/?api.key=a", want: ambiguous},
		"query PHP bracket":   {keys: "query api_key", target: "/?api[key=a", want: ambiguous},
		"query PHP zero":      {keys: "query key", target: "/?key%00x=a", want: ambiguous},
		"query PHP space":     {keys: "query key", target: "/?+key=a", want: ambiguous},
		"query list same":     {keys: "query key", target: "/?key=a&key[]=a", want: "a"},
		"query other lists":   {keys: "query key", target: "/?keys[]=a&filter[key]=b&key_=c&mykey=d", want: ""},
		"query name brackets": {keys: "query f[key]", target: "/?f[x]=1&f%5Bkey%5D=a", want: "a"},
		"query in brackets":   {keys: "query f[key]", target: "/?f[key][]=1", want: ambiguous},
		"query first empty":   {keys: "query key", target: "/?key=&key=s2", want: ambiguous},
		"query empty twice":   {keys: "query key", target: "/?key=&key", want: ""},
		"query no value":      {keys: "query key", target: "/?key", want: ""},
		"query case":          {keys: "query key", target: "/?KEY=a", want: ambiguous},
		"query case same":     {keys: "query key", target: "/?KEY=a&key=a", want: "a"},
		"query case empty":    {keys: "query key", target: "/?KEY=&k=a", want: ""},

		"header":             {keys: "header x-store", header: map[string]string{"X-Store": "s1"}, want: "s1"},
		"header host":        {keys: "header host", target: "http://Shop.example.com:80/", want: "shop.example.com"},
		"cookie":             {keys: "cookie store", header: map[string]string{"Cookie": "a=b; store=s1; c=d"}, want: "s1"},
		"cookie twice":       {keys: "cookie store", header: map[string]string{"Cookie": "store=s1; store=s2"}, want: ambiguous},
		"cookie escaped":     {keys: "cookie store", header: map[string]string{"Cookie": "store=s%31"}, want: ambiguous},
		"cookie quoted":      {keys: "cookie store", header: map[string]string{"Cookie": `store="s1"`}, want: ambiguous},
		"cookie in cookie":   {keys: "cookie store", header: map[string]string{"Cookie": "a=b store=s2; store=s1"}, want: ambiguous},
		"cookie after comma": {keys: "cookie store", header: map[string]string{"Cookie": "a=b,store=s1"}, want: ambiguous},
		"cookie name":        {keys: "cookie store", header: map[string]string{"Cookie": "s%74ore=s1"}, want: ambiguous},
		"cookie others":      {keys: "cookie store", header: map[string]string{"Cookie": `a="x, y"; store=s1; b=%`}, want: "s1"},
		"connection cookie":  {keys: "cookie store", header: map[string]string{"Connection": "close, cookie", "Cookie": "store=s1"}, want: ""},
		"connection header":  {keys: "header x-store", header: map[string]string{"Connection": "keep-alive,x-sTORE", "X-Store": "s1"}, want: ""},
		"connection others":  {keys: "header x-store", header: map[string]string{"Connection": "keep-alive, x-stores", "X-Store": "s1"}, want: "s1"},
		"connection bearer":  {keys: "bearer", header: map[string]string{"Connection": "Authorization", "Authorization": "Bearer s1"}, want: ""},
		"header not ASCII":   {keys: "header x-store", header: map[string]string{"X-Store": "s\u00e9"}, want: ambiguous},
		"bearer two words":   {keys: "bearer", header: map[string]string{"Authorization": "Bearer s1 s2"}, want: ambiguous},
		"bearer comma":       {keys: "bearer", header: map[string]string{"Authorization": "Bearer s1,s2"}, want: ambiguous},
		"bearer behind":      {keys: "bearer", header: map[string]string{"Authorization": "Token bearer s1"}, want: ambiguous},
		"bearer tab behind":  {keys: "bearer", header: map[string]string{"Authorization": "xBearer\ts1"}, want: ambiguous},
		"bearer tab":         {keys: "bearer", header: map[string]string{"Authorization": "Bearer\ts1"}, want: ambiguous},
		"basic no colon":     {keys: "basic_user", header: map[string]string{"Authorization": "Basic czE="}, want: ambiguous},
		"basic no padding":   {keys: "basic_user", header: map[string]string{"Authorization": "Basic czE6eA"}, want: ambiguous},
		"host odd":           {keys: "host_label 1", header: map[string]string{"Host": "s%31.example.com"}, want: ambiguous},
		"host odd port":      {keys: "host_label 1", header: map[string]string{"Host": "s1:80.example.com"}, want: ambiguous},
		"host empty label":   {keys: "host_label 1", header: map[string]string{"Host": "s1.."}, want: ambiguous},
		"host no label":      {keys: "host_label 2", header: map[string]string{"Host": ".s1.com"}, want: ambiguous},
		"host number":        {keys: "host_label 1", header: map[string]string{"Host": "s1.com.80"}, want: ambiguous},
		"host root":          {keys: "host_label 1", header: map[string]string{"Host": "s1.com.:80"}, want: "s1"},
		"host brackets":      {keys: "host_label 1", header: map[string]string{"Host": "[s1.example.com]"}, want: ambiguous},
		"known placeholder":  {keys: "{http.request.uri.query.key}", target: "/?key=s1&key=s2", want: ambiguous},
		"known header":       {keys: "{http.request.header.x-Store}", header: map[string]string{"X-Store": "s1"}, want: "s1"},
		"cookie none":        {keys: "cookie store", want: ""},
		"cookie other":       {keys: "cookie store", header: map[string]string{"Cookie": "a=b"}, want: ""},
		"bearer":             {keys: "bearer", header: map[string]string{"Authorization": "bEaReR  tok "}, want: "tok"},
		"bearer is basic":    {keys: "bearer", header: map[string]string{"Authorization": "Basic czE6eA=="}, want: ""},
		"bearer empty":       {keys: "bearer", header: map[string]string{"Authorization": "Bearer"}, want: ""},
		"basic":              {keys: "basic_user", header: map[string]string{"Authorization": "Basic czE6eA=="}, want: "s1"},
		"basic broken":       {keys: "basic_user", header: map[string]string{"Authorization": "Basic !"}, want: ambiguous},
		"host label":         {keys: "host_label 1", target: "http://Shop1.example.com:8080/", want: "shop1"},
		"host label 3":       {keys: "host_label 3", target: "http://a.b.com./", want: "com"},
		"host label none":    {keys: "host_label 4", target: "http://a.b.com./", want: ""},
		"host is IPv4":       {keys: "host_label 1", target: "http://10.0.0.1:80/", want: ""},
		"host is IPv6":       {keys: "host_label 1", target: "http://[fe80::1]:80/", want: ""},
		"host placeholder":   {keys: "{http.request.host}", target: "http://[FE80::1]:80/", want: "fe80::1"},
		"placeholder":        {keys: "a-{x}", want: "a-replaced"},
		"path":               {keys: "path_segment 2", target: "/stores/s1/items", want: "s1"},
		"path end":           {keys: "path_segment 2", target: "/stores/s1", want: "s1"},
		"path short":         {keys: "path_segment 3", target: "/stores/s1/", want: ""},
		"path slashes":       {keys: "path_segment 2", target: "//stores///s1", want: ambiguous},
		"path slashes after": {keys: "path_segment 2", target: "/stores/s1//x", want: "s1"},
		"path dots":          {keys: "path_segment 2", target: "/stores/s1/../s2", want: ambiguous},
		"path dots escaped":  {keys: "path_segment 2", target: "/stores/s1/x/%2e%2E/s2", want: ambiguous},
		"path dots hidden":   {keys: "path_segment 2", target: "/stores/s1/x%2f..%2fs2", want: ambiguous},
		"path dots in name":  {keys: "path_segment 2", target: "/stores/s1/.well-known/...", want: "s1"},
		"path semicolon":     {keys: "path_segment 2", target: "/stores/s1;v=2", want: ambiguous},
		"path later":         {keys: "path_segment 2", target: "/stores/s1/x;v=2/a%2Fb", want: "s1"},
		"path backslash":     {keys: "path_segment 2", target: "/stores/s1/%5C../x", want: ambiguous},
		"path decoded":       {keys: "path_segment 2", target: "/stores/s%31", want: "s1"},
		"path escaped":       {keys: "path_segment 2", target: "/stores/s%2F1/x", want: ambiguous},
		"path after slash":   {keys: "path_segment 3", target: "/stores/s%2F1/x", want: ambiguous},
		"path as written":    {keys: "path_segment 3 ambiguous first", target: "/stores/s%2F1/x", want: "x"},
		"first wins":         {keys: "query key,header x-store", target: "/?key=q", header: map[string]string{"X-Store": "h"}, want: "q"},
		"empty falls":        {keys: "query key,header x-store", target: "/?key=", header: map[string]string{"X-Store": "h"}, want: "h"},
		"long falls":         {keys: "query key,header x-store", target: "/?key=" + long, header: map[string]string{"X-Store": "h"}, want: "h"},
		"longest":            {keys: "query key", target: "/?key=" + long[1:], want: long[1:]},
		"control falls":      {keys: "query key,header x-store", target: "/?key=a%00", header: map[string]string{"X-Store": "h"}, want: "h"},
		"not UTF-8 falls":    {keys: "query key,header x-store", target: "/?key=a%ff", header: map[string]string{"X-Store": "h"}, want: ambiguous},
		"UTF-8":              {keys: "query key", target: "/?key=%C3%BC", want: "ü"},
		"nothing":            {keys: "query key,header x-store,cookie c,bearer,basic_user,json a,form b,path_segment 1", want: ""},
		"many parameters":    {keys: "query key", target: "/?" + strings.Repeat("a=b&", 9990) + "key=s1", want: "s1"},
		"too many of them":   {keys: "query key", target: "/?key=s1" + strings.Repeat("&a=b", 10001), want: "s1"},
		"body has no bytes":  {keys: "json key", header: map[string]string{"Content-Type": "application/json"}, want: ""},
	} {
		t.Run(name, func(t *testing.T) {
			if c.target == "" {
				c.target = "/"
			}
			r := httptest.NewRequest(http.MethodGet, c.target, nil)
			for k, v := range c.header {
				if r.Header.Set(k, v); k == "Host" {
					r.Host = v
				}
			}
			checkKey(t, extractor(t, strings.Split(c.keys, ",")...), r, c.want)
		})
	}
}

// ambiguous is what tests want of a request whose key is.
const ambiguous = "(ambiguous)"

func checkKey(t *testing.T, e *routing.Extractor, r *http.Request, want string) {
	t.Helper()
	got, err := e.Key(nil, r)
	if why := new(routing.AmbiguousError); errors.As(err, &why) {
		got, err = got+ambiguous, nil
	}
	if err != nil || got != want {
		t.Errorf("Key = %q, %v, want %q", got, err, want)
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
		"json, multipart":    {"json key", "multipart/form-data", `{"key":"s1"}`, ""},
		"json, grpc":         {"json key", "application/grpc+proto", `{"key":"s1"}`, ""},
		"json, int":          {"json key", "application/json", `{"key":-9007199254740991}`, "-9007199254740991"},
		"json, large int":    {"json key", "application/json", `{"key":9007199254740992}`, ambiguous},
		"json, twice same":   {"json auth.key", "application/json", `{"auth":{"key":"s1"},"auth":{"key":"s\u0031","key":"s1"}}`, "s1"},
		"json, twice within": {"json auth.key", "application/json", `{"auth":{"key":"s1","key":"s2"}}`, ambiguous},
		"json, case same":    {"json auth.key", "application/json", `{"AUTH":{"key":"s1"},"auth":{"key":"s1"}}`, "s1"},
		"json, case twice":   {"json auth.key", "application/json", `{"auth":{"key":"s1"},"AUTH":{"Key":"s2"}}`, ambiguous},
		"json, case nothing": {"json auth.key", "application/json", `{"a":{},"KEY":"s2","auth":{"key":"s1"}}`, "s1"},
		"json, Kelvin":       {"json key", "application/json", `{"\u212aey":"s1"}`, ambiguous},
		"json, NaN":          {"json key", "application/json", `{"key":"s1","a":NaN}`, ambiguous},
		"json, NaN alone":    {"json key", "application/json", `{"a":NaN}`, ""},
		"json, BOM":          {"json key", "application/json", "\ufeff" + `{"key":"s1"}`, ambiguous},
		"json, UTF-16":       {"json key", "application/json", "{\x00\"\x00k\x00e\x00y\x00", ambiguous},
		"json, UTF-7":        {"json key", "application/json; charset=utf-7", `{"+AGsAZQB5-":"s2"}`, ambiguous},
		"json, Latin-1":      {"json key", "application/json; charset=ISO-8859-1", `{"key":"s1"}`, "s1"},
		"json, surrogate":    {"json key", "application/json", `{"key":"s\ud800"}`, ambiguous},
		"json, bad UTF-8":    {"json key", "application/json", "{\"key\":\"s\xff\"}", ambiguous},
		"json, empty list":   {"json key", "application/json", `{"key":[ ]}`, ""},
		"json, blank":        {"json key", "application/json", " \r\n", ""},
		"form, semicolon":    {"form key", form, "a=1;key=s1", ambiguous},
		"form, hash":         {"form key", form, "a=1#&key=s1", "s1"},
		"form, PHP type":     {"form key", form + ",x", "key=s1", "s1"},
		"form, charset":      {"form key", form + "; charset=utf-16", "a=1", ambiguous},
		"form, multipart":    {"form key", "multipart/form-data; boundary=key", "--key\r\n\r\nkey=s1", ""},
		"json, nested":       {"json auth.key", "application/json", `{"auth":{"x":{},"key":"s1"}}`, "s1"},
		"json, number":       {"json key", "application/json", `{"key":-12.50e+3}`, ambiguous},
		"json, bool":         {"json key", "application/json", `{"key":true}`, ""},
		"json, object":       {"json key", "application/json", `{"key":{"key":"s1"}}`, ""},
		"json, array":        {"json key", "application/json", `{"key":["s1"]}`, ambiguous},
		"json, twice":        {"json key", "application/json", `{"key":"s1","key":"s2"}`, ambiguous},
		"json, last is null": {"json key", "application/json", `{"key":"s1","key":null}`, ambiguous},
		"json, last parent":  {"json auth.key", "application/json", `{"auth":{"key":"s1"},"auth":{}}`, ambiguous},
		"json, case":         {"json key", "application/json", `{"Key":"s1"}`, ambiguous},
		"json, escapes":      {"json key", "application/json", `{"k\u0065y":"s\u0031"}`, "s1"},
		"json, top array":    {"json key", "application/json", `[{"key":"s1"}]`, ""},
		"json, trailing":     {"json key", "application/json", `{"key":"s1"}{}`, ambiguous},
		"json, cut":          {"json key", "application/json", `{"key":"s1"`, ambiguous},
		"json, comma":        {"json key", "application/json", `{"key":"s1",}`, ambiguous},
		"json, leading zero": {"json key", "application/json", `{"key":"s1","n":01}`, ambiguous},
		"json, raw newline":  {"json key", "application/json", "{\"key\":\"s\n1\"}", ambiguous},
		"json, deep":         {"json key", "application/json", `{"key":"s1","a":` + strings.Repeat("[", 9999) + strings.Repeat("]", 9999) + "}", "s1"},
		"json, too deep":     {"json key", "application/json", `{"key":"s1","a":` + strings.Repeat("[", 10000) + strings.Repeat("]", 10000) + "}", ambiguous},
		"form":               {"form key", form, "a=b&key=s%31&c=d", "s1"},
		"form, charset text": {"form key", "text/plain; charset=utf-16", "a=1", ""},
		"ambiguous ends it":  {"json key,query key", "application/json", `{"key":`, ambiguous},
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
				if checkKey(t, extractor(t, strings.Split(c.keys, ",")...), r, c.want); t.Failed() {
					t.Fatalf("length %d", length)
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

// TestBodyOfAnyType: many API servers read JSON whatever its Content-Type, some
// also forms.
func TestBodyOfAnyType(t *testing.T) {
	for _, c := range []struct{ keys, contentType, body, want string }{
		{"json key", "text/plain", ` {"key":"s1"}`, "s1"},
		{"json key", "+json", `{"key":"s1"}`, "s1"},
		{"json key", "", `{"key":"s1"}`, "s1"},
		{"json key", "application/x-www-form-urlencoded", `{"key":"s1"}`, "s1"},
		{"json key", "text/plain; charset=utf-7", `{"key":"s1"}`, ambiguous},
		{"json key", "text/plain", `{"key":"s1","a":NaN}`, ambiguous},
		{"json key", "text/plain", "\ufeff" + `{"key":"s1"}`, ambiguous},
		{"json key", "text/plain", "\xff\xfe{\x00\"\x00k\x00", ambiguous},
		{"json key", "Multipart/mixed", `{"key":"s1"}`, ""},
		{"json key", "text/plain; charset=utf-16", "the key", ""},
		{"json key", "application/x-www-form-urlencoded", `key=s1&"key":`, ""},
		{"form key", "", "key=s1", "s1"},
		{"form key", "", "+key=s1", ambiguous},
		{"form key", "text/plain", "key=s1", "s1"},
		{"form key", "text/plain", "key=s1&key=s2", ambiguous},
		{"form key", "text/xml", "<a>&lt;key&gt;=1", ""},
		{"form key", "application/json", `{"key":"s1"}`, ""},
		{"form key", "multipart/form-data; boundary=x", "key=s1", ""},
	} {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(c.body))
		if c.contentType != "" {
			r.Header.Set("Content-Type", c.contentType)
		}
		if checkKey(t, extractor(t, c.keys), r, c.want); t.Failed() {
			t.Fatalf("%+v", c)
		}
		checkBody(t, r, c.body)
		body := io.NopCloser(strings.NewReader(c.body))
		r.Body, r.ContentLength = body, -1
		if c.keys == "form key" && c.contentType == "" {
			continue // as good as declared
		}
		if checkKey(t, extractor(t, c.keys), r, ""); r.Body != body {
			t.Errorf("%+v: a body that may be a stream was read", c)
		}
	}
}

// TestPackedBody: a key in a body that says it is packed is one for the API
// servers that do not look at Content-Encoding.
func TestPackedBody(t *testing.T) {
	for body, want := range map[string]string{`{"key":"s1"}`: ambiguous, `{"a":1}`: "", "\x1f\x8b\x08\x00\x00key\x00": ""} {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Content-Encoding", "gzip")
		checkKey(t, extractor(t, "json key"), r, want)
		checkBody(t, r, body)
		r.Header.Set("Content-Encoding", "Identity")
		if want != "" {
			r.Body = io.NopCloser(strings.NewReader(body))
			checkKey(t, extractor(t, "json key"), r, "s1")
		}
	}
}

// TestRepeatedLines: lines of one header field.
func TestRepeatedLines(t *testing.T) {
	for name, c := range map[string]struct {
		keys  string
		lines map[string][]string
		body  string
		want  string
	}{
		"header":         {"header x-store", map[string][]string{"X-Store": {"s1", "s2"}}, "", ambiguous},
		"header same":    {"header x-store", map[string][]string{"X-Store": {"s1", "s1"}}, "", "s1"},
		"header empty":   {"header x-store", map[string][]string{"X-Store": {"", "s2"}}, "", ambiguous},
		"authorization":  {"bearer", map[string][]string{"Authorization": {"Bearer s1", "Basic s2"}}, "", ambiguous},
		"bearer same":    {"bearer", map[string][]string{"Authorization": {"Bearer s1", "Bearer s1"}}, "", ambiguous},
		"cookie":         {"cookie store", map[string][]string{"Cookie": {"store=s1", "a=b"}}, "", ambiguous},
		"cookie other":   {"cookie store", map[string][]string{"Cookie": {"a=b", "c=d"}}, "", ""},
		"connection":     {"header x-store", map[string][]string{"Connection": {"close", "a , X-Store"}, "X-Store": {"s1"}}, "", ""},
		"type":           {"json key", map[string][]string{"Content-Type": {"application/json", "text/plain"}}, `{"key":"s1"}`, ambiguous},
		"type of a form": {"form key", map[string][]string{"Content-Type": {"a/b", "application/x-www-form-urlencoded"}}, "key=s1", ambiguous},
		"hidden coding":  {"json key", map[string][]string{"Connection": {"content-encoding"}, "Content-Encoding": {"gzip"}}, `{"key":"s1"}`, "s1"},
		"hidden type":    {"form key", map[string][]string{"Connection": {"content-type"}, "Content-Type": {"a/b"}}, "key=s1", "s1"},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(c.body))
			r.Header = c.lines
			checkKey(t, extractor(t, c.keys), r, c.want)
		})
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
