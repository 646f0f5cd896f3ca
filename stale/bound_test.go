package stale_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/stale"
)

// TestMemoryBound: whatever is asked for, and by however many, the memory takes no
// more than max_size, and the process 5 % more at most.
func TestMemoryBound(t *testing.T) {
	c := tenMinutes()
	c.MaxSize = 32 * mib
	k := newRig(c)
	heap := func() int64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	h := http.Header{"Content-Type": {"application/json"}, "Etag": {`"abcdef0123456789"`}, "X-Request-Id": {"0123456789abcdef"}, "Date": {"Wed, 01 Jul 2026 12:00:00 GMT"}}
	for name, size := range map[string]int{"small": 100, "medium": 3000, "large": 60000} {
		k.memory.PurgeAll()
		before := heap()
		body := strings.Repeat("x", size)
		n := 3 * int(c.MaxSize) / (size + 800)
		for i := range n {
			r := get(fmt.Sprintf("http://shop.example/made-up/%d?page=%d", i, i), "Accept", "*/*", "Cookie", fmt.Sprint("id=", i))
			k.twice(r, "z1", fmt.Sprint("s", i%500), 200, h, body)
			if f := k.memory.Figures(); f.Bytes > f.MaxBytes {
				t.Fatalf("%s: %d bytes are kept, more than %d", name, f.Bytes, f.MaxBytes)
			}
		}
		grown, f := heap()-before, k.memory.Figures()
		t.Logf("%s: %d answers of %d stores, %d evicted; counted %.1f MiB, on the heap %.1f MiB", name, f.Answers, f.Stores, f.Evicted, float64(f.Bytes)/mib, float64(grown)/mib)
		if grown > c.MaxSize*105/100 {
			t.Errorf("%s: the heap grew by %d bytes, more than max_size + 5 %%", name, grown)
		}
		if f.Bytes < c.MaxSize*9/10 {
			t.Errorf("%s: only %d bytes are used", name, f.Bytes)
		}
	}
	runtime.KeepAlive(k)
}

// TestShare: a store that asks for ever more does not evict what the others have.
func TestShare(t *testing.T) {
	c := tenMinutes()
	c.MaxSize = 4 * mib
	k := newRig(c)
	body := strings.Repeat("x", 2000)
	for i := range 200 {
		k.twice(get("http://shop.example/"), "z1", fmt.Sprint("s", i), 200, http.Header{}, body)
	}
	for i := range 10000 {
		k.twice(get(fmt.Sprint("http://shop.example/", i)), "z1", "greedy", 200, http.Header{}, body)
	}
	left := 0
	for i := range 200 {
		if k.refused(get("http://shop.example/"), "z1", fmt.Sprint("s", i)) != nil {
			left++
		}
	}
	if left < 200 {
		t.Errorf("%d of 200 stores still have their answers", left)
	}
	if k.refused(get("http://shop.example/9999"), "z1", "greedy") == nil {
		t.Error("the greedy store does not have its latest answer")
	}
}

// TestPurgeRace: once a purge has returned, no answer to a request from before it is
// given.
func TestPurgeRace(t *testing.T) {
	k := newRig(tenMinutes())
	var state sync.RWMutex // guards version
	version := 0
	stop := make(chan struct{})
	var work sync.WaitGroup
	var kept, given atomic.Int64
	for range 4 {
		work.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				r := get(fmt.Sprint("http://shop.example/", rand.IntN(3)))
				if rand.IntN(2) == 0 {
					var q stale.Request
					k.keeper.Ask(&q, r, "z1", "s1", time.Now())
					state.RLock() // the data is read while the request is under way
					then := fmt.Sprint(version)
					state.RUnlock()
					if c := q.Begin(200, http.Header{"X-V": {then}}, nil); c != nil {
						runtime.Gosched()
						kept.Add(1)
						c.Keep()
					}
					continue
				}
				state.RLock()
				now := version
				res := k.refused(r, "z1", "s1")
				state.RUnlock()
				if res != nil {
					given.Add(1)
				}
				if res != nil && res.Header.Get("X-V") != fmt.Sprint(now) {
					t.Errorf("given: version %s after the purge for %d", res.Header.Get("X-V"), now)
					return
				}
			}
		})
	}
	for range 300 {
		// A repair: maintenance keeps requests out, then the purge, then the release.
		state.Lock()
		version++
		k.memory.PurgeStore("s1")
		state.Unlock()
		time.Sleep(time.Millisecond)
	}
	close(stop)
	work.Wait()
	if kept.Load() < 100 || given.Load() < 100 {
		t.Errorf("%d were kept and %d given: the test shows nothing", kept.Load(), given.Load())
	}
}
