package breaker_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/config"
)

// planned is a request: when it comes, how long its worker takes, and what it
// comes to.
type planned struct {
	at          time.Duration
	zone, store string
	takes       time.Duration
	outcome     breaker.Outcome
}

// plan is a minute of traffic in which a zone freezes and comes back, and later
// one store of another hangs. Nothing in it falls on a sweep.
func plan() (all []planned) {
	for i := range 60 * 100 {
		zone, store := allZones(i)
		p := planned{at: time.Duration(i)*10*time.Millisecond + time.Millisecond, zone: zone, store: store, takes: 20*time.Millisecond + 100*time.Microsecond}
		switch {
		case zone == "z7" && p.at > 10*time.Second && p.at < 14*time.Second:
			p.takes = 14*time.Second + 37*time.Millisecond - p.at
		case zone == "z3" && store == "s0" && p.at > 30*time.Second && p.at < 45*time.Second:
			p.takes = 45*time.Second + 63*time.Millisecond - p.at
		case zone == "z5" && p.at > 50*time.Second && p.at < 53*time.Second:
			p.outcome = breaker.Failure
		}
		all = append(all, p)
	}
	return all
}

// told is an event without what chance decides: when an open time is over, and
// which request is the first after it.
func told(e breaker.Event, began time.Time) string {
	if e.Kind == breaker.EventZoneHalfOpen || e.Kind == breaker.EventStoreHalfOpen || e.Kind == breaker.EventStoreReleased {
		return fmt.Sprintf("%s %s %s", e.Kind, e.Zone, e.Store)
	}
	return fmt.Sprintf("%s %s %s %s", e.At.Sub(began.Round(0)).Round(time.Millisecond), e.Kind, e.Zone, e.Store)
}

// TestSimulationDoesAsTheGuard lets the guard itself and a simulation of it
// meet the same traffic.
func TestSimulationDoesAsTheGuard(t *testing.T) {
	app := twoSeconds()
	app.Zones[0].MaxWait = new(config.Duration) // a wait's end may fall on anything
	policy, err := app.Policy()
	if err != nil {
		t.Fatal(err)
	}
	zones := make([]string, 12)
	for i := range zones {
		zones[i] = fmt.Sprintf("z%d", i+1)
	}
	var want []string
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		g := breaker.New(policy, breaker.Options{})
		defer g.Close()
		g.Apply(policy, zones)
		for _, p := range plan() {
			time.Sleep(time.Until(began.Add(p.at)))
			go live(g, p)
		}
		time.Sleep(4 * time.Second)
		for len(g.Events()) > 0 {
			want = append(want, told(<-g.Events(), began))
		}
	})
	got := simulate(policy, zones, plan())
	if !slices.Equal(got, want) {
		t.Errorf("simulation:\n%v\nguard:\n%v", lines(got), lines(want))
	}
	if again := simulate(policy, zones, plan()); !slices.Equal(again, got) {
		t.Errorf("the same simulation went another way:\n%v\nbefore:\n%v", lines(again), lines(got))
	}
	if len(got) < 10 {
		t.Errorf("only %d events: %v", len(got), got)
	}
}

func lines(texts []string) (all string) {
	for _, text := range texts {
		all += "  " + text + "\n"
	}
	return all
}

// live is the life of a request with the guard itself.
func live(g *breaker.Guard, p planned) {
	slot, _ := g.Admit(context.Background(), breaker.Request{Zone: p.zone, Store: p.store})
	if slot == nil {
		return
	}
	slot.Track()
	if p.takes > slot.Timeout() {
		time.Sleep(slot.Timeout())
		slot.Hang()
		time.Sleep(p.takes - slot.Timeout())
	} else {
		time.Sleep(p.takes)
		slot.Answer(p.outcome)
	}
	slot.End(p.outcome)
}

// simulate is the same lives in a simulation.
func simulate(policy *config.Policy, zones []string, all []planned) (events []string) {
	began := time.Date(2020, 7, 1, 12, 0, 0, 0, time.UTC)
	s := breaker.Simulate(policy, zones, began, 1)
	type step struct {
		at time.Duration
		do func()
	}
	var steps []step
	push := func(at time.Duration, do func()) {
		i, _ := slices.BinarySearchFunc(steps, at, func(s step, at time.Duration) int {
			if s.at <= at {
				return -1
			}
			return 1
		})
		steps = slices.Insert(steps, i, step{at, do})
	}
	for _, p := range all {
		push(p.at, func() {
			slot, _, _ := s.Admit(breaker.Request{Zone: p.zone, Store: p.store})
			if slot == nil {
				return
			}
			slot.Track()
			if p.takes > slot.Timeout() {
				push(p.at+slot.Timeout(), slot.Hang)
				push(p.at+p.takes, func() { slot.End(p.outcome) })
				return
			}
			push(p.at+p.takes, func() { slot.Answer(p.outcome); slot.End(p.outcome) })
		})
	}
	for sweep := breaker.SweepEvery; sweep < 64*time.Second; sweep += breaker.SweepEvery {
		for len(steps) > 0 && steps[0].at < sweep {
			next := steps[0]
			steps = steps[1:]
			s.Set(began.Add(next.at))
			next.do()
		}
		s.Set(began.Add(sweep))
		s.Sweep()
		for len(s.Guard().Events()) > 0 {
			events = append(events, told(<-s.Guard().Events(), began))
		}
	}
	return events
}

// TestSimulatedWait: a request that waits in a simulation is served when a slot comes free,
// or gives up.
func TestSimulatedWait(t *testing.T) {
	app := config.App{Workers: 1, Zones: []config.Zone{{Name: "*", MaxInflight: config.Count(1)}}}
	policy, err := app.Policy()
	if err != nil {
		t.Fatal(err)
	}
	s := breaker.Simulate(policy, []string{"z1"}, time.Unix(0, 0), 1)
	first, _, _ := s.Admit(breaker.Request{Zone: "z1", Store: "a"})
	_, _, second := s.Admit(breaker.Request{Zone: "z1", Store: "b"})
	_, _, third := s.Admit(breaker.Request{Zone: "z1", Store: "c"})
	if first == nil || second == nil || third == nil {
		t.Fatalf("admitted %v, waiting %v and %v; want one and two", first, second, third)
	}
	if s.Idle() {
		t.Error("idle although somebody waits")
	}
	if _, _, ok := second.Served(); ok {
		t.Error("served although no slot is free")
	}
	first.End(breaker.OK)
	slot, _, ok := second.Served()
	if !ok || slot == nil {
		t.Fatalf("served %v, slot %v; want a slot", ok, slot)
	}
	s.Set(third.Until)
	if _, refusal := third.GiveUp(); refusal == nil || refusal.Reason != breaker.ReasonBusy {
		t.Errorf("gave up with %v, want busy", refusal)
	}
	slot.End(breaker.OK)
	for range 60 { // after a minute its zone counts for nothing
		s.Set(s.Now().Add(time.Second))
		s.Sweep()
	}
	if !s.Idle() {
		t.Error("not idle although nothing is in flight")
	}
}

// TestOpenTimeIsKept: a zone and a store stay open for as long as they say when
// they open, to the sweep.
func TestOpenTimeIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t, twoSeconds())
		defer p.close()
		p.load(2*time.Second, 100, allZones)
		p.freeze("z7")
		p.freeze("z3/s0")
		p.load(20*time.Second, 100, allZones)
		ends := make(map[string]time.Time)
		checked := 0
		for len(p.guard.Events()) > 0 {
			switch e := <-p.guard.Events(); e.Kind {
			case breaker.EventZoneOpened, breaker.EventStoreQuarantined:
				ends[e.Zone+e.Store] = e.At.Add(e.For)
			case breaker.EventZoneHalfOpen, breaker.EventStoreHalfOpen:
				checked++
				if late := e.At.Sub(ends[e.Zone+e.Store]); late < 0 || late > breaker.SweepEvery {
					t.Errorf("%s %s half-open %s after its open time", e.Zone, e.Store, late)
				}
			}
		}
		if checked < 2 {
			t.Errorf("%d became half-open", checked)
		}
	})
}
