package breaker

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/firebreak-proxy/firebreak/config"
)

// TestNotRun: a process that was not run for a while finds requests without an
// answer, which may be waiting for it. It blames no zone until it has listened
// again, and then it does.
func TestNotRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, err := (&config.App{Workers: 32, Zones: []config.Zone{{Name: "*", Timeout: config.Duration(2 * time.Second)}}}).Policy()
		if err != nil {
			t.Fatal(err)
		}
		g := New(p, Options{})
		g.Close() // the sweeper sleeps; this test sweeps
		state := func() State { z, _ := g.Zone("z1"); return z.State }
		hang := func(stores ...string) {
			for _, store := range stores {
				s, refusal := g.Admit(t.Context(), Request{Zone: "z1", Store: store})
				if refusal != nil {
					t.Fatal(refusal)
				}
				s.Track()
				time.AfterFunc(2*time.Second, func() { s.Hang() })
			}
		}
		hang("a", "b", "c", "d")
		time.Sleep(3 * time.Second)
		if got := state(); got != Calm {
			t.Errorf("the zone is %s although no process listened", got)
		}
		g.sweep(t.Context())
		s := g.Status()
		if got := state(); got != Calm || !s.PoolSuspect || !strings.Contains(s.PoolSuspectText, "was not run for 3s") {
			t.Errorf("just awake: the zone is %s, pool suspect: %q", got, s.PoolSuspectText)
		}
		for range 50 {
			time.Sleep(sweepEvery)
			g.sweep(t.Context())
		}
		if got := state(); got != Open {
			t.Errorf("the zone is %s, long after the process was run again; want open", got)
		}
	})
}
