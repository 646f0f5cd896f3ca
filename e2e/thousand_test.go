//go:build e2e

package e2e_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/examples/outage/load"
)

// TestTwelveOfAThousand: twelve stores of a zone of a thousand are damaged, hot
// ones and cold ones, and no operator acts. It prints how soon the innocent
// majority is back, and how well the culprits are named.
func TestTwelveOfAThousand(t *testing.T) {
	w := startWard(t, "every 1s", 30*time.Second)
	var sick []string
	guilty := map[string]bool{}
	for _, rank := range []int{3, 7, 12, 20, 33, 55, 90, 140, 220, 350, 560, 880} {
		sick, guilty[recoveredStore(rank)] = append(sick, recoveredStore(rank)), true
	}
	watched := w.proxy.watch(t)
	plan := everyday(w.proxy, "/search", 2*time.Minute)
	plan.Rate = rate / 2
	store, random := load.Zipf(recoveredStores, 1, 5), rand.New(rand.NewPCG(5, 5))
	shop := shoppers{proxy: w.proxy.addr, path: "/search"}
	plan.Pick = func(int) load.Target {
		to := shop.target(random.IntN(3), random.IntN(storesPerZone), false)
		if random.IntN(2) == 0 {
			to.Zone, to.Store = w.zone, recoveredStore(store())
			to.URL = "http://" + w.proxy.addr + "/search?key=" + to.Store
		}
		return to
	}
	first := plan
	first.Duration = 3 * time.Second
	eventually(t, 30*time.Second, "all workers are warm", func() bool {
		rs := <-drive(t, first).results
		return load.OKPercent(rs) == 100 && load.Percentile(rs, 99) < 100*time.Millisecond
	})
	tr := drive(t, plan)
	tr.sleepUntil(5 * time.Second)
	broke, brokeAt := time.Now(), tr.now()
	release := world.databases[recoveredZone].lockRows(t, sick...)
	tr.sleepUntil(brokeAt + 40*time.Second)
	var culprits []struct{ Store string }
	w.proxy.get(t, "/firebreak/culprits?zone="+w.zone, &culprits)
	stuck := worst(w.pool.busy.between(broke, time.Now()), w.zone)
	healedAt := tr.now()
	release()
	tr.sleepUntil(healedAt + 6*time.Second)
	tr.stop()
	rs := load.Filter(tr.wait(t), func(r load.Result) bool { return r.Err != load.ErrCanceled })

	named, asked := 0, map[string]bool{}
	for _, r := range due(rs, brokeAt, healedAt-timeout) {
		if guilty[r.Store] {
			asked[r.Store] = true
		}
	}
	for _, c := range culprits {
		if !guilty[c.Store] {
			t.Errorf("innocent store %s is named", c.Store)
			continue
		}
		named++
	}
	figure(t, "%d of %d culprits named after 40 s, of %d that were asked for: precision %.0f %%, recall %.0f %%",
		named, len(sick), len(asked), 100*float64(named)/float64(max(1, len(culprits))), 100*float64(named)/float64(max(1, len(asked))))
	promise(t, named >= len(asked), named >= len(asked)/2, "%d of %d culprits are named", named, len(asked))
	innocent := ofStores(inZone(rs, w.zone), guilty, false)
	back := max(0, lastBad(due(innocent, brokeAt, brokeAt+15*time.Second))-brokeAt)
	figure(t, "the innocent of the zone: %.2f %% ok in the first second, %.2f %% from then on, of %d; the last bad answer of the first 15 s after %.1f s; other zones %.3f %%; %d workers of the zone at worst",
		load.OKPercent(due(innocent, brokeAt, brokeAt+time.Second)), load.OKPercent(due(innocent, brokeAt+time.Second, healedAt)), len(due(innocent, brokeAt, healedAt)),
		back.Seconds(), load.OKPercent(due(notInZones(rs, w.zone), brokeAt, healedAt)), stuck)
	for store, q := range watched.quarantines(w.zone, broke) {
		promise(t, guilty[store] || q.longest <= 2*time.Second, false, "innocent store %s was in quarantine for %s", store, q.longest)
	}
	if stuck > workers/2 {
		t.Errorf("the zone occupied %d workers, more than half of the pool", stuck)
	}
	wantOK(t, "other zones", due(notInZones(rs, w.zone), brokeAt, healedAt), 99.99)
	after := due(inZone(rs, w.zone), healedAt+2*time.Second, time.Hour)
	figure(t, "after the heal: the innocent %.2f %% ok from 2 s on; the last bad answer of all %.1f s after it",
		load.OKPercent(ofStores(after, guilty, false)), max(0, lastBad(due(inZone(rs, w.zone), healedAt, time.Hour))-healedAt).Seconds())
	wantOK(t, "the innocent from 2 s after the heal on", ofStores(after, guilty, false), 99)
}
