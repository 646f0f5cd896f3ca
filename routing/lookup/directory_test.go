package lookup_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/firebreak-proxy/firebreak/routing"
	"github.com/firebreak-proxy/firebreak/routing/lookup"
)

// TestInUseNeverWaits: after its first request, a store that is in use waits
// for nothing, however slow the service is, and is still asked for in time.
func TestInUseNeverWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := stage(t, lookup.Options{TTL: time.Minute}, after(200*time.Millisecond, shop))
		s.wants(t, "s1", "z1", 200*time.Millisecond)
		for range 30 * 60 {
			time.Sleep(time.Second)
			s.wants(t, "s1", "z1", 0)
		}
		// Each answer is good for 54 to 60 s, renewed after 3/4 of that.
		if n := s.times("/s1"); n < 30 || n > 50 {
			t.Errorf("asked %d times in 30 minutes, want once in 40 to 60 s", n)
		}
		if n := s.Report().Lookups["stale"]; n != 0 {
			t.Errorf("%d answers were too old", n)
		}
	})
}

// TestMoved: a store that moves is known to have moved after the TTL, in use or
// not.
func TestMoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := stage(t, lookup.Options{TTL: time.Minute}, shop)
		s.wants(t, "busy", "z1", 0)
		s.wants(t, "idle", "z1", 0)
		s.set(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, `{"store":%q,"zone":"z2"}`, r.URL.Path[1:])
		})
		for range 60 {
			time.Sleep(time.Second)
			s.Ask(t.Context(), "busy")
		}
		synctest.Wait()
		s.wants(t, "busy", "z2", 0)
		s.wants(t, "idle", "z2", 0)
		if got := s.Zones(); !slices.Equal(got, []string{"z1", "z2"}) {
			t.Errorf("zones %v", got)
		}
		if n := s.diary.count(routing.SourceZone); n != 2 {
			t.Errorf("told of %d new zones, want 2", n)
		}
	})
}

// TestOneFlight: whoever wants the same key waits for the same question, which
// no caller's leaving ends.
func TestOneFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := stage(t, lookup.Options{}, after(100*time.Millisecond, shop))
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		var found atomic.Int32
		all.Go(func() { s.Ask(ctx, "s1") })
		synctest.Wait()
		for range 100 {
			all.Go(func() {
				if _, ok := s.Ask(t.Context(), "s1"); ok {
					found.Add(1)
				}
			})
		}
		synctest.Wait()
		cancel()
		all.Wait()
		if found.Load() != 100 || s.times("/s1") != 1 {
			t.Errorf("%d of 100 found the store with %d questions, want 1", found.Load(), s.times("/s1"))
		}
	})
}

// TestHung: a service that hangs costs the first requests of new stores the
// timeout, and after that no caller at all.
func TestHung(t *testing.T) {
	for name, trouble := range map[string]func(*scene){
		"hangs":   func(s *scene) { s.set(hang) },
		"refuses": func(s *scene) { s.refuses.Store(true); s.CloseIdle() },
		"drips":   func(s *scene) { s.set(drip) },
		"errors":  func(s *scene) { s.set(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }) },
	} {
		inBubble(t, name, func(t *testing.T) { testHung(t, trouble) })
	}
}

// drip sends a byte of an answer a second.
func drip(w http.ResponseWriter, r *http.Request) {
	for _, c := range []byte(`{"store":"s1","zone":"z1"}`) {
		if _, err := w.Write([]byte{c}); err != nil || http.NewResponseController(w).Flush() != nil {
			return
		}
		select {
		case <-time.After(time.Second):
		case <-r.Context().Done():
			return
		}
	}
}

func testHung(t *testing.T, trouble func(*scene)) {
	const timeout = 300 * time.Millisecond
	s := stage(t, lookup.Options{TTL: time.Minute, Timeout: timeout}, shop)
	for n := range 50 {
		s.wants(t, fmt.Sprint("s", n), "z1", 0)
	}
	trouble(s)
	for n := range 3 {
		began := time.Now()
		if _, ok := s.Ask(t.Context(), fmt.Sprint("new", n)); ok || time.Since(began) > timeout {
			t.Errorf("a new store: %v after %s", ok, time.Since(began))
		}
	}
	synctest.Wait()
	asked := s.times("")
	// For an hour: the known ones are found, long after their TTL, and nobody
	// waits.
	for minute := range 60 {
		for n := range 50 {
			s.wants(t, fmt.Sprint("s", n), "z1", 0)
		}
		s.wants(t, fmt.Sprint("later", minute), "", 0)
		time.Sleep(time.Minute)
	}
	if n := s.times("") - asked; n > 60*60/3 {
		t.Errorf("a service that is down was asked %d times in an hour", n)
	}
	if lost, back := s.diary.count(routing.SourceLost), s.diary.count(routing.SourceBack); lost != 1 || back != 0 {
		t.Errorf("told of %d losses and %d returns, want 1 and 0", lost, back)
	}
	if !s.Report().Down {
		t.Error("the report does not say that the service is down")
	}
	s.refuses.Store(false)
	s.set(shop)
	time.Sleep(6 * time.Second)
	s.wants(t, "new0", "z1", 0)
	if n := s.diary.count(routing.SourceBack); n != 1 || s.Report().Down {
		t.Errorf("told of %d returns, want 1", n)
	}
}

// TestHangsInUse: stores in use do not wait when the service begins to hang,
// not even before it counts as down.
func TestHangsInUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := stage(t, lookup.Options{TTL: 2 * time.Second, Timeout: 500 * time.Millisecond}, shop)
		ask := func(from time.Duration) {
			for began := time.Now(); time.Since(began) < from; time.Sleep(50 * time.Millisecond) {
				s.wants(t, "s1", "z1", 0)
			}
		}
		ask(10 * time.Second)
		s.set(hang)
		ask(time.Minute)
	})
}

// TestUnknown: made-up keys are remembered for a while, cost the service one
// question each, and push out no store.
func TestUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := stage(t, lookup.Options{Cache: 100, NegativeTTL: 10 * time.Second}, shop)
		for n := range 100 {
			s.wants(t, fmt.Sprint("s", n), "z1", 0)
		}
		for range 5 {
			s.wants(t, "no1", "", 0)
		}
		if n := s.times("/no1"); n != 1 {
			t.Errorf("asked %d times, want 1", n)
		}
		time.Sleep(11 * time.Second)
		s.wants(t, "no1", "", 0)
		if n := s.times("/no1"); n != 2 {
			t.Errorf("asked %d times, want 2", n)
		}
		for n := range 5000 {
			s.wants(t, fmt.Sprint("no", n), "", 0)
		}
		s.wants(t, strings.Repeat("x", 200), "", 0)
		s.wants(t, "\x00", "", 0)
		if known, unknown := s.Kept(); known != 100 || unknown > 100 {
			t.Errorf("%d stores and %d unknown keys are kept, want 100 and at most 100", known, unknown)
		}
		// A store that appears replaces what was known of its key.
		s.set(func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `{"store":"big","zone":"z1","keys":["no4999","other"]}`)
		})
		s.wants(t, "big", "z1", 0)
		s.wants(t, "no4999", "z1", 0)
		s.wants(t, "other", "z1", 0)
	})
}

// TestGone: a store that is no more is unknown after the TTL.
func TestGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := stage(t, lookup.Options{TTL: time.Minute}, shop)
		s.wants(t, "s1", "z1", 0)
		s.set(http.NotFound)
		time.Sleep(time.Minute)
		s.wants(t, "s1", "", 0)
	})
}

// TestOneKeyHangs: a key that the service has no answer to costs its requests
// the timeout once in a while, and the others nothing.
func TestOneKeyHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := stage(t, lookup.Options{Timeout: 300 * time.Millisecond}, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/stuck" {
				hang(w, r)
				return
			}
			shop(w, r)
		})
		for n := range 10 {
			s.wants(t, "stuck", "", 300*time.Millisecond)
			for range 9 {
				time.Sleep(100 * time.Millisecond)
				s.wants(t, "stuck", "", 0)
			}
			s.wants(t, fmt.Sprint("s", n), "z1", 0)
			time.Sleep(100 * time.Millisecond)
		}
		if n := s.diary.count(routing.SourceLost); n != 0 {
			t.Errorf("told %d times that the service is down", n)
		}
	})
}

// TestGoneSinceRestart: the service's word counts more than what was known
// before a restart, for as long as it is known.
func TestGoneSinceRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := lookup.Options{Snapshot: filepath.Join(t.TempDir(), "stores.csv"), NegativeTTL: 10 * time.Second}
		s := stage(t, o, shop)
		s.wants(t, "s1", "z1", 0)
		s.stop()
		s.set(http.NotFound)
		s.open(t, o)
		s.wants(t, "s1", "z1", 0)
		for range 5 {
			time.Sleep(11 * time.Second)
			s.wants(t, "s1", "", 0)
		}
	})
}

// TestBounds: so many questions at the service, so many waiting, and no more.
func TestBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var now, most atomic.Int32
		s := stage(t, lookup.Options{MaxConcurrent: 4, Timeout: 1050 * time.Millisecond}, func(w http.ResponseWriter, r *http.Request) {
			for n := now.Add(1); n > most.Load(); {
				most.Store(n)
			}
			after(100*time.Millisecond, shop)(w, r)
			now.Add(-1)
		})
		var all sync.WaitGroup
		var found, atOnce atomic.Int32
		for n := range 1000 {
			all.Go(func() {
				began := time.Now()
				_, ok := s.Ask(t.Context(), fmt.Sprint("s", n))
				switch took := time.Since(began); {
				case ok:
					found.Add(1)
				case took == 0:
					atOnce.Add(1)
				case took > 1050*time.Millisecond:
					t.Errorf("a request waited %s", took)
				}
			})
		}
		all.Wait()
		if most.Load() > 4 {
			t.Errorf("%d questions at once, want at most 4", most.Load())
		}
		// 64 may wait; in a second 4 slots answer 40.
		if found.Load() != 40 || atOnce.Load() != 1000-64 {
			t.Errorf("%d found, %d turned away at once, want 40 and 936", found.Load(), atOnce.Load())
		}
	})
}

// TestUselessAnswers: what is wrong with an answer is told, what is known stays.
func TestUselessAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		serve http.HandlerFunc
		kind  routing.SourceEventKind
		want  string
	}{
		"html":      {say("<html>Sign in</html>"), routing.SourceLost, "not the JSON object"},
		"cut short": {say(`{"store":"s1"`), routing.SourceLost, "not the JSON object"},
		"two":       {say(`{"store":"s1","zone":"z1"}{}`), routing.SourceLost, "more than one"},
		"array":     {say(`["s1","z1"]`), routing.SourceLost, "not the JSON object"},
		"not UTF-8": {say("{\"store\":\"\xff\",\"zone\":\"z1\"}"), routing.SourceLost, "UTF-8"},
		"huge":      {say(`{"store":"` + strings.Repeat("s", 100_000) + `"}`), routing.SourceLost, "longer than 65536"},
		"status":    {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(403) }, routing.SourceLost, "403"},
		"redirect": {
			func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) },
			routing.SourceLost, "302",
		},
		"no store":  {say(`{}`), routing.SourceBadAnswer, "store is empty"},
		"null":      {say(`null`), routing.SourceBadAnswer, "store is empty"},
		"no zone":   {say(`{"store":"s1"}`), routing.SourceBadAnswer, "zone is empty"},
		"bad zone":  {say(`{"store":"s1","zone":"zone 1"}`), routing.SourceBadAnswer, `zone "zone 1"`},
		"reserved":  {say(`{"store":"s1","zone":"all"}`), routing.SourceBadAnswer, "reserved"},
		"long name": {say(`{"store":"` + strings.Repeat("s", 200) + `","zone":"z1"}`), routing.SourceBadAnswer, "200 bytes"},
		"empty key": {say(`{"store":"s1","zone":"z1","keys":[""]}`), routing.SourceBadAnswer, "key is empty"},
	} {
		inBubble(t, name, func(t *testing.T) {
			s := stage(t, lookup.Options{TTL: time.Minute}, shop)
			s.wants(t, "old", "z1", 0)
			s.set(c.serve)
			time.Sleep(time.Minute)
			s.wants(t, "old", "z1", 0)
			for n := range 3 {
				s.wants(t, fmt.Sprint("new", n), "", 0)
			}
			if err := s.diary.last(c.kind); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("told %v, want %q", err, c.want)
			}
			if n := s.diary.count(c.kind); n != 1 {
				t.Errorf("told %d times, want once", n)
			}
		})
	}
}

func say(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, text) }
}

// list answers with pages of so many of n stores.
func list(n, size int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/all" {
			http.NotFound(w, r)
			return
		}
		from := 0
		_, _ = fmt.Sscan(r.URL.Query().Get("after"), &from)
		rows := []string{}
		for i := from; i < min(n, from+size); i++ {
			rows = append(rows, fmt.Sprintf(`{"store":"s%d","zone":"z%d","keys":["k%d"]}`, i, i%3, i))
		}
		next := ""
		if from+size < n {
			next = fmt.Sprint(from + size)
		}
		fmt.Fprintf(w, `{"stores":[%s],"next":%q}`, strings.Join(rows, ","), next)
	}
}

// TestList: a list makes all stores known, and none of them waits.
func TestList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := lookup.Options{List: "http://lookup/all?after={after}", ListEvery: time.Minute, Snapshot: filepath.Join(t.TempDir(), "stores.csv")}
		s := stage(t, o, list(250, 100))
		synctest.Wait()
		listed := lookup.Listed{Directory: s.Directory}
		if listed.Len() != 250 || s.times("/all") != 3 {
			t.Fatalf("%d stores listed with %d pages, want 250 and 3", listed.Len(), s.times("/all"))
		}
		s.wants(t, "k7", "z1", 0)
		if n := s.times("/k7"); n != 0 {
			t.Errorf("a listed key was asked for %d times", n)
		}
		var z2 int
		listed.EachStore("z2", func(string) bool { z2++; return true })
		if z2 != 83 {
			t.Errorf("%d stores in z2, want 83", z2)
		}
		for name, serve := range map[string]http.HandlerFunc{
			"but had 250 stores before":         list(0, 100),
			`stores[1]: store "a" is in zone`:   say(`{"stores":[{"store":"a","zone":"z1"},{"store":"a","zone":"z2"}]}`),
			`stores[0]: zone "?" has a char`:    say(`{"stores":[{"store":"a","zone":"?"}]}`),
			"next is \"x\" again":               say(`{"stores":[{"store":"a","zone":"z1"}],"next":"x"}`),
			"page 1 of the list of stores: ans": http.NotFound,
			"not the JSON object":               say(`[]`),
		} {
			s.set(serve)
			time.Sleep(time.Minute)
			synctest.Wait()
			if err := s.diary.last(routing.SourceRefused); err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("refused with %v, want %q", err, name)
			}
			if listed.Len() != 250 {
				t.Fatalf("%d stores after a list that was refused", listed.Len())
			}
			s.set(list(250, 100))
			time.Sleep(time.Minute)
		}
		s.set(list(300, 1000))
		time.Sleep(time.Minute)
		s.wants(t, "k299", "z2", 0)

		// A restart while the service is down.
		s.stop()
		s.refuses.Store(true)
		s.open(t, o)
		s.wants(t, "k299", "z2", 0)
		if n := (lookup.Listed{Directory: s.Directory}).Len(); n != 300 {
			t.Errorf("%d stores after a restart, want 300", n)
		}
	})
}

// TestRestart: without a list, the answers outlive a restart, and a second one.
func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := lookup.Options{Snapshot: filepath.Join(t.TempDir(), "stores.csv")}
		s := stage(t, o, shop)
		for n := range 10 {
			s.wants(t, fmt.Sprint("s", n), "z1", 0)
		}
		s.stop()
		for range 2 {
			s.refuses.Store(true)
			s.open(t, o)
			for n := range 9 {
				s.wants(t, fmt.Sprint("s", n), "z1", 0)
			}
			s.refuses.Store(false)
			time.Sleep(time.Minute)
			s.wants(t, "other", "z1", 0)
			s.stop()
		}
		if n := s.diary.count(routing.SourceRestored); n != 2 {
			t.Errorf("restored %d times, want 2", n)
		}
		s.refuses.Store(true)
		s.open(t, o)
		s.wants(t, "s9", "z1", 0)
		s.wants(t, "other", "z1", 0)
	})
}

// TestCachedAllocs: a known answer takes no memory.
func TestCachedAllocs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := stage(t, lookup.Options{List: "http://lookup/all?after={after}"}, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/all" {
				list(10, 100)(w, r)
				return
			}
			shop(w, r)
		})
		synctest.Wait()
		s.wants(t, "asked", "z1", 0)
		s.wants(t, "no", "", 0)
		for _, key := range []string{"asked", "s1", "no"} {
			ctx := t.Context()
			if n := testing.AllocsPerRun(100, func() { s.Ask(ctx, key) }); n != 0 {
				t.Errorf("%s: %v allocations, want none", key, n)
			}
		}
	})
}

func TestFill(t *testing.T) {
	for _, c := range []struct{ url, key, want string }{
		{"http://l/s/{key}", "a", "http://l/s/a"},
		{"http://l/s/{key}?x=1", "a/b?c#d e", "http://l/s/a%2Fb%3Fc%23d%20e?x=1"},
		{"http://l/s/{key}/zone", "..", "http://l/s/%2E%2E/zone"},
		{"http://l/s?key={key}", "a&b=c d", "http://l/s?key=a%26b%3Dc+d"},
		{"http://l/{key}?key={key}", "a b", "http://l/a%20b?key=a+b"},
	} {
		if got := lookup.Fill(c.url, "{key}", c.key); got != c.want {
			t.Errorf("%s with %q: %s, want %s", c.url, c.key, got, c.want)
		}
	}
}

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		o    lookup.Options
		want string
	}{
		{lookup.Options{}, "no URL"},
		{lookup.Options{URL: "http://l/stores"}, "has no {key}"},
		{lookup.Options{URL: "/stores/{key}"}, "no http or https URL"},
		{lookup.Options{URL: "ftp://l/{key}"}, "no http or https URL"},
		{lookup.Options{URL: "http://{key}.l/"}, "name of the host"},
		{lookup.Options{URL: "http://l:{key}/"}, "URL"},
		{lookup.Options{URL: "http://{key}@l/"}, "name of the host"},
		{lookup.Options{URL: "http://l/{key}", List: "l"}, "list: "},
		{lookup.Options{URL: "http://l/{key}", Timeout: time.Minute}, "too long"},
		{lookup.Options{URL: "http://l/{key}", TTL: -1}, "negative"},
		{lookup.Options{URL: "http://l/{key}", Zones: []string{"all"}}, "reserved"},
		{lookup.Options{URL: "http://l/{key}", MaxConcurrent: -1}, "max_concurrent"},
		{lookup.Options{URL: "http://l/{key}", Cache: -1}, "cache"},
	} {
		if err := c.o.Check(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.o, err, c.want)
		}
	}
}

// FuzzAnswer: whatever a service says, what is taken for an answer can stand in
// a directory.
func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{
		`{"store":"s1","zone":"z1","keys":["k1","k2"]}`, `{"store":"s1","zone":"z1"}`, `{}`, `null`, `[]`, `{"STORE":"a","zone":"z"}`,
		`{"store":"s1","zone":"z1","keys":null,"more":{"a":[1]}}`, `{"store":"\ud800","zone":"z1"}`, `{"store":"s1","zone":"z1"} `, `{"store":1}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		store, zone, keys, err := lookup.DecodeAnswer(bytes.Clone(body))
		if err != nil {
			return
		}
		if err := routing.NewBuilder().Add(1, store, zone, nil); err != nil {
			t.Errorf("%q: %v", body, err)
		}
		for _, key := range append(keys, store) {
			if !routing.UsableKey(key) {
				t.Errorf("%q: key %q", body, key)
			}
		}
	})
}
