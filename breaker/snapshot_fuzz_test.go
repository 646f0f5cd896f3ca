package breaker_test

import (
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
)

// FuzzRestore: a file may hold anything. The books add up nevertheless, nothing
// panics, and a few minutes later everybody is admitted again.
func FuzzRestore(f *testing.F) {
	f.Add([]byte(`{"zones":[{"zone":"z1","state":"open","open_until":"2000-01-01T00:00:07Z","turn":3,"stuck":[{"store":"a","since":"1999-12-31T23:59:58Z"},{"store":"a","since":"1999-12-31T23:59:59Z","check":true}]}]}`))
	f.Add([]byte(`{"zones":[{"zone":"z1","state":"troubled","quarantined":[{"store":"a","since":"1999-12-31T23:59:58Z","turn":-1,"wasted":-5}]},{"zone":"z1","state":"half_open"}]}`))
	f.Add([]byte(`{"zones":[{"zone":"z2","hold":{"as":"open","since":"1999-01-01T00:00:00Z","until":"2000-01-01T00:01:00Z"},"held_stores":{"b":{"as":"calm","since":"2300-01-01T00:00:00Z"}}}]}`))
	f.Add([]byte(`{"zones":[{"zone":"unknown","state":"open","quarantined":[{"store":"unknown"}],"stuck":[{"store":""}]}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var snapshot breaker.Snapshot
		if json.Unmarshal(data, &snapshot) != nil {
			return
		}
		synctest.Test(t, func(t *testing.T) {
			g := newGuard(t, twoSeconds(), breaker.Options{})
			defer g.Close()
			g.Restore(snapshot)
			if problem := checkBooks(g, 32, 0); problem != "" {
				t.Fatal(problem)
			}
			if s := g.Status(); s.InternalErrors > 0 {
				t.Fatalf("%d bugs were survived", s.InternalErrors)
			}
			time.Sleep(time.Second)
			held := map[string]bool{}
			for _, z := range g.Snapshot().Zones {
				held[z.Zone] = z.Hold != nil || len(z.HeldStores) > 0
			}
			time.Sleep(4 * time.Minute)
			if s := g.Status(); s.Occupied != 0 {
				t.Fatalf("%d workers are remembered for ever", s.Occupied)
			}
			for _, z := range g.Zones() {
				if got := refused(g, z.Zone, "a"); got != "" && !held[z.Zone] {
					t.Fatalf("zone %q refuses for ever: %s: %+v", z.Zone, got, z)
				}
			}
		})
	})
}
