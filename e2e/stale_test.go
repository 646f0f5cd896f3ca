//go:build e2e

package e2e_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/examples/outage/load"
)

// browsers is a shop's traffic: GETs of few popular and many quiet pages of each store,
// in a few zones, and one in five of a page that nothing asked for before.
func browsers(p *proxy, path string) func(n int) load.Target {
	const someZones, stores, pages = 4, 20, 20
	random := rand.New(rand.NewPCG(20, 20))
	store, page := load.Zipf(stores, 1, 20), load.Zipf(pages, 1.2, 21)
	return func(n int) load.Target {
		to := shoppers{proxy: p.addr, path: path}.target(n%someZones, store(), false)
		if random.IntN(5) == 0 {
			to.URL += fmt.Sprintf("&q=%d", n)
		} else {
			to.URL += fmt.Sprintf("&page=%d", page())
		}
		return to
	}
}

// fromMemory keeps the answers that were given from memory instead of a refusal.
func fromMemory(rs []load.Result) []load.Result {
	return load.Filter(rs, func(r load.Result) bool { return r.Status == 200 && r.Refusal != "" })
}

func percentOf(some, all []load.Result) float64 {
	return 100 * float64(len(some)) / float64(max(1, len(all)))
}

// TestStale: a zone freezes under a shop's traffic. From the first second on most of its
// GETs are answered from memory at once, until the answers are older than stale allows;
// the other zones notice nothing.
func TestStale(t *testing.T) {
	const keep, calm, freeze = 15 * time.Second, 24 * time.Second, 20 * time.Second
	pool := gunicorn(t)
	s := gunicornSite(pool, "")
	s.handlers = fmt.Sprintf(`
	firebreak {
		key query key
		stale %s {
			refresh 5s
		}
	}
	reverse_proxy %s {
		transport firebreak
	}`, keep, pool.addr)
	p := startProxy(t, s)
	warm(t, p, "/search")
	sick := world.databases[sickZone]
	tr := drive(t, load.Plan{Rate: rate, Duration: calm + freeze + 5*time.Second, Timeout: 10 * time.Second, Pick: browsers(p, "/search")})
	tr.sleepUntil(calm)
	frozeAt := tr.now()
	sick.freeze()
	tr.sleepUntil(calm + freeze)
	healedAt := tr.now()
	sick.heal()
	rs := tr.wait(t)
	own, others := inZone(rs, sick.zone), notInZones(rs, sick.zone)

	early := due(own, frozeAt+time.Second, frozeAt+8*time.Second)
	memory := fromMemory(early)
	quick := load.Filter(memory, func(r load.Result) bool { return r.Latency < 5*time.Millisecond })
	figure(t, "GETs of the frozen zone, 1 to 8 s after it froze: %.1f %% of %d answered from memory (p50 %s, p99 %s), %.1f %% of all in less than 5 ms",
		percentOf(memory, early), len(early), ms(load.Percentile(memory, 50)), ms(load.Percentile(memory, 99)), percentOf(quick, early))
	promise(t, percentOf(quick, early) >= 60, percentOf(memory, early) >= 40, "%.1f %% of the frozen zone's GETs are answered from memory, want 60 %%: %s", percentOf(quick, early), bad(early))

	late := due(own, frozeAt+keep+time.Second, healedAt)
	tooOld := fromMemory(late)
	figure(t, "from %s on, when the answers are older than that: %d of %d", keep, len(tooOld), len(late))
	if len(tooOld) > 0 {
		t.Errorf("%d answers are older than %s", len(tooOld), keep)
	}

	before, during := due(others, time.Second, frozeAt), due(others, frozeAt, healedAt)
	figure(t, "other zones %.3f %% ok of %d, %d of them from memory; p99 %s before, %s during",
		load.OKPercent(during), len(during), len(fromMemory(others)), ms(load.Percentile(before, 99)), ms(load.Percentile(during, 99)))
	wantOK(t, "other zones during the freeze", during, 99.99)
	promiseP99(t, "the other zones during the freeze", before, during)
	if n := len(fromMemory(others)) + len(fromMemory(due(own, 0, frozeAt))); n > 0 {
		t.Errorf("%d answers from memory for zones that are calm", n)
	}
}
