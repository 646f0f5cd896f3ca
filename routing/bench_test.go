package routing_test

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/routing"
)

const million = 1_000_000

// millionStores writes a file of a million stores in a thousand zones.
func millionStores(tb testing.TB, name, format string) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), name)
	file, err := os.Create(path)
	must(tb, err)
	defer file.Close()
	w := bufio.NewWriter(file)
	if strings.HasSuffix(name, ".csv") {
		fmt.Fprintln(w, "store,zone")
	}
	for i := range million {
		fmt.Fprintf(w, format, i, i%1000)
	}
	must(tb, w.Flush())
	return path
}

const csvFormat = "store-%07d,zone-%04d\n"

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// cpuTime is what the process has used. On a busy machine it tells more than
// the clock does.
func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// reportCPU adds the processor time of an operation to a benchmark.
func reportCPU(b *testing.B, before time.Duration) {
	b.ReportMetric(float64(cpuTime()-before)/float64(b.N), "cpu-ns/op")
}

// BenchmarkLoadMillion loads a million stores. Budgets: 1.5 s, 100 bytes a
// store.
func BenchmarkLoadMillion(b *testing.B) {
	for _, c := range []struct{ name, format string }{
		{"stores.csv", csvFormat},
		{"stores.ndjson", `{"store":"store-%07d","zone":"zone-%04d"}` + "\n"},
	} {
		b.Run(c.name, func(b *testing.B) {
			path := millionStores(b, c.name, c.format)
			before, cpu := heap(), cpuTime()
			var file *routing.File
			for b.Loop() {
				file = nil
				var err error
				file, err = routing.OpenFile(routing.FileOptions{Path: path})
				must(b, err)
			}
			reportCPU(b, cpu)
			b.ReportMetric(b.Elapsed().Seconds()/float64(b.N), "s/load")
			b.ReportMetric(float64(heap()-before)/million, "B/store")
			if file.Len() != million {
				b.Fatalf("%d stores", file.Len())
			}
		})
	}
}

// BenchmarkLookup looks up stores among a million: picked as traffic picks
// them (Zipf, s = 1.1), and evenly, which is the worst that can be done to the
// processor's caches. Budget: 100 ns.
func BenchmarkLookup(b *testing.B) {
	file, err := routing.OpenFile(routing.FileOptions{Path: millionStores(b, "s.csv", csvFormat)})
	must(b, err)
	hash, err := routing.NewHash(file.Zones())
	must(b, err)
	rnd := rand.New(rand.NewPCG(1, 2))
	zipf := rand.NewZipf(rnd, 1.1, 1, million-1)
	// Busy stores stand anywhere in the file.
	busy := func() uint64 { return zipf.Uint64() * 611_953 % million }
	even := func() uint64 { return rnd.Uint64N(million) }
	for name, pick := range map[string]func() uint64{"file": busy, "file-even": even} {
		b.Run(name, func(b *testing.B) { benchmarkLookup(b, file, pick, false) })
		b.Run(name+"-waited", func(b *testing.B) { benchmarkLookup(b, file, pick, true) })
	}
	b.Run("hash", func(b *testing.B) { benchmarkLookup(b, hash, even, false) })
}

// benchmarkLookup measures lookups one after the other. The keys are in the
// cache, as a request's is, which was read a moment ago. If each is waited for,
// nothing goes on before its answer is there, so that the processor cannot wait
// for the memory of several at once: that is the time until a request knows
// its zone, and not what a lookup costs a busy server.
func benchmarkLookup(b *testing.B, d routing.Directory, pick func() uint64, waited bool) {
	var keys [256]string
	var took, cpu time.Duration
	for left := b.N; left > 0; left -= len(keys) {
		for i := range keys {
			keys[i] = fmt.Sprintf("store-%07d", pick())
		}
		cpuBefore, start := cpuTime(), time.Now()
		for i := 0; i < len(keys); {
			route, ok := d.Lookup(keys[i])
			if !ok {
				b.Fatal("unknown store")
			}
			if waited {
				i += len(route.Store) - len(keys[0]) // 0, but known only when the answer is
			}
			i++
		}
		took += time.Since(start)
		cpu += cpuTime() - cpuBefore
	}
	lookups := float64((b.N + len(keys) - 1) / len(keys) * len(keys))
	b.ReportMetric(float64(took)/lookups, "ns/op")
	b.ReportMetric(float64(cpu)/lookups, "cpu-ns/op")
}

// BenchmarkMemory is what the processor waits for one line of memory that is in
// no cache: the yardstick for the lookups of BenchmarkLookup. It walks a circle
// through 256 MiB.
func BenchmarkMemory(b *testing.B) {
	type line struct {
		next uint32
		_    [60]byte
	}
	lines := make([]line, 256<<20/64)
	order := rand.New(rand.NewPCG(1, 2)).Perm(len(lines))
	for i, at := range order {
		lines[at].next = uint32(order[(i+1)%len(order)])
	}
	at := uint32(0)
	for b.Loop() {
		at = lines[at].next
	}
	if int(at) >= len(lines) {
		b.Fatal("left the circle")
	}
}

// BenchmarkLookupDuringReload reports the longest lookup while a million
// stores are loaded again and again.
func BenchmarkLookupDuringReload(b *testing.B) {
	file, err := routing.OpenFile(routing.FileOptions{Path: millionStores(b, "s.csv", csvFormat)})
	must(b, err)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				_ = file.Reload()
			}
		}
	}()
	var longest time.Duration
	for b.Loop() {
		start := time.Now()
		file.Lookup("store-0012345")
		longest = max(longest, time.Since(start))
	}
	close(stop)
	<-done
	b.ReportMetric(float64(longest.Microseconds()), "max-µs")
}

func BenchmarkKeyQuery(b *testing.B)  { benchmarkKey(b, "query key") }
func BenchmarkKeyHeader(b *testing.B) { benchmarkKey(b, "header X-Store") }
func BenchmarkKeyHost(b *testing.B)   { benchmarkKey(b, "host_label 1") }
func BenchmarkKeyPath(b *testing.B)   { benchmarkKey(b, "path_segment 2") }
func BenchmarkKeyCookie(b *testing.B) { benchmarkKey(b, "cookie store") }

func benchmarkKey(b *testing.B, line string) {
	e := extractor(b, line)
	r := httptest.NewRequest(http.MethodGet, "http://s1.example.com/stores/s1?page=2&limit=50&key=s1", nil)
	r.Header.Set("X-Store", "s1")
	r.Header.Set("Cookie", "session=abc; store=s1")
	b.ReportAllocs()
	before := cpuTime()
	for b.Loop() {
		if key, err := e.Key(nil, r); key != "s1" || err != nil {
			b.Fatal(key, err)
		}
	}
	reportCPU(b, before)
}

// BenchmarkKeyJSON finds the key in bodies of two sizes; bytes per second are
// those of the body.
func BenchmarkKeyJSON(b *testing.B) {
	for name, pad := range map[string]int{"100B": 60, "16KiB": 16 << 10} {
		b.Run(name, func(b *testing.B) {
			e := extractor(b, "json auth.key")
			body := `{"pad":"` + strings.Repeat("x", pad) + `","auth":{"key":"s1"}}`
			r := httptest.NewRequest(http.MethodPost, "/", nil)
			r.Header.Set("Content-Type", "application/json")
			r.ContentLength = int64(len(body))
			src := strings.NewReader(body)
			b.ReportAllocs()
			b.SetBytes(int64(len(body)))
			before := cpuTime()
			for b.Loop() {
				src.Reset(body)
				r.Body = io.NopCloser(src)
				if key, err := e.Key(nil, r); key != "s1" || err != nil {
					b.Fatal(key, err)
				}
			}
			reportCPU(b, before)
		})
	}
}
