package incidents_test

import (
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/incidents"
	"github.com/firebreak-proxy/firebreak/maintenance"
)

// bubble runs a test with a rig in a synctest bubble.
func bubble(t *testing.T, test func(r *rig)) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, dir)
		defer r.close()
		test(r)
	})
}

// checkFigures compares an incident with the rig's own counts since forget.
func (r *rig) checkFigures(i incidents.Incident) {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if diff := cmp.Diff(r.refused[i.Zone], i.Refused); diff != "" {
		r.t.Errorf("refused, -clients +incident:\n%s", diff)
	}
	if i.Hung != r.hung[i.Zone] || i.Failed != r.failed[i.Zone] {
		r.t.Errorf("%d hung and %d failed, the clients saw %d and %d", i.Hung, i.Failed, r.hung[i.Zone], r.failed[i.Zone])
	}
	if i.WorstOccupied != r.worst[i.Zone] {
		r.t.Errorf("%d workers at worst, the pool saw %d", i.WorstOccupied, r.worst[i.Zone])
	}
	if saved := i.Refused["zone_open"] + i.Refused["quarantine"]; i.Saved != saved {
		r.t.Errorf("%d saved, want %d", i.Saved, saved)
	}
}

func whats(i incidents.Incident) (list []string) {
	for _, e := range i.Timeline {
		list = append(list, e.What)
	}
	return list
}

// wantWhats wants these in the timeline, in this order, whatever is between.
func wantWhats(t *testing.T, i incidents.Incident, want ...string) {
	t.Helper()
	rest := whats(i)
	for _, what := range want {
		at := slices.Index(rest, what)
		if at < 0 {
			t.Fatalf("the timeline has no %s where it should be: %v", what, whats(i))
		}
		rest = rest[at+1:]
	}
}

func near(got, want, by time.Duration) bool { return (got - want).Abs() <= by }

// TestFreeze: a zone's database stands still for 70 s.
func TestFreeze(t *testing.T) {
	bubble(t, func(r *rig) {
		r.traffic("z1", 20, time.Second)
		r.traffic("z2", 20, time.Second)
		time.Sleep(5 * time.Second)
		r.forget("z1")
		froze := time.Now()
		r.freeze("z1")
		time.Sleep(time.Second * 70)
		going := r.only("z1")
		if !going.Ongoing || going.DarkMinutes < 1 || going.Hung == 0 {
			t.Errorf("while it lasts: %+v", going)
		}
		r.heal("z1")
		time.Sleep(40 * time.Second)
		i := r.only("z1")
		r.checkFigures(i)
		if i.Ongoing || i.Interrupted != "" || i.Ended.IsZero() {
			t.Errorf("it is not over: %+v", i)
		}
		if d := i.Began.Sub(froze); d < 0 || d > 100*time.Millisecond {
			t.Errorf("it began %s after the freeze", d)
		}
		if d := i.Opened.Sub(i.Began); d < time.Second || d > 1300*time.Millisecond {
			t.Errorf("isolated after %s", d)
		}
		dark := i.Recovered.Sub(i.Opened)
		if !near(time.Duration(i.DarkMinutes*float64(time.Minute)), dark, 5*time.Millisecond) {
			t.Errorf("%.4f minutes dark, and %s from opening to recovery", i.DarkMinutes, dark)
		}
		if i.StoresDark != 0 || len(i.Stores) > 0 {
			t.Errorf("stores dark on their own: %v", i.Stores)
		}
		wantWhats(t, i, "first_wrong", "zone_troubled", "zone_opened", "tried_again", "zone_half_open", "zone_closed", "zone_calm")
		if list, _, _ := r.log.List(incidents.Query{}); len(list) != 1 {
			t.Errorf("%d incidents, want 1", len(list))
		}
	})
}

// TestBusyBeforeEvidence: refusals before the zone opened count.
func TestBusyBeforeEvidence(t *testing.T) {
	bubble(t, func(r *rig) {
		r.traffic("z1", 40, 400*time.Millisecond)
		time.Sleep(3 * time.Second)
		r.forget("z1")
		r.freeze("z1")
		time.Sleep(15 * time.Second)
		r.heal("z1")
		time.Sleep(30 * time.Second)
		i := r.only("z1")
		r.checkFigures(i)
		if i.Refused["busy"] == 0 {
			t.Error("no request was refused before the zone opened: the test tests nothing")
		}
	})
}

// TestFailingStores: quick errors open nothing, but they are an incident, and the
// failures that were the evidence count, too.
func TestFailingStores(t *testing.T) {
	bubble(t, func(r *rig) {
		r.traffic("z1", 6, time.Second)
		time.Sleep(5 * time.Second)
		r.forget("z1")
		r.mu.Lock()
		for n := range 6 {
			r.fails[storeName("z1", n)] = true
		}
		r.mu.Unlock()
		time.Sleep(20 * time.Second)
		r.mu.Lock()
		clear(r.fails)
		r.mu.Unlock()
		time.Sleep(60 * time.Second)
		i := r.only("z1")
		r.mu.Lock()
		defer r.mu.Unlock()
		if i.Failed != r.failed["z1"] || i.Failed < 3 || i.Openings != 0 || !strings.Contains(i.Evidence, "end in errors") {
			t.Errorf("%d failed, the clients saw %d; %d openings, evidence %q", i.Failed, r.failed["z1"], i.Openings, i.Evidence)
		}
	})
}

// TestCulprit: one store's queries hang, its zone goes on.
func TestCulprit(t *testing.T) {
	bubble(t, func(r *rig) {
		r.traffic("z3", 10, time.Second)
		time.Sleep(5 * time.Second)
		r.forget("z3")
		bad := storeName("z3", 4)
		r.freeze(bad)
		time.Sleep(60 * time.Second)
		r.heal()
		time.Sleep(time.Minute)
		i := r.only("z3")
		r.checkFigures(i)
		if i.Ongoing || i.Openings > 0 || i.DarkMinutes != 0 || i.StoresDark != 1 {
			t.Errorf("got %+v", i)
		}
		if len(i.Stores) != 1 || i.Stores[0].Store != bad || i.Stores[0].Minutes < 0.9 || i.Stores[0].Minutes > 1.3 {
			t.Errorf("stores in the dark: %+v", i.Stores)
		}
		if len(i.Culprits) != 1 || i.Culprits[0].Store != bad || i.Culprits[0].WorkerSeconds < 50 {
			t.Errorf("culprits: %+v", i.Culprits)
		}
		wantWhats(t, i, "zone_troubled", "store_quarantined", "store_released", "zone_calm")
		if n := len(slices.DeleteFunc(whats(i), func(w string) bool { return w != "store_quarantined" })); n != 1 {
			t.Errorf("the tries of a quarantined store are told one by one: %v", whats(i))
		}
	})
}

// TestHeld: people hold a zone open, then a store; nothing was wrong with them.
func TestHeld(t *testing.T) {
	bubble(t, func(r *rig) {
		r.traffic("z1", 3, time.Second)
		time.Sleep(2100 * time.Millisecond) // not when a request comes
		r.forget("z1")
		r.guard.HoldZone("z1", breaker.Open, 0, "alice", "disk swap")
		time.Sleep(30 * time.Second)
		if i := r.only("z1"); !i.Ongoing {
			t.Fatalf("over while the zone is held: %+v", i)
		}
		r.guard.ResetZone("z1", "alice", "")
		time.Sleep(10 * time.Second)
		i := r.only("z1")
		r.checkFigures(i)
		if i.Ongoing || math.Abs(i.DarkMinutes-0.5) > 1e-3 || i.Refused["zone_open"] != 90 {
			t.Errorf("got %+v", i)
		}
		wantWhats(t, i, "zone_isolated", "zone_auto")
		if !strings.Contains(i.Evidence, "alice: disk swap") {
			t.Errorf("evidence: %s", i.Evidence)
		}
		r.guard.HoldStore("z2", "z2-s1", breaker.Open, time.Minute, "bob", "")
		time.Sleep(70 * time.Second)
		i = r.only("z2")
		if i.Ongoing || len(i.Stores) != 1 || math.Abs(i.Stores[0].Minutes-1) > 1e-2 || i.DarkMinutes != 0 {
			t.Errorf("a store held for a minute: %+v", i)
		}
	})
}

// TestHeldThroughCalm: the episode ends while a person holds the zone open. It
// is still dark.
func TestHeldThroughCalm(t *testing.T) {
	bubble(t, func(r *rig) {
		r.traffic("z1", 20, time.Second)
		time.Sleep(2 * time.Second)
		r.freeze("z1")
		time.Sleep(10 * time.Second)
		r.guard.HoldZone("z1", breaker.Open, 0, "alice", "")
		held := time.Now()
		r.heal("z1")
		time.Sleep(100 * time.Second)
		i := r.only("z1")
		if !i.Ongoing || i.DarkMinutes < time.Since(held).Minutes() {
			t.Errorf("it is held for %s, and the incident says %+v", time.Since(held), i)
		}
		r.guard.ResetZone("z1", "alice", "")
		time.Sleep(10 * time.Second)
		if i = r.only("z1"); i.Ongoing {
			t.Errorf("it is not over: %v", whats(i))
		}
	})
}

// TestMaintenance: people put the zone into maintenance and let its stores out
// one by one, as in a real outage. The incident lasts until they are done.
func TestMaintenance(t *testing.T) {
	bubble(t, func(r *rig) {
		r.traffic("z1", 20, time.Second)
		time.Sleep(2 * time.Second)
		r.freeze("z1")
		time.Sleep(30 * time.Second)
		set := maintenance.Switch{Target: maintenance.Target{Scope: maintenance.Zone, Name: "z1"}, By: "alice", Reason: "damaged data", Since: time.Now()}
		began := time.Now()
		r.want(set, maintenance.Switch{Target: maintenance.Target{Scope: maintenance.Zone, Name: "z2"}})
		time.Sleep(30 * time.Second)
		r.heal("z1")
		r.stop() // no request comes through
		time.Sleep(2 * time.Minute)
		for n := range 5 {
			set.Except = append(set.Except, storeName("z1", n))
			r.want(set)
			time.Sleep(time.Minute)
		}
		if i := r.only("z1"); !i.Ongoing {
			t.Errorf("over while people are at it: %v", whats(i))
		}
		last := time.Now()
		r.want()
		time.Sleep(3 * time.Second)
		i := r.only("z1")
		if i.Ongoing || !near(i.Ended.Sub(last), 0, 3*time.Second) || !i.Recovered.Equal(last) {
			t.Errorf("switched off at %s: %+v", last, i)
		}
		dark := last.Sub(i.Opened).Minutes()
		if math.Abs(i.DarkMinutes-dark) > 1e-3 {
			t.Errorf("%.3f minutes dark, want %.3f", i.DarkMinutes, dark)
		}
		for n := range 5 {
			want := dark - float64(5-n)
			at := slices.IndexFunc(i.Stores, func(s incidents.StoreMinutes) bool { return s.Store == storeName("z1", n) })
			if at < 0 || math.Abs(i.Stores[at].Minutes-want) > 1e-3 {
				t.Errorf("store %d, let out %d minutes before the end: %+v, want %.3f", n, 5-n, i.Stores, want)
			}
		}
		if i.StoresDark != 0 {
			t.Errorf("%d stores dark on their own", i.StoresDark)
		}
		wantWhats(t, i, "zone_opened", "switch_set", "stores_let_out", "switch_cleared")
		at := slices.Index(whats(i), "switch_set")
		if e := i.Timeline[at]; e.Text != "zone z1 put into maintenance by alice: damaged data" || !e.At.Equal(began) {
			t.Errorf("the switch is told as %+v", e)
		}
		if e := i.Timeline[slices.Index(whats(i), "stores_let_out")]; e.Times != 5 || !strings.HasPrefix(e.Text, "5 stores") {
			t.Errorf("what repeats itself is told as %+v", e)
		}
	})
}

// TestMaintenanceFromBefore neither keeps an incident going nor is news.
func TestMaintenanceFromBefore(t *testing.T) {
	bubble(t, func(r *rig) {
		r.want(maintenance.Switch{Target: maintenance.Target{Scope: maintenance.Store, Name: "z1-s3"}})
		r.traffic("z1", 20, time.Second)
		time.Sleep(2 * time.Second)
		r.freeze("z1")
		time.Sleep(10 * time.Second)
		r.heal("z1")
		time.Sleep(40 * time.Second)
		i := r.only("z1")
		if i.Ongoing || i.StoresDark != 1 || i.Stores[0].Store != "z1-s3" || i.Stores[0].Minutes < i.Ended.Sub(i.Began).Minutes()-0.1 {
			t.Errorf("got %+v", i)
		}
	})
}

// TestTwoZones at once have an incident each, with the figures of each.
func TestTwoZones(t *testing.T) {
	bubble(t, func(r *rig) {
		for _, zone := range []string{"z1", "z2", "z3"} {
			r.traffic(zone, 20, time.Second)
		}
		time.Sleep(3 * time.Second)
		r.forget("z1")
		r.forget("z2")
		r.freeze("z1")
		time.Sleep(5 * time.Second)
		r.freeze("z2")
		time.Sleep(10 * time.Second)
		r.heal("z1")
		time.Sleep(10 * time.Second)
		r.heal("z2")
		time.Sleep(40 * time.Second)
		for _, zone := range []string{"z1", "z2"} {
			if i := r.only(zone); i.Ongoing {
				t.Errorf("%s is not over", zone)
			} else {
				r.checkFigures(i)
			}
		}
		if list, next, _ := r.log.List(incidents.Query{Limit: 1}); len(list) != 1 || list[0].Zone != "z2" || next == "" {
			t.Errorf("the newest: %+v, next %q", list, next)
		} else if list, next, _ = r.log.List(incidents.Query{Limit: 1, After: next}); len(list) != 1 || list[0].Zone != "z1" || next != "" {
			t.Errorf("the next page: %+v, next %q", list, next)
		}
		if _, _, err := r.log.List(incidents.Query{After: "gone"}); err == nil {
			t.Error("a page behind an incident that is not there")
		}
	})
}

// TestRestart: a process ends in the middle of an episode, which the guard of the
// next one remembers.
func TestRestart(t *testing.T) {
	bubble(t, func(r *rig) {
		r.traffic("z1", 20, time.Second)
		time.Sleep(2 * time.Second)
		r.freeze("z1")
		time.Sleep(10 * time.Second)
		before := r.only("z1")
		r.log.Close()
		r.open()
		// It is told of what it goes on with.
		told := breaker.Event{Zone: "z1", At: time.Now().Add(-time.Millisecond), Evidence: "from before"}
		for _, told.Kind = range []string{breaker.EventZoneTroubled, breaker.EventZoneOpened} {
			r.log.Tell(&told)
		}
		i := r.only("z1")
		if !i.Ongoing || i.ID != before.ID || i.Openings != before.Openings || i.Hung < before.Hung {
			t.Errorf("after a restart %+v\nbefore %+v", i, before)
		}
		time.Sleep(time.Minute)
		r.heal()
		time.Sleep(40 * time.Second)
		i = r.only("z1")
		if i.Ongoing || i.Interrupted != "" || i.Hung < before.Hung || math.Abs(i.Recovered.Sub(i.Opened).Minutes()-i.DarkMinutes) > 1e-3 {
			t.Errorf("in the end %+v", i)
		}
		wantWhats(t, i, "first_wrong", "zone_troubled", "zone_opened", "restarted", "zone_closed", "zone_calm")
	})
}

// TestRestartWhenItOpens: the process ends between a zone's first trouble and the
// event that it opened.
func TestRestartWhenItOpens(t *testing.T) {
	bubble(t, func(r *rig) {
		r.traffic("z1", 20, time.Second)
		time.Sleep(2 * time.Second)
		r.freeze("z1")
		for list, _, _ := r.log.List(incidents.Query{}); len(list) == 0; list, _, _ = r.log.List(incidents.Query{}) {
			time.Sleep(time.Millisecond)
		}
		r.log.Close()
		time.Sleep(time.Second) // it is cut off for 2 s
		r.open()
		opened, _ := r.guard.Zone("z1")
		if i := r.only("z1"); i.Openings != opened.Turn || !i.Opened.Equal(opened.OpenedAt) {
			t.Errorf("after a restart %+v\nof %+v", i, opened)
		}
	})
}

// TestRestartFoundEarlier: the next process begins a record before it has read
// what was kept.
func TestRestartFoundEarlier(t *testing.T) {
	bubble(t, func(r *rig) {
		r.traffic("z1", 20, time.Second)
		time.Sleep(2 * time.Second)
		r.freeze("z1")
		time.Sleep(10 * time.Second)
		before := r.only("z1")
		r.log.Close()
		r.open()
		r.log.Adopt(r.guard.Zones()) // at once
		if i := r.only("z1"); i.ID != before.ID || i.Hung < before.Hung || i.DarkMinutes < before.DarkMinutes {
			t.Errorf("after a restart %+v\nbefore %+v", i, before)
		}
	})
}

// TestRestartForgotten: a process ends in the middle of an episode, of which the
// next one knows nothing.
func TestRestartForgotten(t *testing.T) {
	bubble(t, func(r *rig) {
		r.traffic("z1", 20, time.Second)
		time.Sleep(2 * time.Second)
		r.freeze("z1")
		time.Sleep(10 * time.Second)
		before := r.only("z1")
		r.log.Close()
		r.guard.ResetZone("z1", "", "")
		r.stop()
		r.heal()
		time.Sleep(time.Minute) // until the guard has forgotten it
		r.open()
		i := r.only("z1")
		if i.Ongoing || i.Interrupted == "" || i.Hung < before.Hung || math.Abs(i.Ended.Sub(i.Opened).Minutes()-i.DarkMinutes) > 1e-3 {
			t.Errorf("after a restart: %+v", i)
		}
	})
}

// TestAdopt: the record begins in the middle, as when incidents are turned on.
func TestAdopt(t *testing.T) {
	bubble(t, func(r *rig) {
		r.traffic("z1", 20, time.Second)
		time.Sleep(2 * time.Second)
		r.freeze("z1")
		time.Sleep(10 * time.Second)
		r.log.Close()
		r.dir = t.TempDir()
		r.open()
		r.log.Adopt(r.guard.Zones())
		r.log.Adopt(r.guard.Zones())
		time.Sleep(10 * time.Second)
		r.heal()
		time.Sleep(40 * time.Second)
		i := r.only("z1")
		if i.Ongoing || i.Openings == 0 || i.Recovered.Sub(i.Opened).Minutes()-i.DarkMinutes > 1e-3 {
			t.Errorf("got %+v", i)
		}
		wantWhats(t, i, "found", "zone_closed", "zone_calm")
	})
}

// TestAdoptBeforeItsEvents: what is found is told of a moment later.
func TestAdoptBeforeItsEvents(t *testing.T) {
	bubble(t, func(r *rig) {
		at := time.Now().Add(-time.Second)
		since := at.Add(-time.Second)
		r.log.Adopt([]breaker.ZoneStatus{{
			Zone: "z9", State: breaker.Open, Turn: 1, OpenedAt: at, Since: at, EpisodeSince: since, Outcomes: map[string]uint64{"hung": 3}, Quarantined: []string{"a"}, QuarantinedCount: 1,
		}})
		tally := &breaker.Tally{Outcomes: map[string]uint64{"hung": 1}}
		r.log.Tell(&breaker.Event{Kind: breaker.EventZoneTroubled, Zone: "z9", At: since, First: since.Add(-time.Second), Tally: tally, Evidence: "x"})
		r.log.Tell(&breaker.Event{Kind: breaker.EventZoneOpened, Zone: "z9", At: at, For: time.Second, Evidence: "y", Tally: &breaker.Tally{Outcomes: map[string]uint64{"hung": 3}}})
		i := r.only("z9")
		if i.Hung != 2 || i.Openings != 1 || !i.Opened.Equal(at) || !i.Began.Equal(since.Add(-time.Second)) || i.StoresDark != 0 {
			t.Errorf("got %+v", i)
		}
		wantWhats(t, i, "first_wrong", "zone_troubled", "zone_opened")
		r.log.Adopt([]breaker.ZoneStatus{{Zone: "z8", State: breaker.Open, Turn: 2, OpenedAt: at, Since: at, EpisodeSince: since}})
		r.log.Tell(&breaker.Event{Kind: breaker.EventZoneOpened, Zone: "z8", At: at, For: time.Second, Evidence: "y"})
		if i = r.only("z8"); i.Openings != 2 {
			t.Errorf("an opening counts twice: %+v", i)
		}
	})
}

// TestResume: a switch of the incident is still in force after a restart, so
// the incident goes on.
func TestResume(t *testing.T) {
	bubble(t, func(r *rig) {
		r.traffic("z1", 20, time.Second)
		time.Sleep(2 * time.Second)
		r.freeze("z1")
		time.Sleep(10 * time.Second)
		r.want(maintenance.Switch{Target: maintenance.Target{Scope: maintenance.Zone, Name: "z1"}})
		r.heal()
		r.stop()
		time.Sleep(time.Minute)
		before := r.only("z1")
		r.log.Close()
		time.Sleep(time.Minute) // no reader asks
		r.open()
		time.Sleep(time.Minute)
		i := r.only("z1")
		if !i.Ongoing || i.ID != before.ID || i.Hung != before.Hung || i.DarkMinutes < 3 {
			t.Errorf("before %+v\nafter %+v", before, i)
		}
		r.want()
		time.Sleep(5 * time.Second)
		if i = r.only("z1"); i.Ongoing || i.Interrupted != "" {
			t.Errorf("not over after the switch is off: %+v", i)
		}
		wantWhats(t, i, "switch_set", "restarted", "switch_cleared")
	})
}

// TestLostEnd: the last event was lost; looking finds that all is calm.
func TestLostEnd(t *testing.T) {
	bubble(t, func(r *rig) {
		r.log.Tell(&breaker.Event{Kind: breaker.EventZoneOpened, Zone: "z9", At: time.Now(), For: time.Second, Evidence: "x"})
		r.guard.HoldZone("z9", breaker.Calm, time.Millisecond, "", "") // so that the zone is known
		time.Sleep(10 * time.Second)
		if i := r.only("z9"); i.Ongoing || i.Ended.Sub(i.Began) > 5*time.Second {
			t.Errorf("got %+v", i)
		}
	})
}

// TestLostClosing: a switch keeps an incident open whose closing was not heard.
func TestLostClosing(t *testing.T) {
	bubble(t, func(r *rig) {
		r.guard.HoldZone("z9", breaker.Calm, time.Millisecond, "", "")
		r.log.Tell(&breaker.Event{Kind: breaker.EventZoneOpened, Zone: "z9", At: time.Now(), For: time.Second, Evidence: "x"})
		r.want(maintenance.Switch{Target: maintenance.Target{Scope: maintenance.Zone, Name: "z9"}, Mode: maintenance.ReadOnly})
		time.Sleep(time.Minute)
		if i := r.only("z9"); !i.Ongoing || i.DarkMinutes > 0.1 {
			t.Errorf("got %+v", i)
		}
	})
}

// TestNothing: a hiccup that came to nothing is not kept.
func TestNothing(t *testing.T) {
	bubble(t, func(r *rig) {
		r.traffic("z1", 2, time.Second)
		time.Sleep(2100 * time.Millisecond)
		r.log.Tell(&breaker.Event{Kind: breaker.EventZoneTroubled, Zone: "z1", At: time.Now(), Evidence: "x"})
		if i := r.only("z1"); !i.Ongoing {
			t.Errorf("nothing was noticed: %+v", i)
		}
		time.Sleep(time.Minute)
		if list, _, _ := r.log.List(incidents.Query{}); len(list) > 0 {
			t.Errorf("kept: %+v", list)
		}
		time.Sleep(5 * time.Second)
		if files, _ := filepath.Glob(filepath.Join(r.dir, "web1", "*.json")); len(files) > 0 {
			t.Errorf("still on disk: %q", files)
		}
	})
}

// TestNote: somebody else has something to say.
func TestNote(t *testing.T) {
	bubble(t, func(r *rig) {
		r.log.Note("z1", time.Now(), "recovery_started", "", "no process listens")
		r.guard.HoldZone("z1", breaker.Open, 0, "", "")
		time.Sleep(time.Second)
		r.log.Note("z1", time.Now(), "recovery_started", "s1", "recovery of zone z1 began")
		r.guard.ResetZone("z1", "", "")
		time.Sleep(time.Second)
		i := r.only("z1")
		wantWhats(t, i, "zone_isolated", "recovery_started", "zone_auto")
	})
}
