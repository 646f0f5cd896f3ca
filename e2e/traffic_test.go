//go:build e2e

package e2e_test

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/examples/outage/load"
)

// rate is the traffic of most tests, in requests per second.
const rate = 300

// traffic is load that runs in the background.
type traffic struct {
	start   time.Time
	stop    context.CancelFunc
	results chan []load.Result
}

func drive(t *testing.T, plan load.Plan) *traffic {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	t.Cleanup(stop)
	tr := &traffic{start: time.Now(), stop: stop, results: make(chan []load.Result, 1)}
	go func() { tr.results <- load.Run(ctx, plan) }()
	return tr
}

// wait returns what became of the requests. It says so when this machine was
// too busy to send them in time: then latencies mean little.
func (tr *traffic) wait(t *testing.T) []load.Result {
	t.Helper()
	rs := <-tr.results
	if lag := load.Lag(rs, 99); lag > 100*time.Millisecond {
		noisy.Store(t.Name(), true)
		figure(t, "NOISE: 1 %% of the requests left %s late, this machine is too busy for a fair test", lag)
	}
	return rs
}

// sleepUntil sleeps until an offset from the start of the load.
func (tr *traffic) sleepUntil(at time.Duration) { time.Sleep(time.Until(tr.start.Add(at))) }

// now is the offset from the start of the load.
func (tr *traffic) now() time.Duration { return time.Since(tr.start) }

// shoppers is everyday traffic: the zones in turn, in each zone few busy stores
// and many quiet ones, one request in ten a POST. The share of the requests
// that go to zone sick can be set beyond its twelfth.
type shoppers struct {
	proxy string // host:port
	path  string
	sick  int
	share float64 // of zone sick; 0: as every other zone
}

func (s shoppers) pick() func(n int) load.Target {
	random := rand.New(rand.NewPCG(7, 7))
	store := load.Zipf(storesPerZone, 1, 7)
	return func(n int) load.Target {
		z := n % zones
		if random.Float64() < s.share {
			z = s.sick
		}
		return s.target(z, store(), random.IntN(10) == 0)
	}
}

func (s shoppers) target(z, store int, post bool) load.Target {
	name := storeName(z, store)
	to := load.Target{Zone: zoneName(z), Store: name, URL: "http://" + s.proxy + s.path + "?key=" + name}
	if post {
		to.URL = "http://" + s.proxy + s.path
		to.Method = http.MethodPost
		to.Body = fmt.Appendf(nil, `{"query": "shoes", "key": %q}`, name)
		to.Header = http.Header{"Content-Type": {"application/json"}}
	}
	return to
}

// everyday is the plan of most tests.
func everyday(p *proxy, path string, d time.Duration) load.Plan {
	return load.Plan{Rate: rate, Duration: d, Timeout: 10 * time.Second, Pick: shoppers{proxy: p.addr, path: path}.pick()}
}

// due keeps the requests that were due from one offset to another.
func due(rs []load.Result, from, to time.Duration) []load.Result {
	return load.Filter(rs, func(r load.Result) bool { return r.At >= from && r.At < to })
}

func inZone(rs []load.Result, zone string) []load.Result {
	return load.Filter(rs, func(r load.Result) bool { return r.Zone == zone })
}

func notInZones(rs []load.Result, sick ...string) []load.Result {
	out := map[string]bool{}
	for _, zone := range sick {
		out[zone] = true
	}
	return load.Filter(rs, func(r load.Result) bool { return !out[r.Zone] })
}

func ofStores(rs []load.Result, stores map[string]bool, want bool) []load.Result {
	return load.Filter(rs, func(r load.Result) bool { return stores[r.Store] == want })
}

// bad describes the first requests that are not ok, for the message of a failure.
func bad(rs []load.Result) string {
	var b strings.Builder
	wrong := load.Filter(rs, func(r load.Result) bool { return !r.OK() })
	fmt.Fprintf(&b, "%d of %d not ok", len(wrong), len(rs))
	reasons := map[string]int{}
	for _, r := range wrong {
		reasons[cmp.Or(r.Refusal, r.Err, strconv.Itoa(r.Status))]++
	}
	fmt.Fprintf(&b, " %v", reasons)
	for _, r := range wrong[:min(len(wrong), 8)] {
		fmt.Fprintf(&b, "\n\tat %.2fs %s %s: %d %s %s after %s",
			r.At.Seconds(), r.Zone, r.Store, r.Status, r.Refusal, r.Err, r.Latency.Round(time.Millisecond))
	}
	return b.String()
}

// lastBad is when the last request that is not ok was due; 0 if all are ok.
func lastBad(rs []load.Result) time.Duration {
	last := time.Duration(0)
	for _, r := range rs {
		if !r.OK() {
			last = max(last, r.At)
		}
	}
	return last
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000) }
