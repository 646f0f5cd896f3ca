package stale_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/stale"
)

var isolationRequests = flag.Int("isolation.requests", 300_000, "how many requests TestIsolation asks")

// crowd makes requests of a few stores, users and pages, most of which differ from
// another in one thing, so that they are mistaken for each other if anything is left
// out of the key.
type crowd struct {
	*rand.Rand
	traits [traits]int // of the request that is made
	next   int
}

const traits = 20

// pick picks a word by the next trait of the request.
func (c *crowd) pick(words ...string) string {
	c.next++
	return words[c.traits[c.next-1]%len(words)]
}

// draw draws the traits of a request: those of one of a few, and one of its own.
func (c *crowd) draw() {
	base := rand.New(rand.NewPCG(1, c.Uint64N(30)))
	for i := range c.traits {
		c.traits[i] = base.IntN(1000)
	}
	if c.IntN(2) == 0 {
		c.traits[c.IntN(traits)] = c.IntN(1000)
	}
	c.next = 0
}

// request is one of the crowd, where it belongs, and what its answer depends on.
func (c *crowd) request() (r *http.Request, zone, store, secret string) {
	c.draw()
	zone, store = "z1", c.pick("s1", "s2", "s3", "s", "1s")
	if c.IntN(1000) == 0 {
		zone = "z2" // the store moves
	}
	r = &http.Request{Method: c.pick("GET", "GET", "GET", "HEAD"), Host: c.pick("a.example", "b.example", "a.exampleb"), Header: http.Header{}}
	target, err := url.Parse("http://" + r.Host + c.pick("/", "/a", "/a/b", "/a%2Fb", "/ab"))
	if err != nil {
		panic(err)
	}
	r.URL = target
	r.URL.RawQuery = c.pick("", "", "x=1", "x=1&y=2", "x=1&x=2", "x=2&x=1", "y=2x=1", "%78=1&x=2", "x=2&%78=1")
	fields := []string{r.Method, zone, store, r.Host, r.URL.EscapedPath(), r.URL.RawQuery}
	add := func(name, value string) {
		if value != "" {
			r.Header.Add(name, value)
		}
	}
	for _, name := range []string{"Authorization", "X-Api-Key", "X-User", "Origin", "Cookie", "Cookie"} {
		add(name, c.pick("", "", "1", "2", "12", "1; 2"))
	}
	for _, name := range []string{"Authorization", "X-Api-Key", "X-User", "Origin", "Cookie"} {
		// Cookie fields are one, in whatever pieces they come (RFC 9113, section 8.2.3).
		fields = append(fields, name+"="+strings.Join(r.Header[name], "; "))
	}
	add("Accept-Language", c.pick("", "de", "en"))
	add("Accept", c.pick("", "text/html"))
	add("User-Agent", c.pick("x", "y"))
	return r, zone, store, strings.Join(fields, "\n") + "\n"
}

// answer is how the API server answers: the body says what it depends on.
func (c *crowd) answer(r *http.Request, secret string) (h http.Header, body string) {
	h = http.Header{"Cache-Control": {[]string{"public", "public, max-age=5", "public, stale-if-error=100"}[c.IntN(3)]}}
	switch c.IntN(4) {
	case 0:
		h["Vary"] = []string{"Accept-Language"}
	case 1:
		h["Vary"] = []string{"accept", "Accept-Language , Cookie"}
	}
	for field := range strings.SplitSeq(strings.Join(h["Vary"], ","), ",") {
		if name := http.CanonicalHeaderKey(strings.TrimSpace(field)); name != "" && name != "Cookie" {
			secret += name + "=" + r.Header.Get(name) + "\n"
		}
	}
	return h, secret
}

// mayHave reports whether a request might have got an answer from the API server.
func mayHave(r *http.Request, secret, body string) bool {
	// HEAD may get the header of what GET got.
	asGet := strings.Replace(secret, "HEAD\n", "GET\n", 1)
	rest, ok := strings.CutPrefix(body, secret)
	if !ok {
		if rest, ok = strings.CutPrefix(body, asGet); !ok || r.Method != http.MethodHead {
			return false
		}
	}
	for line := range strings.Lines(rest) {
		name, value, found := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		if found && r.Header.Get(name) != value {
			return false
		}
	}
	return true
}

// TestIsolation: of many requests of shuffled zones, stores, credentials, cookies,
// URLs and Vary, none gets an answer that it might not have had from the API server.
func TestIsolation(t *testing.T) {
	c := tenMinutes()
	c.Refresh = 0
	k := newRig(c)
	var work sync.WaitGroup
	const workers = 2
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	var mu sync.Mutex
	given := 0
	for worker := range uint64(workers) {
		work.Go(func() {
			one := ask(t, k, &crowd{Rand: rand.New(rand.NewPCG(seed, worker))}, *isolationRequests/workers)
			mu.Lock()
			given += one
			mu.Unlock()
		})
	}
	work.Wait()
	t.Logf("%d requests, %d answered from memory", *isolationRequests, given)
	if given < *isolationRequests/20 {
		t.Error("too few answers: the test shows nothing")
	}
}

func ask(t *testing.T, k *rig, c *crowd, n int) (given int) {
	var asked stale.Request
	clock := time.Now()
	for i := range n {
		if i%50_000 == 0 {
			clock = clock.Add(31 * time.Second) // copies are due again
		}
		if i%10_000 == 0 {
			k.memory.PurgeStore("s1")
		}
		r, zone, store, secret := c.request()
		asked.Reset()
		if c.IntN(2) == 0 {
			if k.keeper.Ask(&asked, r, zone, store, clock) {
				h, body := c.answer(r, secret)
				h["X-For"] = []string{body}
				if kept := asked.Begin(200, h, nil); kept != nil {
					kept.Write([]byte(body)[:len(body)*btoi(r.Method == "GET")])
					kept.Keep()
				}
			}
			continue
		}
		k.keeper.Look(&asked, r, zone, store)
		answer := asked.Find(time.Now())
		if answer == nil {
			continue
		}
		given++
		w := httptest.NewRecorder()
		answer.WriteTo(w, "busy")
		got := w.Header().Get("X-For")
		if r.Method == "GET" && w.Body.String() != got || !mayHave(r, secret, got) {
			t.Errorf("%s\ngot the answer for\n%s", fmt.Sprintf("%q %v", secret, r.Header), got)
			return given
		}
	}
	return given
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// TestStoreInKey: two stores that ask for the very same get nothing of each other,
// by where answers are kept and by the key.
func TestStoreInKey(t *testing.T) {
	k := newRig(tenMinutes())
	r := get("http://shop.example/")
	if k.keeper.Identity(r, "z1", "s1") == k.keeper.Identity(r, "z1", "s2") {
		t.Error("the key does not have the store")
	}
	if k.keeper.Identity(r, "z1", "s1") == k.keeper.Identity(r, "z2", "s1") {
		t.Error("the key does not have the zone")
	}
	if other := newRig(tenMinutes()); k.keeper.Identity(r, "z1", "s1") == other.keeper.Identity(r, "z1", "s1") {
		t.Error("the key of another process is the same")
	}
	if !k.twice(get("http://shop.example/"), "z1", "s1", 200, http.Header{}, "prices of s1") {
		t.Fatal("not kept")
	}
	for i := range 1000 {
		if res := k.refused(get("http://shop.example/"), "z1", fmt.Sprint("t", i)); res != nil {
			t.Fatalf("store t%d got %q", i, bodyOf(t, res))
		}
	}
}
