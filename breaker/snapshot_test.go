package breaker_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/config"
)

func zoneOf(zone string) func(result) bool { return func(r result) bool { return r.zone == zone } }

func notZone(zone string) func(result) bool { return func(r result) bool { return r.zone != zone } }

// TestRestartsInAnOutage: firebreak is killed again and again while a zone is
// frozen and no worker comes back. A process that knew nothing would lend the
// zone its ten workers anew each time.
func TestRestartsInAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t, twoSeconds())
		defer p.close()
		p.load(3*time.Second, 300, allZones)
		began := time.Now()
		p.freeze("z7")
		p.load(4*time.Second, 300, allZones)
		for range thorough(4, 2) {
			before := p.state("z7")
			p.restart()
			after := p.state("z7")
			if before.State != breaker.Open && before.State != breaker.HalfOpen || after.State != breaker.Open || !after.OpenedAt.Equal(before.OpenedAt) || !after.EpisodeSince.Equal(before.EpisodeSince) || after.Turn != before.Turn || after.Hung != before.Hung+before.Live {
				t.Errorf("after a restart\n%+v, before it\n%+v", after, before)
			}
			if !strings.Contains(after.Evidence, strings.TrimPrefix(before.Evidence, "from before firebreak was restarted: ")) || strings.Count(after.Evidence, "restarted") != 1 {
				t.Errorf("the evidence is %q, before the restart %q", after.Evidence, before.Evidence)
			}
			p.load(5*time.Second, 300, allZones)
			for end := time.Now().Add(20 * time.Second); p.state("z7").Live == 0 && time.Now().Before(end); {
				p.load(25*time.Millisecond, 300, allZones) // the next time while it is tried again
			}
		}
		if got := okPercent(p, began, notZone("z7")); got < 100 {
			t.Errorf("other zones: %.2f %% ok, want all", got)
		}
		if worst := p.worstOf("z7"); worst > 8+5*2 {
			t.Errorf("the frozen zone occupied %d workers, want at most max_inflight and the probe slots of five processes = 18", worst)
		}
		p.load(3*time.Second, 300, allZones) // the last probes hang
		whole := p.state("z7").OpenUntil.Add(2 * time.Second)
		p.heal("z7")
		p.load(time.Until(whole)+5*time.Second, 300, allZones)
		left := p.state("z7")
		if got := okPercent(p, whole, zoneOf("z7")); got < 99 {
			t.Errorf("2 s after the open time %.1f %% ok, want 99: %+v", got, left)
		}
		if left.Hung != 0 {
			t.Errorf("%d workers are still taken for hung: %+v", left.Hung, left)
		}
		t.Logf("worst %d workers", p.worstOf("z7"))
	})
}

// TestRestartsWithCulprits: stores hang, and firebreak is killed. Who is innocent
// notices nothing, and the zone does not open because of what is remembered.
func TestRestartsWithCulprits(t *testing.T) {
	for _, k := range thorough([]int{1, 3, 6, 10}, []int{1, 10}) {
		t.Run(fmt.Sprint(k), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPool(t, twoSeconds())
				defer p.close()
				guilty := map[string]bool{}
				for i := range k {
					store := fmt.Sprintf("s%d", i)
					guilty[store] = true
					p.freeze("z7/" + store)
				}
				p.load(15*time.Second, 300, allZones)
				began := time.Now()
				for range 3 {
					before := p.state("z7")
					p.restart()
					if after := p.state("z7"); !reflect.DeepEqual(after.Quarantined, before.Quarantined) {
						t.Errorf("in quarantine: %v, before the restart %v", after.Quarantined, before.Quarantined)
					}
					p.load(5*time.Second, 300, allZones)
				}
				innocent := func(r result) bool { return !guilty[r.store] }
				if got := okPercent(p, began, func(r result) bool { return innocent(r) && r.zone == "z7" }); got < 99 {
					t.Errorf("innocent stores of the zone: %.2f %% ok, want 99: %+v", got, p.state("z7"))
				}
				if got := okPercent(p, began, notZone("z7")); got < 100 {
					t.Errorf("other zones: %.2f %% ok, want all", got)
				}
				if got := p.state("z7"); got.State != breaker.Troubled || got.QuarantinedCount < k {
					t.Errorf("%+v, want troubled with %d in quarantine", got, k)
				}
				for store := range guilty {
					p.heal("z7/" + store)
				}
				healed := time.Now()
				p.load(80*time.Second, 300, allZones)
				if got := okPercent(p, healed.Add(75*time.Second), zoneOf("z7")); got < 100 {
					t.Errorf("75 s after the heal %.2f %% ok, want all: %+v", got, p.state("z7"))
				}
				t.Logf("worst %d workers", p.worstOf("z7"))
			})
		})
	}
}

// TestRestartAsTheZoneHeals: the zone, or the whole API server, is well when the
// new process comes. What is remembered must not keep it down.
func TestRestartAsTheZoneHeals(t *testing.T) {
	for _, crash := range []bool{false, true} {
		t.Run(fmt.Sprintf("crash=%t", crash), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPool(t, twoSeconds())
				defer p.close()
				p.load(3*time.Second, 300, allZones)
				p.freeze("z7")
				p.load(2500*time.Millisecond, 300, allZones) // it is open for the first time
				if crash {
					p.crash()
				}
				p.restart()
				p.heal("z7")
				if crash {
					p.load(time.Second, 300, allZones)
					if hung := p.state("z7").Hung; hung != 0 {
						t.Errorf("%d workers of an API server that is down are taken for hung", hung)
					}
					p.boot(0)
				}
				healed := time.Now()
				p.load(10*time.Second, 300, allZones)
				if got := okPercent(p, healed.Add(8*time.Second), zoneOf("z7")); got < 99 {
					t.Errorf("8 s after the heal %.1f %% ok, want 99: %+v", got, p.state("z7"))
				}
			})
		})
	}
}

// TestRestartOfBoth: all zones hang, and people restart the API server and
// firebreak, which sees no broken connection. No request may wait until what is
// remembered is over.
func TestRestartOfBoth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t, twoSeconds())
		defer p.close()
		p.load(3*time.Second, 300, allZones)
		for i := range 12 {
			p.freeze(fmt.Sprintf("z%d", i+1))
		}
		p.load(6*time.Second, 300, allZones)
		p.restart()
		if s := p.guard.Status(); s.Hung < 20 {
			t.Errorf("%d workers are remembered, want most of 32", s.Hung)
		}
		for i := range 12 {
			p.heal(fmt.Sprintf("z%d", i+1)) // the new workers meet zones that are well
		}
		began := time.Now()
		p.load(20*time.Second, 300, allZones)
		if got := okPercent(p, began.Add(time.Second), func(result) bool { return true }); got < 100 {
			t.Errorf("from 1 s on %.2f %% ok, want all", got)
		}
		if s := p.guard.Status(); s.Hung != 0 {
			t.Errorf("%d workers are still taken for hung", s.Hung)
		}
	})
}

// TestRestartUnderHolds: holds by hand last over a restart, for what is left of
// them.
func TestRestartUnderHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t, twoSeconds())
		defer p.close()
		p.guard.HoldZone("z1", breaker.Open, 10*time.Second, "ann", "its disk is changed")
		p.guard.HoldZone("z2", breaker.Calm, 0, "ann", "")
		p.guard.HoldStore("z3", "s1", breaker.Open, 0, "bob", "")
		time.Sleep(4 * time.Second)
		p.restart()
		time.Sleep(5 * time.Second)
		if h := p.state("z1").Hold; h == nil || h.By != "ann" || h.Reason != "its disk is changed" || refused(p.guard, "z1", "s1") != breaker.ReasonZoneOpen {
			t.Errorf("1 s before its end the hold of z1 is %+v", h)
		}
		if h := p.state("z2").Hold; h == nil || h.As != breaker.Calm {
			t.Errorf("the hold of z2 is %+v", h)
		}
		if got := refused(p.guard, "z3", "s1"); got != breaker.ReasonQuarantine {
			t.Errorf("the store that is held is refused as %q", got)
		}
		time.Sleep(2 * time.Second)
		if got := refused(p.guard, "z1", "s1"); got != "" {
			t.Errorf("after its hold z1 is refused as %q", got)
		}
		p.guard.ResetZone("z2", "", "")
		p.restart()
		if h := p.state("z2").Hold; h != nil {
			t.Errorf("z2 was reset before the restart, and is held: %+v", h)
		}
	})
}

// TestSnapshotIsStable: nothing is written while nothing changes, and what was read
// is what was written.
func TestSnapshotIsStable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t, twoSeconds())
		defer p.close()
		p.load(2*time.Second, 300, allZones)
		if m := p.guard.Snapshot(); len(m.Zones) > 0 {
			t.Errorf("without a fault something is remembered: %+v", m)
		}
		p.freeze("z3/s0")
		p.freeze("z3/s1")
		p.load(3*time.Second, 300, allZones)
		p.freeze("z7")
		p.load(2800*time.Millisecond, 300, allZones)
		first := p.guard.Snapshot()
		if len(first.Zones) != 2 || len(first.Zones[0].Quarantined) != 2 || len(first.Zones[1].Stuck) < 3 {
			t.Errorf("want two stores of z3 and the workers of z7: %+v", first)
		}
		time.Sleep(100 * time.Millisecond)
		if second := p.guard.Snapshot(); !reflect.DeepEqual(second, first) {
			t.Errorf("a moment later\n%+v, before\n%+v", second, first)
		}
		data, err := json.Marshal(first)
		if err != nil {
			t.Fatal(err)
		}
		var read breaker.Snapshot
		if err := json.Unmarshal(data, &read); err != nil {
			t.Fatal(err)
		}
		if again, _ := json.Marshal(read); string(again) != string(data) {
			t.Errorf("read and written again\n%s, want\n%s", again, data)
		}
	})
}

// TestSnapshotOfAnotherTime: what is kept may be old, or of a clock that was wrong,
// or of a larger pool.
func TestSnapshotOfAnotherTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t, config.App{Workers: 8, Zones: []config.Zone{{Name: "*", Timeout: config.Duration(2 * time.Second)}}})
		defer p.close()
		old, future := time.Now().Add(-48*time.Hour), time.Now().Add(48*time.Hour)
		stuck := func(n int, since time.Time) (list []breaker.StuckSnapshot) {
			for i := range n {
				list = append(list, breaker.StuckSnapshot{Store: fmt.Sprint("s", i), Since: since})
			}
			return list
		}
		p.guard.Restore(breaker.Snapshot{Zones: []breaker.ZoneSnapshot{
			{Zone: "z1", State: breaker.Open, OpenUntil: old, OpenedAt: old, Stuck: stuck(3, old)},
			{Zone: "z2", State: breaker.Open, OpenUntil: future, OpenedAt: future, Stuck: stuck(3, future)},
			{Zone: "z3", Quarantined: []breaker.StoreSnapshot{{Store: "s0", OpenUntil: future, Turn: -3}}, Stuck: stuck(20, time.Now())},
			{Zone: "gone", State: breaker.Open, OpenUntil: future},
			{},
		}})
		if hung := p.state("z1").Hung; hung != 0 {
			t.Errorf("%d workers are taken to hang for two days", hung)
		}
		if s := p.guard.Status(); s.Occupied > 8 || s.Occupied != s.Hung {
			t.Errorf("%d of 8 workers occupied, %d hung", s.Occupied, s.Hung)
		}
		time.Sleep(90 * time.Second)
		for _, zone := range []string{"z1", "z2", "z3", "gone"} {
			for i := range 10 { // a triage takes some
				got := p.request(zone, fmt.Sprint("s", i), time.Hour)
				if i == 9 && got != "ok" {
					t.Errorf("90 s later %s answers %s: %+v", zone, got, p.state(zone))
				}
			}
		}
	})
}
