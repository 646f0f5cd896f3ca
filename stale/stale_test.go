package stale_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/stale"
)

const mib = 1 << 20

// rig is a handler's part of a memory, and an API server.
type rig struct {
	memory *stale.Memory
	keeper *stale.Keeper
}

func newRig(c stale.Config) *rig {
	m := stale.New(c.Size())
	return &rig{m, stale.NewKeeper(m, &c, "srv0 0/1")}
}

func tenMinutes() stale.Config { return stale.Config{For: config.Duration(10 * time.Minute)} }

func get(target string, fields ...string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, target, nil)
	for i := 0; i < len(fields); i += 2 {
		r.Header.Add(fields[i], fields[i+1])
	}
	return r
}

// answered is a request that an API server answers. It reports whether the answer is
// kept.
func (k *rig) answered(r *http.Request, zone, store string, status int, h http.Header, body string) bool {
	var q stale.Request
	if !k.keeper.Ask(&q, r, zone, store, time.Now()) {
		return false
	}
	c := q.Begin(status, h, nil)
	if c == nil {
		return false
	}
	for part := []byte(body); len(part) > 0; {
		n := min(len(part), 1000)
		c.Write(part[:n])
		part = part[n:]
	}
	before := k.memory.Figures().Copied
	c.Keep()
	return k.memory.Figures().Copied > before
}

// twice asks as often as it takes to be kept.
func (k *rig) twice(r *http.Request, zone, store string, status int, h http.Header, body string) bool {
	k.answered(r, zone, store, status, h, body)
	return k.answered(r, zone, store, status, h, body)
}

// refused is a request that would be refused: what memory has for it, nil if nothing.
func (k *rig) refused(r *http.Request, zone, store string) *http.Response {
	var q stale.Request
	if !k.keeper.Look(&q, r, zone, store) {
		return nil
	}
	a := q.Find(time.Now())
	if a == nil {
		return nil
	}
	w := httptest.NewRecorder()
	a.WriteTo(w, "zone_open")
	return w.Result()
}

func bodyOf(t *testing.T, res *http.Response) string {
	t.Helper()
	if res == nil {
		return "(nothing)"
	}
	data, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// TestGiven: the answer that is given, and what it says of itself.
func TestGiven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newRig(tenMinutes())
		h := http.Header{"Content-Type": {"text/html"}, "Etag": {`"v1"`}, "X-Two": {"a", "b"}, "Connection": {"X-Hop"}, "X-Hop": {"1"}, "Age": {"5"}}
		r := get("http://shop.example/a?x=1&y=2")
		if k.answered(r, "z1", "s1", 200, h, "page") {
			t.Error("kept although it was asked for only once")
		}
		if !k.answered(r, "z1", "s1", 200, h, "page") {
			t.Fatal("not kept although it was asked for twice")
		}
		time.Sleep(65 * time.Second)
		res := k.refused(get("http://SHOP.example/a?y=2&x=1", "User-Agent", "other"), "z1", "s1")
		if got := bodyOf(t, res); got != "page" {
			t.Fatalf("body = %q", got)
		}
		for name, want := range map[string]string{
			"Age": "70", "Cache-Status": "firebreak; hit; fwd=stale; detail=zone_open", "Firebreak-Refusal": "zone_open",
			"Content-Type": "text/html", "Content-Length": "4", "X-Hop": "", "Connection": "",
		} {
			if got := res.Header.Get(name); got != want {
				t.Errorf("%s = %q, want %q", name, got, want)
			}
		}
		if got := res.Header["X-Two"]; len(got) != 2 {
			t.Errorf("X-Two = %q", got)
		}
		time.Sleep(10*time.Minute - 65*time.Second - 5*time.Second + time.Millisecond)
		if got := bodyOf(t, k.refused(r, "z1", "s1")); got != "(nothing)" {
			t.Errorf("after its time is over: %q", got)
		}
	})
}

// TestKept: which answers are kept, and for how long.
func TestKept(t *testing.T) {
	named := tenMinutes()
	named.Authorization = true
	for name, c := range map[string]struct {
		config  stale.Config
		request []string
		status  int
		header  []string
		life    time.Duration // 0: not kept
	}{
		"plain":                    {tenMinutes(), nil, 200, nil, 10 * time.Minute},
		"no word of anybody":       {stale.Config{}, nil, 200, nil, 0},
		"max-age alone":            {stale.Config{}, nil, 200, []string{"Cache-Control", "max-age=60"}, 0},
		"API server":               {stale.Config{}, nil, 200, []string{"Cache-Control", "stale-if-error=60"}, time.Minute},
		"API server, after fresh":  {stale.Config{}, nil, 200, []string{"Cache-Control", "max-age=30, stale-if-error=60"}, 90 * time.Second},
		"API server first":         {tenMinutes(), nil, 200, []string{"Cache-Control", "stale-if-error=60"}, time.Minute},
		"API server says no":       {tenMinutes(), nil, 200, []string{"Cache-Control", "stale-if-error=0"}, 0},
		"two fields":               {tenMinutes(), nil, 200, []string{"Cache-Control", "max-age=1", "Cache-Control", "no-store"}, 0},
		"no-store":                 {tenMinutes(), nil, 200, []string{"Cache-Control", "No-Store"}, 0},
		"private":                  {tenMinutes(), nil, 200, []string{"Cache-Control", "private, stale-if-error=60"}, 0},
		"private of a field":       {tenMinutes(), nil, 200, []string{"Cache-Control", `private="X-A"`}, 0},
		"no-cache":                 {tenMinutes(), nil, 200, []string{"Cache-Control", "no-cache"}, 0},
		"Pragma":                   {tenMinutes(), nil, 200, []string{"Pragma", "no-cache"}, 0},
		"must-revalidate":          {tenMinutes(), nil, 200, []string{"Cache-Control", "must-revalidate"}, 0},
		"must-revalidate, fresh":   {tenMinutes(), nil, 200, []string{"Cache-Control", "max-age=20, must-revalidate"}, 20 * time.Second},
		"s-maxage":                 {tenMinutes(), nil, 200, []string{"Cache-Control", "s-maxage=20, max-age=90"}, 20 * time.Second},
		"proxy-revalidate":         {tenMinutes(), nil, 200, []string{"Cache-Control", "proxy-revalidate"}, 0},
		"broken Cache-Control":     {tenMinutes(), nil, 200, []string{"Cache-Control", `max-age="60`}, 0},
		"cookie set":               {tenMinutes(), nil, 200, []string{"Set-Cookie", "a=b"}, 0},
		"Vary *":                   {tenMinutes(), nil, 200, []string{"Vary", "Accept, *"}, 0},
		"404":                      {tenMinutes(), nil, 404, nil, 0},
		"500":                      {tenMinutes(), nil, 500, nil, 0},
		"206":                      {tenMinutes(), nil, 206, []string{"Content-Range", "bytes 0-1/2"}, 0},
		"events":                   {tenMinutes(), nil, 200, []string{"Content-Type", "text/event-stream"}, 0},
		"refused further down":     {tenMinutes(), nil, 200, []string{"Firebreak-Refusal", "busy"}, 0},
		"trailers":                 {tenMinutes(), nil, 200, []string{"Trailer", "X-Sum"}, 0},
		"wrong length":             {tenMinutes(), nil, 200, []string{"Content-Length", "17"}, 0},
		"Authorization":            {tenMinutes(), []string{"Authorization", "Bearer a"}, 200, nil, 0},
		"Authorization, public":    {tenMinutes(), []string{"Authorization", "Bearer a"}, 200, []string{"Cache-Control", "public"}, 10 * time.Minute},
		"Authorization, named":     {named, []string{"Authorization", "Bearer a"}, 200, nil, 10 * time.Minute},
		"request with no-store":    {tenMinutes(), []string{"Cache-Control", "no-store"}, 200, nil, 0},
		"request with a Range":     {tenMinutes(), []string{"Range", "bytes=0-1"}, 200, nil, 0},
		"request for an upgrade":   {tenMinutes(), []string{"Upgrade", "websocket"}, 200, nil, 0},
		"old when it came":         {tenMinutes(), nil, 200, []string{"Age", "300"}, 5 * time.Minute},
		"older than it may become": {tenMinutes(), nil, 200, []string{"Age", "600"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := newRig(c.config)
				h := http.Header{}
				for i := 0; i < len(c.header); i += 2 {
					h.Add(c.header[i], c.header[i+1])
				}
				r := get("http://shop.example/a", c.request...)
				if kept := k.twice(r, "z1", "s1", c.status, h, "page"); kept != (c.life > 0) {
					t.Fatalf("kept = %t", kept)
				}
				if c.life == 0 {
					return
				}
				time.Sleep(c.life - time.Second)
				if k.refused(r, "z1", "s1") == nil {
					t.Errorf("not given after %s", c.life-time.Second)
				}
				time.Sleep(2 * time.Second)
				if k.refused(r, "z1", "s1") != nil {
					t.Errorf("given after %s", c.life+time.Second)
				}
			})
		})
	}
}

// TestOnlyForTheSame: an answer is for nobody but those who might have got it.
func TestOnlyForTheSame(t *testing.T) {
	c := tenMinutes()
	c.IgnoreCookies, c.IgnoreHeaders = []string{"_ga"}, []string{"x-device"}
	k := newRig(c)
	first := get("http://shop.example/a?x=1", "Cookie", "_ga=1; id=7", "X-Api-Key", "k1", "Accept-Language", "de", "X-Device", "1", "Accept-Encoding", "gzip, br")
	if !k.twice(first, "z1", "s1", 200, http.Header{"Vary": {"Accept-Language, Cookie"}, "Content-Encoding": {"gzip"}}, "page") {
		t.Fatal("not kept")
	}
	same := func() *http.Request { return first.Clone(t.Context()) }
	for name, other := range map[string]struct {
		zone, store string
		change      func(*http.Request)
		given       bool
	}{
		"same":                   {"z1", "s1", func(*http.Request) {}, true},
		"another store":          {"z1", "s2", func(*http.Request) {}, false},
		"another zone":           {"z2", "s1", func(*http.Request) {}, false},
		"another host":           {"z1", "s1", func(r *http.Request) { r.Host = "other.example" }, false},
		"another path":           {"z1", "s1", func(r *http.Request) { r.URL.Path = "/b" }, false},
		"another spelling":       {"z1", "s1", func(r *http.Request) { r.URL.RawPath = "/%61" }, false},
		"another query":          {"z1", "s1", func(r *http.Request) { r.URL.RawQuery = "x=2" }, false},
		"another key":            {"z1", "s1", func(r *http.Request) { r.Header.Set("X-Api-Key", "k2") }, false},
		"no key":                 {"z1", "s1", func(r *http.Request) { r.Header.Del("X-Api-Key") }, false},
		"an unknown field":       {"z1", "s1", func(r *http.Request) { r.Header.Set("X-User", "7") }, false},
		"authorized":             {"z1", "s1", func(r *http.Request) { r.Header.Set("Authorization", "Basic YTpi") }, false},
		"another cookie":         {"z1", "s1", func(r *http.Request) { r.Header.Set("Cookie", "_ga=1; id=8") }, false},
		"two cookie fields":      {"z1", "s1", func(r *http.Request) { r.Header["Cookie"] = []string{"_ga=9", "id=7"} }, true},
		"another ignored cookie": {"z1", "s1", func(r *http.Request) { r.Header.Set("Cookie", "_ga=2; id=7") }, true},
		"an ignored field":       {"z1", "s1", func(r *http.Request) { r.Header.Set("X-Device", "2") }, true},
		"another language":       {"z1", "s1", func(r *http.Request) { r.Header.Set("Accept-Language", "en") }, false},
		"another browser":        {"z1", "s1", func(r *http.Request) { r.Header.Set("User-Agent", "curl") }, true},
		"another coding":         {"z1", "s1", func(r *http.Request) { r.Header.Set("Accept-Encoding", "br") }, false},
		"coding among others":    {"z1", "s1", func(r *http.Request) { r.Header.Set("Accept-Encoding", "br, gzip;q=0.5") }, true},
		"coding refused":         {"z1", "s1", func(r *http.Request) { r.Header.Set("Accept-Encoding", "br, gzip;q=0") }, false},
		"another method":         {"z1", "s1", func(r *http.Request) { r.Method = http.MethodPost }, false},
		"a body":                 {"z1", "s1", func(r *http.Request) { r.ContentLength = 3 }, false},
		"a range":                {"z1", "s1", func(r *http.Request) { r.Header.Set("Range", "bytes=0-1") }, false},
		"a precondition":         {"z1", "s1", func(r *http.Request) { r.Header.Set("If-Match", `"a"`) }, false},
		"HEAD":                   {"z1", "s1", func(r *http.Request) { r.Method = http.MethodHead }, true},
	} {
		t.Run(name, func(t *testing.T) {
			r := same()
			other.change(r)
			if given := k.refused(r, other.zone, other.store) != nil; given != other.given {
				t.Errorf("given = %t, want %t", given, other.given)
			}
		})
	}
	c2 := tenMinutes()
	if r := (&rig{k.memory, stale.NewKeeper(k.memory, &c2, "srv0 1/2")}); r.refused(same(), "z1", "s1") != nil {
		t.Error("another handler gives it")
	}
}

// TestConditional: who has the answer already is told so.
func TestConditional(t *testing.T) {
	k := newRig(tenMinutes())
	h := http.Header{"Etag": {`W/"a,b"`}, "Last-Modified": {"Wed, 01 Jul 2026 12:00:00 GMT"}, "Content-Type": {"text/plain"}}
	if !k.twice(get("http://shop.example/"), "z1", "s1", 200, h, "page") {
		t.Fatal("not kept")
	}
	for name, c := range map[string]struct {
		fields []string
		status int
	}{
		"the same tag":       {[]string{"If-None-Match", `"x", "a,b"`}, 304},
		"weak":               {[]string{"If-None-Match", `W/"a,b"`}, 304},
		"any":                {[]string{"If-None-Match", `*`}, 304},
		"another":            {[]string{"If-None-Match", `"a", "b"`}, 200},
		"broken":             {[]string{"If-None-Match", `a,b`}, 200},
		"not modified since": {[]string{"If-Modified-Since", "Wed, 01 Jul 2026 12:00:00 GMT"}, 304},
		"modified since":     {[]string{"If-Modified-Since", "Wed, 01 Jul 2026 11:59:59 GMT"}, 200},
		"the tag decides":    {[]string{"If-None-Match", `"z"`, "If-Modified-Since", "Wed, 01 Jul 2026 12:00:00 GMT"}, 200},
	} {
		res := k.refused(get("http://shop.example/", c.fields...), "z1", "s1")
		if res == nil || res.StatusCode != c.status {
			t.Errorf("%s: %v, want %d", name, res, c.status)
			continue
		}
		if body := bodyOf(t, res); c.status == 304 && (body != "" || res.Header.Get("Content-Type") != "" || res.Header.Get("Etag") == "") {
			t.Errorf("%s: body %q, header %v", name, body, res.Header)
		}
	}
}

// TestHEAD: HEAD gets the header of GET's answer, or of its own.
func TestHEAD(t *testing.T) {
	k := newRig(tenMinutes())
	head := get("http://shop.example/")
	head.Method = http.MethodHead
	if !k.twice(head, "z1", "s1", 200, http.Header{"Content-Length": {"4"}, "X-From": {"head"}}, "") {
		t.Fatal("not kept")
	}
	if res := k.refused(get("http://shop.example/"), "z1", "s1"); res != nil {
		t.Error("GET got the answer to HEAD")
	}
	if res := k.refused(head, "z1", "s1"); res == nil || res.Header.Get("X-From") != "head" || bodyOf(t, res) != "" {
		t.Errorf("HEAD got %v", res)
	}
}

// TestObsolete: what the API server says now takes the place of what it said.
func TestObsolete(t *testing.T) {
	page := get("http://shop.example/a")
	for name, c := range map[string]struct {
		change func(k *rig)
		gone   bool
	}{
		"404":          {func(k *rig) { k.answered(page, "z1", "s1", 404, http.Header{}, "") }, true},
		"401":          {func(k *rig) { k.answered(page, "z1", "s1", 401, http.Header{}, "") }, true},
		"500":          {func(k *rig) { k.answered(page, "z1", "s1", 500, http.Header{}, "") }, false},
		"429":          {func(k *rig) { k.answered(page, "z1", "s1", 429, http.Header{}, "") }, false},
		"304":          {func(k *rig) { k.answered(page, "z1", "s1", 304, http.Header{}, "") }, false},
		"of others":    {func(k *rig) { k.answered(page, "z1", "s2", 404, http.Header{}, "") }, false},
		"changed":      {func(k *rig) { k.answered(post(page), "z1", "s1", 204, http.Header{}, "") }, true},
		"not changed":  {func(k *rig) { k.answered(post(page), "z1", "s1", 409, http.Header{}, "") }, false},
		"another page": {func(k *rig) { k.answered(post(get("http://shop.example/b")), "z1", "s1", 204, http.Header{}, "") }, false},
		"moved":        {func(k *rig) { k.twice(get("http://shop.example/b"), "z2", "s1", 200, http.Header{}, "") }, true},
		"no-store now": {func(k *rig) {
			time.Sleep(31 * time.Second)
			k.answered(page, "z1", "s1", 200, http.Header{"Cache-Control": {"no-store"}}, "")
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := newRig(tenMinutes())
				if !k.twice(page, "z1", "s1", 200, http.Header{}, "page") {
					t.Fatal("not kept")
				}
				c.change(k)
				if gone := k.refused(page, "z1", "s1") == nil; gone != c.gone {
					t.Errorf("gone = %t, want %t", gone, c.gone)
				}
			})
		})
	}
}

func post(r *http.Request) *http.Request {
	r = r.Clone(r.Context())
	r.Method, r.ContentLength = http.MethodPost, 7
	return r
}

// TestRefresh: a copy is replaced when it is old enough, not before.
func TestRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newRig(tenMinutes())
		r := get("http://shop.example/")
		k.twice(r, "z1", "s1", 200, http.Header{}, "v1")
		if k.answered(r, "z1", "s1", 200, http.Header{}, "v2") {
			t.Error("copied again at once")
		}
		time.Sleep(31 * time.Second)
		if !k.answered(r, "z1", "s1", 200, http.Header{}, "v3") {
			t.Error("not copied after the refresh time")
		}
		if got := bodyOf(t, k.refused(r, "z1", "s1")); got != "v3" {
			t.Errorf("given: %s", got)
		}
	})
}

// TestPurge: by store, zone and all; answers that were under way are not kept.
func TestPurge(t *testing.T) {
	k := newRig(tenMinutes())
	fill := func() {
		for _, place := range [][2]string{{"z1", "s1"}, {"z1", "s2"}, {"z2", "s3"}} {
			for _, path := range []string{"a", "b"} {
				k.twice(get("http://shop.example/"+path), place[0], place[1], 200, http.Header{}, "page")
			}
		}
	}
	there := func(zone, store string) bool { return k.refused(get("http://shop.example/a"), zone, store) != nil }
	fill()
	if n := k.memory.PurgeStore("s1"); n != 2 || there("z1", "s1") || !there("z1", "s2") || !there("z2", "s3") {
		t.Errorf("purged %d of s1", n)
	}
	fill()
	if n := k.memory.PurgeZone("z1"); n != 4 || there("z1", "s1") || there("z1", "s2") || !there("z2", "s3") {
		t.Errorf("purged %d of z1", n)
	}
	fill()
	if n := k.memory.PurgeAll(); n != 6 || there("z2", "s3") || k.memory.Figures().Answers != 0 || k.memory.Figures().Stores != 0 {
		t.Errorf("purged %d of all: %+v", n, k.memory.Figures())
	}
	fill()
	k.memory.PurgeAll()
	var q stale.Request
	r := get("http://shop.example/a")
	k.answered(r, "z1", "s1", 200, http.Header{}, "page")
	k.keeper.Ask(&q, r, "z1", "s1", time.Now())
	c := q.Begin(200, http.Header{}, nil)
	c.Write([]byte("old"))
	k.memory.PurgeStore("s1")
	c.Keep()
	if there("z1", "s1") {
		t.Error("an answer that was under way at the purge was kept")
	}
}

// TestReused: a Request that is reset keeps nothing of the one before.
func TestReused(t *testing.T) {
	k := newRig(tenMinutes())
	var q stale.Request
	k.keeper.Look(&q, get("http://shop.example/", "Cookie", "id=1"), "z1", "s1")
	q.Reset()
	k.twice(get("http://shop.example/"), "z1", "s1", 200, http.Header{}, "page")
	k.keeper.Look(&q, get("http://shop.example/"), "z1", "s1")
	if q.Find(time.Now()) == nil {
		t.Error("a reused Request found nothing")
	}
}

// TestLarge: what is larger than max_entry is not kept, whether it says so or not.
func TestLarge(t *testing.T) {
	c := tenMinutes()
	c.MaxEntry = 1000
	k := newRig(c)
	large := string(bytes.Repeat([]byte("x"), 1001))
	if k.twice(get("http://shop.example/a"), "z1", "s1", 200, http.Header{}, large) || k.twice(get("http://shop.example/b"), "z1", "s1", 200, http.Header{"Content-Length": {"1001"}}, large) {
		t.Error("kept")
	}
	if !k.twice(get("http://shop.example/c"), "z1", "s1", 200, http.Header{}, large[:1000]) {
		t.Error("1000 bytes are not kept")
	}
	k.memory.PurgeAll()
	if f := k.memory.Figures(); f.Bytes > f.MaxBytes/100 {
		t.Errorf("%d bytes are taken by nothing", f.Bytes)
	}
}

// TestConfigCheck: what cannot be meant is refused with a reason.
func TestConfigCheck(t *testing.T) {
	for want, c := range map[string]stale.Config{
		"max_size is 5 bytes":  {MaxSize: 5},
		"max_entry is 4194305": {MaxEntry: 4*mib + 1},
		"refresh is 1ms":       {Refresh: config.Duration(time.Millisecond)},
		"Cookie says":          {IgnoreHeaders: []string{"cookie"}},
		"no name of a header":  {IgnoreHeaders: []string{"a b"}},
		"no name of a cookie":  {IgnoreCookies: []string{"a="}},
	} {
		if err := c.Check(); err == nil || !bytes.Contains([]byte(fmt.Sprint(err)), []byte(want)) {
			t.Errorf("error = %v, want %q", err, want)
		}
	}
	if err := (&stale.Config{}).Check(); err != nil {
		t.Error(err)
	}
}
