package recovery_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/recovery"
)

// probed is inTime with a store_probe for the zone's database, and a repair.
func probed(t *testing.T, f func(*world)) {
	t.Helper()
	inTime(t, 40, config.StoreCheck{Retries: ptr(2), Every: every(time.Second)}, func(w *world) {
		w.app.Zones[0].Check = &config.Check{Protocol: "postgres", Address: "host=db", StoreProbe: "SELECT $1"}
		w.app.Repair = &config.Repair{URI: "/repairs?store={store}", To: []string{"localhost:2"}, Poll: "/repairs/{key}"}
		w.end()
		w.begin()
		w.isolate()
		f(w)
	})
}

// lock makes stores damaged, so that their probes and checks fail.
func (w *world) lock(numbers ...int) {
	for _, i := range numbers {
		w.locked[store(i)], w.sick[store(i)] = true, "row damaged"
	}
}

// TestProbeFirst: stores whose probe fails are repaired, or come on the work list,
// without a check.
func TestProbeFirst(t *testing.T) {
	probed(t, func(w *world) {
		w.lock(0, 7, 8)
		w.hopeless[store(7)], w.hopeless[store(8)] = true, true
		heal := time.AfterFunc(900*time.Millisecond, func() { // when store 0 is repaired
			w.mu.Lock()
			defer w.mu.Unlock()
			delete(w.locked, store(0))
		})
		defer heal.Stop()
		v := w.until(w.recover(recovery.Request{}).ID, recovery.Done, time.Minute)
		if v.Released != 38 || v.Repaired != 1 || v.Work != 2 || v.ProbeFailed != 3 || v.ProbeTrouble != "" {
			t.Errorf("it ended as %+v", v)
		}
		if w.checks[store(0)] != 2 || w.checks[store(7)]+w.checks[store(8)] != 0 {
			t.Errorf("checks %v, want none of stores whose probe fails", w.checks)
		}
		if w.probes[store(7)] != 3 || w.probes[store(20)] != 1 {
			t.Errorf("probes %v", w.probes)
		}
		for _, item := range w.life.jobs.Work() {
			if !strings.HasPrefix(item.Reason, "its store_probe failed: lock timeout") {
				t.Errorf("the reason is %q", item.Reason)
			}
		}
	})
}

// TestProbeOnlyReports: a recovery that only reports tries stores, too, and repairs
// none.
func TestProbeOnlyReports(t *testing.T) {
	probed(t, func(w *world) {
		w.lock(3)
		v := w.until(w.recover(recovery.Request{DryRun: true}).ID, recovery.Done, time.Minute)
		if v.Passed != 39 || v.GivenUp != 1 || v.ProbeFailed != 1 || len(w.repairs) > 0 || w.checks[store(3)] > 0 {
			t.Errorf("it ended as %+v; repairs %v", v, w.repairs)
		}
	})
}

// TestProbeCannotBeRun: the recovery goes on as without probes, and says why.
func TestProbeCannotBeRun(t *testing.T) {
	for name, set := range map[string]func(*world){
		"away":      func(w *world) { w.noProbe = errors.New("connection refused") },
		"all fail":  func(w *world) { w.frozen = true },
		"all alone": func(w *world) { w.frozen, w.locked[store(0)] = true, true },
	} {
		t.Run(name, func(t *testing.T) {
			probed(t, func(w *world) {
				set(w)
				q := recovery.Request{Zone: "z1"}
				if name == "all alone" {
					q = recovery.Request{Stores: []string{store(0)}}
				}
				v := w.recover(q)
				time.Sleep(500 * time.Millisecond)
				if said := w.view(v.ID).ProbeTrouble; name == "away" && said != "connection refused" {
					t.Errorf("the trouble is %q", said)
				}
				end := w.until(v.ID, recovery.Done, 5*time.Minute)
				if end.Released != v.Total || end.ProbeFailed > 0 || len(w.repairs) > 0 {
					t.Errorf("it ended as %+v; repairs %v", end, w.repairs)
				}
			})
		})
	}
}

// TestProbeAgain: probes that can be run again are run again.
func TestProbeAgain(t *testing.T) {
	probed(t, func(w *world) {
		w.noProbe = errors.New("connection refused")
		w.hopeless[store(5)] = true
		w.lock(5)
		v := w.recover(recovery.Request{Retries: ptr(8)})
		time.Sleep(3 * time.Second)
		w.mu.Lock()
		w.noProbe = nil
		checks := w.checks[store(5)]
		w.mu.Unlock()
		end := w.until(v.ID, recovery.Done, 10*time.Minute)
		if end.ProbeFailed != 1 || checks == 0 || w.checks[store(5)] > checks+2 {
			t.Errorf("it ended as %+v, with %d checks, before the probes %d", end, w.checks[store(5)], checks)
		}
	})
}

// TestProbeKilled kills the process among probes: nothing is lost, no store is
// repaired twice, and what was counted stays.
func TestProbeKilled(t *testing.T) {
	for _, after := range []time.Duration{2 * time.Millisecond, 500 * time.Millisecond, 2500 * time.Millisecond, 5 * time.Second} {
		t.Run(after.String(), func(t *testing.T) {
			probed(t, func(w *world) {
				w.lock(0, 1, 2, 30, 31)
				for _, i := range []int{0, 1, 2, 30, 31} {
					w.hopeless[store(i)] = true
				}
				id := w.recover(recovery.Request{}).ID
				for range 2 {
					time.Sleep(after)
					w.kill()
				}
				v := w.until(id, recovery.Done, 5*time.Minute)
				if v.Released != 35 || v.Work != 5 || v.ProbeFailed != 5 {
					t.Errorf("it ended as %+v", v)
				}
				for i := range 40 {
					if name := store(i); w.repairs[name] > 1 || w.locked[name] && w.checks[name] > 0 {
						t.Errorf("store %s: %d repairs, %d checks", name, w.repairs[name], w.checks[name])
					}
				}
			})
		})
	}
}

// TestProbePaused: what a probe under way says after a pause does not count as well.
func TestProbePaused(t *testing.T) {
	probed(t, func(w *world) {
		w.lock(0, 1)
		v := w.recover(recovery.Request{})
		time.Sleep(100 * time.Millisecond)
		if _, err := w.life.jobs.Pause(v.ID, "ann", ""); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		w.mu.Lock()
		clear(w.locked)
		clear(w.sick)
		w.mu.Unlock()
		if _, err := w.life.jobs.Resume(v.ID, "ann", ""); err != nil {
			t.Fatal(err)
		}
		if end := w.until(v.ID, recovery.Done, 5*time.Minute); end.Released != 40 {
			t.Errorf("it ended as %+v", end)
		}
	})
}
