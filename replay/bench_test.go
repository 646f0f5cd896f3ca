package replay_test

import (
	"bufio"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/replay"
)

// lineOf is a line of a usual length of Caddy's access log.
const lineOf = `{"level":"info","ts":%.6f,"logger":"http.log.access.log0","msg":"handled request","request":{"remote_ip":"10.0.0.1","remote_port":"40000","client_ip":"10.0.0.1","proto":"HTTP/1.1","method":"GET","host":"api.example.com","uri":"/search?key=s%d&q=red+shoes","headers":{"User-Agent":["Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36"],"Accept":["application/json"],"Accept-Encoding":["gzip, deflate, br"],"Cookie":["REDACTED"]}},"bytes_read":0,"user_id":"","duration":%.6f,"size":27,"status":200,"resp_headers":{"Server":["Caddy"],"Content-Type":["application/json"],"Date":["Wed, 14 Jan 2026 09:00:00 GMT"]}%s}` + "\n"

// millionLines writes a log of a million lines: 100 requests per second, almost
// three hours.
func millionLines(b *testing.B, extra func(i int) string) string {
	b.Helper()
	name := filepath.Join(b.TempDir(), "access.log")
	file, err := os.Create(name)
	if err != nil {
		b.Fatal(err)
	}
	out := bufio.NewWriter(file)
	for i := range 1_000_000 {
		fmt.Fprintf(out, lineOf, 1768381200+float64(i)/100, i*7919%1200, float64(10+i%30)/1000, extra(i))
	}
	if err := out.Flush(); err != nil {
		b.Fatal(err)
	}
	file.Close()
	return name
}

// BenchmarkMillionLines reads and replays a log of a million lines, whose stores
// are named in them or have to be looked up.
func BenchmarkMillionLines(b *testing.B) {
	policy, err := (&config.App{Workers: 32}).Policy()
	if err != nil {
		b.Fatal(err)
	}
	inZone := func(i int) string {
		return fmt.Sprintf(`,"firebreak_store":"s%d","firebreak_zone":"z%d","firebreak_outcome":"ok"`, i*7919%1200, i*7919%12)
	}
	lookup := func(r *http.Request) (replay.Store, error) {
		return replay.Store{Zone: "z1", Name: r.URL.Query().Get("key")}, nil
	}
	for name, c := range map[string]struct {
		extra   func(int) string
		resolve replay.Resolve
	}{
		"named":     {inZone, nil},
		"looked_up": {func(int) string { return "" }, lookup},
	} {
		b.Run(name, func(b *testing.B) {
			path := millionLines(b, c.extra)
			for b.Loop() {
				measure(b, path, policy, c.resolve)
			}
		})
	}
}

func measure(b *testing.B, path string, policy *config.Policy, resolve replay.Resolve) {
	b.Helper()
	file, err := os.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	defer file.Close()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	began := time.Now()
	log, err := replay.Read(file, replay.ReadOptions{Resolve: resolve})
	if err != nil {
		b.Fatal(err)
	}
	read := time.Since(began)
	log.Infer(policy)
	inferred := time.Since(began)
	report := replay.Run(log, policy, replay.Options{})
	b.ReportMetric(read.Seconds(), "read-s")
	b.ReportMetric((inferred - read).Seconds(), "infer-s")
	b.ReportMetric((time.Since(began) - inferred).Seconds(), "run-s")
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(len(log.Requests)), "bytes/request")
	if n := report.Total.Replay.Good(); n != 1_000_000 {
		b.Errorf("%d of a million requests were answered well", n)
	}
	runtime.KeepAlive(log)
}
