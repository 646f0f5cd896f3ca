package recovery_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/maintenance"
	"github.com/firebreak-proxy/firebreak/recovery"
)

func TestZoneComesBack(t *testing.T) {
	inTime(t, 100, config.StoreCheck{}, func(w *world) {
		w.isolate()
		v := w.recover(recovery.Request{By: "ann", Reason: "repaired"})
		if v.Total != 100 || v.Times != 2 || v.Every != "5s" || v.Parallel != 4 || v.State != recovery.Running {
			t.Errorf("it began as %+v", v)
		}
		v = w.until(v.ID, recovery.Done, 20*time.Second)
		if v.Released != 100 || v.Checked != 100 || v.Failing != 0 || v.Remaining != 0 {
			t.Errorf("it ended as %+v", v)
		}
		for name, n := range w.checks {
			if n != 2 {
				t.Errorf("store %s was checked %d times", name, n)
			}
		}
		if w.worst != 4 {
			t.Errorf("%d checks at a time, want 4", w.worst)
		}
		if sw := w.life.board.View().State.Switches; len(sw) != 0 {
			t.Errorf("switches are left: %v", sw)
		}
		// Two rounds of 25 checks of 10 ms, 5 s apart, and some change.
		if took := v.Ended.Sub(v.Began); took < 5250*time.Millisecond || took > 5800*time.Millisecond {
			t.Errorf("it took %s", took)
		}
		if n := w.life.board.View().State.Revision; n > 12 {
			t.Errorf("%d revisions for 100 stores", n)
		}
	})
}

func TestFailingStay(t *testing.T) {
	inTime(t, 20, config.StoreCheck{Retries: ptr(2), Every: every(time.Second)}, func(w *world) {
		w.sick["s003"], w.sick["s007"] = "status 500: damaged", "no answer within 2s"
		w.isolate()
		id := w.recover(recovery.Request{}).ID
		time.Sleep(2 * time.Second)
		if v := w.view(id); v.Released != 18 || v.Failing != 2 || v.Remaining != 2 || v.Failures[0].Store != "s003" || v.Failures[0].NextAt.IsZero() {
			t.Errorf("while it retries: %+v", v)
		}
		delete(w.sick, "s007") // repaired meanwhile
		v := w.until(id, recovery.Done, time.Minute)
		if v.Released != 19 || v.Failing != 1 || v.GivenUp != 1 || v.Failures[0].Reason != "status 500: damaged" || v.Failures[0].Attempts != 3 {
			t.Errorf("it ended as %+v", v)
		}
		if w.checks["s003"] != 3 {
			t.Errorf("the failing store was tried %d times, want 3", w.checks["s003"])
		}
		equal(t, "in maintenance", w.inMaintenance(), []string{"s003"})
		page, next, err := w.life.jobs.Stores(id, "failing", "", 10)
		if err != nil || len(page) != 1 || page[0].Store != "s003" || page[0].State != "given_up" || next != "" {
			t.Errorf("page of failing stores: %+v, %q, %v", page, next, err)
		}
	})
}

func TestPassesInARow(t *testing.T) {
	inTime(t, 1, config.StoreCheck{Times: 3, Every: every(time.Second)}, func(w *world) {
		w.isolate()
		began := time.Now()
		id := w.recover(recovery.Request{}).ID
		time.Sleep(1500 * time.Millisecond) // two have passed
		w.mu.Lock()
		w.sick["s000"] = "again"
		w.mu.Unlock()
		time.Sleep(time.Second)
		w.mu.Lock()
		delete(w.sick, "s000")
		w.mu.Unlock()
		w.until(id, recovery.Done, time.Minute)
		if w.checks["s000"] != 6 || time.Since(began) < 5*time.Second {
			t.Errorf("released after %d checks and %s", w.checks["s000"], time.Since(began))
		}
	})
}

// TestHangingChecks: more stores hang than the zone has slots. Their workers
// stay on the books, and the others come back all the same.
func TestHangingChecks(t *testing.T) {
	check := config.StoreCheck{Retries: ptr(1), Every: every(time.Second), Timeout: config.Duration(time.Second)}
	inTime(t, 60, check, func(w *world) {
		for i := range 12 {
			w.hang[store(i*5)] = true
		}
		w.isolate()
		id := w.recover(recovery.Request{}).ID
		worst := 0
		for w.view(id).State == recovery.Running {
			z, _ := w.life.guard.Zone("z1")
			worst = max(worst, z.Live+z.Hung)
			time.Sleep(50 * time.Millisecond)
		}
		if v := w.view(id); v.Released != 48 || v.GivenUp != 12 || v.State != recovery.Done {
			t.Errorf("it ended as %+v", v)
		}
		if worst < 5 || worst > 10 {
			t.Errorf("%d workers at worst, want at most the 8 regular and 2 probe slots", worst)
		}
		z, _ := w.life.guard.Zone("z1")
		if z.State != breaker.Calm || z.QuarantinedCount > 0 || len(z.Culprits) > 0 || z.Outcomes["hung"] > 0 {
			t.Errorf("checks became evidence: %+v", z)
		}
	})
}

func TestPauseResumeCancel(t *testing.T) {
	inTime(t, 30, config.StoreCheck{}, func(w *world) {
		w.isolate()
		id := w.recover(recovery.Request{}).ID
		time.Sleep(2 * time.Second) // everybody has passed once
		for range 2 {
			if v, err := w.life.jobs.Pause(id, "ann", "lunch"); err != nil || v.State != recovery.Paused || v.PausedWhy != "paused by ann: lunch" {
				t.Errorf("paused: %+v, %v", v, err)
			}
		}
		time.Sleep(time.Minute)
		if v := w.view(id); v.Released != 0 || v.PassedOnce != 0 || w.checks["s000"] != 1 {
			t.Errorf("while paused: %+v", v)
		}
		for range 2 {
			if v, err := w.life.jobs.Resume(id, "bob", ""); err != nil || v.State != recovery.Running || v.PausedWhy != "" {
				t.Errorf("resumed: %+v, %v", v, err)
			}
		}
		time.Sleep(4 * time.Second)
		if v := w.view(id); v.Released != 0 || v.PassedOnce != 30 {
			t.Errorf("4 s after it was resumed: %+v; checks from before the pause must not count", v)
		}
		for range 2 {
			if v, err := w.life.jobs.Cancel(id, "bob", ""); err != nil || v.State != recovery.Cancelled {
				t.Errorf("cancelled: %+v, %v", v, err)
			}
		}
		time.Sleep(time.Minute)
		if len(w.inMaintenance()) != 30 {
			t.Errorf("a cancelled job released stores")
		}
		if _, err := w.life.jobs.Resume(id, "", ""); !errors.Is(err, recovery.ErrConflict) {
			t.Errorf("resuming a cancelled job: %v", err)
		}
		w.until(w.recover(recovery.Request{}).ID, recovery.Done, time.Minute) // the zone is free for another
	})
}

func TestTurnedBad(t *testing.T) {
	for _, tt := range []struct {
		name string
		fail func(*breaker.Slot)
		says string
	}{
		{"hangs", func(s *breaker.Slot) { time.Sleep(2 * time.Second); s.Hang() }, "hung"},
		{"fails", func(s *breaker.Slot) { s.End(breaker.Failure) }, "bad outcomes in a row, last failure"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inTime(t, 2000, config.StoreCheck{Every: every(time.Second), Parallel: 1}, func(w *world) {
				w.isolate()
				id := w.recover(recovery.Request{}).ID
				time.Sleep(3 * time.Second)
				bad := slices.Collect(func(yield func(string) bool) {
					for name := range w.released {
						if !yield(name) {
							return
						}
					}
				})[0]
				began := time.Now()
				for range 2 {
					slot, refusal := w.life.guard.Admit(context.Background(), breaker.Request{Zone: "z1", Store: bad})
					if refusal != nil {
						t.Fatal(refusal)
					}
					slot.Track()
					defer slot.End(breaker.Broken)
					tt.fail(slot)
				}
				v := w.until(id, recovery.Paused, 5*time.Second)
				if took := time.Since(began); took > 5*time.Second {
					t.Errorf("paused %s after it went bad", took)
				}
				if !strings.Contains(v.PausedWhy, bad) || !strings.Contains(v.PausedWhy, tt.says) {
					t.Errorf("paused because %q, want %s and %q", v.PausedWhy, bad, tt.says)
				}
				released := v.Released
				time.Sleep(10 * time.Second)
				if v := w.view(id); v.Released != released {
					t.Errorf("paused, but %d stores were released after it", v.Released-released)
				}
				if _, err := w.life.jobs.Resume(id, "ann", "looked at it"); err != nil {
					t.Fatal(err)
				}
				time.Sleep(10 * time.Second)
				if v := w.view(id); v.Released <= released && v.State != recovery.Done {
					t.Errorf("resumed by a person, but the same store paused it again: %+v", v)
				}
			})
		})
	}
}

func TestBatches(t *testing.T) {
	inTime(t, 25, config.StoreCheck{Every: every(time.Second)}, func(w *world) {
		w.isolate()
		id := w.recover(recovery.Request{Batch: ptr(10), Watch: ptr(30 * time.Second)}).ID
		for i, want := range []int{10, 20, 25} {
			time.Sleep(5 * time.Second)
			if v := w.view(id); v.Released != want || !strings.Contains(v.Waiting, "watched") && i < 2 {
				t.Errorf("after %d batches: %+v, want %d released", i+1, v, want)
			}
			time.Sleep(28 * time.Second)
		}
		if v := w.until(id, recovery.Done, time.Minute); v.Released != 25 {
			t.Errorf("it ended as %+v", v)
		}
		batches := 0
		for len(w.life.jobs.Events()) > 0 {
			if e := <-w.life.jobs.Events(); e.Kind == recovery.EventBatch {
				batches++
			}
		}
		if batches != 3 {
			t.Errorf("%d batches were told of, want 3", batches)
		}
	})
}

func TestDryRun(t *testing.T) {
	inTime(t, 10, config.StoreCheck{Retries: ptr(0)}, func(w *world) {
		w.sick["s004"] = "status 500"
		w.isolate()
		v := w.until(w.recover(recovery.Request{DryRun: true}).ID, recovery.Done, time.Minute)
		if v.Passed != 9 || v.Released != 0 || v.Failing != 1 || v.Remaining != 0 || len(w.inMaintenance()) != 10 {
			t.Errorf("it ended as %+v", v)
		}
	})
}

func TestAPIServerAway(t *testing.T) {
	inTime(t, 10, config.StoreCheck{Retries: ptr(0), Every: every(time.Second)}, func(w *world) {
		w.isolate()
		w.away = true
		id := w.recover(recovery.Request{}).ID
		time.Sleep(30 * time.Second)
		if v := w.view(id); v.Failing != 0 || !strings.Contains(v.Waiting, "connection refused") {
			t.Errorf("while the API server is away: %+v; that is no store's fault", v)
		}
		w.mu.Lock()
		w.away = false
		w.mu.Unlock()
		if v := w.until(id, recovery.Done, time.Minute); v.Released != 10 {
			t.Errorf("it ended as %+v", v)
		}
	})
}

func TestStateBackendAway(t *testing.T) {
	inTime(t, 10, config.StoreCheck{Every: every(time.Second)}, func(w *world) {
		w.isolate()
		id := w.recover(recovery.Request{}).ID
		w.backend.mu.Lock()
		w.backend.away = true
		w.backend.mu.Unlock()
		time.Sleep(30 * time.Second)
		if v := w.view(id); v.Released != 0 || v.State != recovery.Running || !strings.Contains(v.Waiting, "cannot be released") {
			t.Errorf("while the backend is away: %+v", v)
		}
		w.backend.mu.Lock()
		w.backend.away = false
		w.backend.mu.Unlock()
		if v := w.until(id, recovery.Done, time.Minute); v.Released != 10 {
			t.Errorf("it ended as %+v", v)
		}
	})
}

func TestOrderByTraffic(t *testing.T) {
	inTime(t, 50, config.StoreCheck{Parallel: 1}, func(w *world) {
		for _, name := range []string{"s030", "s020", "s010"} { // served lately, the last one last
			slot, _ := w.life.guard.Admit(context.Background(), breaker.Request{Zone: "z1", Store: name})
			slot.End(breaker.OK)
			time.Sleep(time.Second)
		}
		w.isolate()
		policy, _ := w.app.Policy()
		w.life.jobs.Use(&recovery.Deps{Guard: w.life.guard, Policy: policy, Directory: w.table, Board: w.life, Knocks: func(store string) uint64 {
			return map[string]uint64{"s040": 9, "s041": 70}[store]
		}})
		w.until(w.recover(recovery.Request{}).ID, recovery.Done, time.Minute)
		equal(t, "order of checks", w.order[:6], []string{"s041", "s040", "s010", "s020", "s030", "s000"})
	})
}

func TestListOfStores(t *testing.T) {
	inTime(t, 10, config.StoreCheck{}, func(w *world) {
		w.isolate()
		v := w.until(w.recover(recovery.Request{Stores: []string{"s001", "s002", "s001"}}).ID, recovery.Done, time.Minute)
		if v.Total != 2 || v.Released != 2 {
			t.Errorf("it ended as %+v", v)
		}
		if len(w.inMaintenance()) != 8 {
			t.Errorf("in maintenance: %q", w.inMaintenance())
		}
		for _, tt := range []struct {
			q    recovery.Request
			kind error
		}{
			{recovery.Request{}, recovery.ErrInvalid},
			{recovery.Request{Zone: "z1", Stores: []string{"s001"}}, recovery.ErrInvalid},
			{recovery.Request{Stores: []string{"nobody"}}, recovery.ErrNotFound},
			{recovery.Request{Stores: []string{"s001"}}, recovery.ErrConflict},
			{recovery.Request{Zone: "z2"}, recovery.ErrConflict},
			{recovery.Request{Zone: "z1", Times: ptr(0)}, recovery.ErrInvalid},
			{recovery.Request{Zone: "z1", Parallel: ptr(5000)}, recovery.ErrInvalid},
			{recovery.Request{Zone: "z1", Watch: ptr(time.Second)}, recovery.ErrInvalid},
		} {
			if _, err := w.life.jobs.Begin(&tt.q); !errors.Is(err, tt.kind) {
				t.Errorf("%+v: got %v, want %v", tt.q, err, tt.kind)
			}
		}
		w.recover(recovery.Request{})
		if _, err := w.life.jobs.Begin(&recovery.Request{Stores: []string{"s005"}}); !errors.Is(err, recovery.ErrConflict) {
			t.Errorf("a second job for the same store: %v", err)
		}
	})
}

// TestLargeZone: a switch can except 50,000 stores; a larger zone comes back
// nevertheless.
func TestLargeZone(t *testing.T) {
	inTime(t, 3, config.StoreCheck{Every: every(time.Second), Parallel: 1, Retries: ptr(0)}, func(w *world) {
		except := make([]string, maintenance.MaxExcept)
		for i := range except {
			except[i] = fmt.Sprintf("x%06d", i)
		}
		w.sick["s001"] = "status 500"
		_, _, err := w.life.board.Change(w.t.Context(), maintenance.Author{}, &maintenance.Edit{Set: []maintenance.Switch{{Target: zoneZ1, Reason: "disk", Except: except}}})
		if err != nil {
			t.Fatal(err)
		}
		v := w.until(w.recover(recovery.Request{}).ID, recovery.Done, time.Minute)
		if v.Released != 2 || v.Failing != 1 {
			t.Errorf("it ended as %+v", v)
		}
		equal(t, "in maintenance", w.inMaintenance(), []string{"s001"})
		switches := w.life.board.View().State.Sorted()
		if len(switches) != 1 || switches[0].String() != "store s001" || switches[0].Reason != "disk" {
			t.Errorf("switches are %+v", switches)
		}
	})
}

// TestPeopleComeFirst: what people put into maintenance while a job runs is not
// taken out again by it.
func TestPeopleComeFirst(t *testing.T) {
	inTime(t, 400, config.StoreCheck{Every: every(time.Second), Parallel: 1, Retries: ptr(0)}, func(w *world) {
		w.isolate()
		id := w.recover(recovery.Request{}).ID
		time.Sleep(3 * time.Second)
		set := func(sw maintenance.Switch) {
			sw.By = "ann"
			if _, _, err := w.life.board.Change(w.t.Context(), maintenance.Author{}, &maintenance.Edit{Set: []maintenance.Switch{sw}}); err != nil {
				t.Fatal(err)
			}
		}
		set(maintenance.Switch{Target: maintenance.Target{Scope: maintenance.Store, Name: "s399"}, Reason: "worse than it seems"})
		time.Sleep(time.Second)
		if v := w.view(id); v.State != recovery.Running {
			t.Errorf("one store was put into maintenance, and the job is %s: %s", v.State, v.PausedWhy)
		}
		set(maintenance.Switch{Target: zoneZ1}) // all of it again
		v := w.until(id, recovery.Paused, time.Second)
		if !strings.Contains(v.PausedWhy, "in maintenance again, by the switch of zone z1") {
			t.Errorf("paused because %q", v.PausedWhy)
		}
		time.Sleep(5 * time.Second)
		if n := len(w.inMaintenance()); n != 400 {
			t.Errorf("%d stores are in maintenance, want all 400", n)
		}
		w.mu.Lock()
		clear(w.released)
		w.mu.Unlock()
		if _, err := w.life.jobs.Resume(id, "ann", ""); err != nil {
			t.Fatal(err)
		}
		v = w.until(id, recovery.Done, time.Minute)
		if v.Released != 399 || v.Failures[0].Reason != "put into maintenance since the recovery began: set by ann: worse than it seems" {
			t.Errorf("it ended as %+v", v)
		}
		equal(t, "in maintenance", w.inMaintenance(), []string{"s399"})
	})
}

// TestPutBackDuringRelease: a person puts a store into maintenance after its last
// check has begun. The release that follows must not take that switch away.
func TestPutBackDuringRelease(t *testing.T) {
	inTime(t, 20, config.StoreCheck{Every: every(time.Second), Times: 1, Retries: ptr(0)}, func(w *world) {
		w.isolate()
		w.mu.Lock()
		w.takes = 500 * time.Millisecond
		w.mu.Unlock()
		id := w.recover(recovery.Request{}).ID
		time.Sleep(250 * time.Millisecond) // the checks of the first four are on their way
		sw := maintenance.Switch{Target: maintenance.Target{Scope: maintenance.Store, Name: "s001"}, By: "ann", Reason: "its index is damaged"}
		if _, _, err := w.life.board.Change(w.t.Context(), maintenance.Author{By: "ann"}, &maintenance.Edit{Set: []maintenance.Switch{sw}}); err != nil {
			t.Fatal(err)
		}
		v := w.until(id, recovery.Done, time.Minute)
		if v.Released != 19 || v.GivenUp != 1 || v.Failures[0].Reason != "put into maintenance since the recovery began: set by ann: its index is damaged" {
			t.Errorf("it ended as %+v", v)
		}
		equal(t, "in maintenance", w.inMaintenance(), []string{"s001"})
	})
}

// TestReleasedByPeople: a store that a person releases is not told as released by
// the recovery.
func TestReleasedByPeople(t *testing.T) {
	inTime(t, 3, config.StoreCheck{Every: every(time.Second), Times: 30}, func(w *world) {
		w.isolate()
		id := w.recover(recovery.Request{}).ID
		time.Sleep(5 * time.Second)
		release := &maintenance.Edit{Release: []maintenance.Placed{{Store: "s002", Zone: "z1"}}}
		if _, _, err := w.life.board.Change(w.t.Context(), maintenance.Author{By: "ann"}, release); err != nil {
			t.Fatal(err)
		}
		if v := w.until(id, recovery.Done, 2*time.Minute); v.Released != 3 {
			t.Errorf("it ended as %+v", v)
		}
		told := 0
		for len(w.life.jobs.Events()) > 0 {
			if e := <-w.life.jobs.Events(); e.Kind == recovery.EventBatch {
				told += e.Count
			}
		}
		if told != 2 {
			t.Errorf("%d stores are told as released by the recovery, want the 2 that it released", told)
		}
	})
}
