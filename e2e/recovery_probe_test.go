//go:build e2e

package e2e_test

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestRecoveryProbes: of a thousand stores in maintenance twelve are locked. Their
// store_probe finds them, at no worker's cost. If it cannot be run, a worker each
// does.
func TestRecoveryProbes(t *testing.T) {
	db := world.databases[recoveredZone]
	check := func(dsn string, retries int) string {
		return fmt.Sprintf("every 200ms\nparallel 4\nretries %d\n}\nzone %s {\ncheck postgres \"%s\" {\n%s\n}", retries, zoneName(recoveredZone), dsn, lockProbe)
	}
	var sick []string
	for i := range 12 {
		sick = append(sick, recoveredStore(17+i*83))
	}
	t.Run("work", func(t *testing.T) {
		w := startWard(t, check(db.dsn(), 1), stuckWorker)
		release := db.lockRows(t, sick...)
		defer release()
		began := time.Now()
		id := w.recover(t)
		var r struct {
			recovered
			ProbeFailed int `json:"probe_failed"`
		}
		eventually(t, 60*time.Second, "the recovery has ended", func() bool {
			w.proxy.get(t, "/firebreak/recoveries/"+id+"?state=failing&limit=1000", &r)
			return r.State != "running"
		})
		stuck := worstOf(w.pool.busy.between(began, time.Now()), sick)
		figure(t, "%d of %d released and %d found by their probe in %.1f s; %d workers lost", r.Released, r.Total, r.ProbeFailed, time.Since(began).Seconds(), stuck)
		if r.Released != recoveredStores-len(sick) || r.ProbeFailed != len(sick) || len(r.Stores) != len(sick) || stuck > 0 {
			t.Errorf("it ended as %+v; %d workers lost", r, stuck)
		}
		for _, s := range r.Stores {
			if !strings.Contains(s.Reason, "lock timeout") {
				t.Errorf("failing store %+v", s)
			}
		}
		if out := w.proxy.mustCommand(t, "recover", "show", id); !strings.Contains(out, "12 stores failed store_probe") {
			t.Errorf("recover show: %s", out)
		}
	})
	t.Run("cannot be run", func(t *testing.T) {
		w := startWard(t, check(db.dsn()+" user=nobody_there", 0), stuckWorker)
		release := db.lockRows(t, sick[0])
		defer release()
		w.proxy.mustCommand(t, "maintenance", "on", "zone", w.zone)
		out := w.proxy.mustCommand(t, "recover", "store", sick[0], recoveredStore(1), recoveredStore(2))
		id := startedID.FindStringSubmatch(out)[1]
		eventually(t, 10*time.Second, "the trouble is told", func() bool {
			out, _ = w.proxy.command(t, "recover", "show", id)
			return strings.Contains(out, "no probes") && strings.Contains(out, "nobody_there")
		})
		eventually(t, 20*time.Second, "the recovery has ended", func() bool { return w.recovery(t, id).State == "done" })
		if r := w.recovery(t, id); r.Released != 2 || r.Failing != 1 || !strings.Contains(r.Stores[0].Reason, "no answer within") {
			t.Errorf("it ended as %+v", r)
		}
	})
}
