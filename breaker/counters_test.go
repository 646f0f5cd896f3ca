package breaker_test

import (
	"context"
	"errors"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/config"
)

// TestCounters: what is counted over an outage of one zone, by every reader that
// scrapes.
func TestCounters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := config.App{Workers: 32, Zones: []config.Zone{{Name: "z1", Timeout: config.Duration(2 * time.Second)}}}
		policy, err := app.Policy()
		if err != nil {
			t.Fatal(err)
		}
		g := breaker.New(policy, breaker.Options{})
		defer g.Close()
		g.Apply(policy, []string{"z1", "z2"})
		var slots []*breaker.Slot
		for _, store := range []string{"a", "b", "c", "d"} {
			slot, refusal := g.Admit(context.Background(), breaker.Request{Zone: "z1", Store: store})
			if refusal != nil {
				t.Fatal(refusal)
			}
			slots = append(slots, slot)
		}
		well, _ := g.Admit(context.Background(), breaker.Request{Zone: "z2", Store: "w"})
		time.Sleep(30 * time.Millisecond)
		well.Answer(breaker.OK)
		time.Sleep(time.Second)
		well.End(breaker.OK) // its body took a second; its first byte did not
		time.Sleep(time.Second)
		for _, slot := range slots[:3] {
			slot.Track()
		}
		for _, slot := range slots {
			slot.Hang()
		}
		if _, refusal := g.Admit(context.Background(), breaker.Request{Zone: "z1", Store: "e"}); refusal == nil {
			t.Fatal("the zone is not open")
		}
		slots[0].End(breaker.Failure)
		slots[1].End(breaker.Abandoned)
		time.Sleep(2 * time.Minute) // slots[3] is held no longer
		slots[2].End(breaker.Failure)
		c := g.Counters()
		if c.Admitted != 5 || c.Episodes != 1 || c.Openings == 0 || c.Returned != 2 || c.Abandoned != 1 || c.Presumed != 1 {
			t.Errorf("admitted %d, episodes %d, openings %d, returned %d, abandoned %d, presumed %d; want 5, 1, some, 2, 1, 1",
				c.Admitted, c.Episodes, c.Openings, c.Returned, c.Abandoned, c.Presumed)
		}
		if c.Outcomes[breaker.Hung] != 4 || c.Outcomes[breaker.OK] != 1 {
			t.Errorf("outcomes %v", c.Outcomes)
		}
		if c.FirstByte.Count != 1 || c.FirstByte.Sum != 0.03 {
			t.Errorf("first bytes: %d in %g s, want 1 in 0.03 s", c.FirstByte.Count, c.FirstByte.Sum)
		}
		g.Apply(policy, nil) // z2 is gone
		if after := g.Counters(); after.Admitted != 5 || after.FirstByte.Count != 1 {
			t.Errorf("lost with a zone: admitted %d, first bytes %d", after.Admitted, after.FirstByte.Count)
		}
	})
}

// TestCountersOfWaits: only requests that had to wait are counted.
func TestCountersOfWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		policy, err := (&config.App{Workers: 1, Zones: []config.Zone{{Name: "*", MaxWait: new(config.Duration(100 * time.Millisecond))}}}).Policy()
		if err != nil {
			t.Fatal(err)
		}
		g := breaker.New(policy, breaker.Options{})
		defer g.Close()
		first, _ := g.Admit(context.Background(), breaker.Request{Zone: "z1", Store: "a"})
		if g.Counters().Wait.Count != 0 {
			t.Error("a request that did not wait is counted")
		}
		time.AfterFunc(40*time.Millisecond, func() { first.End(breaker.OK) })
		second, refusal := g.Admit(context.Background(), breaker.Request{Zone: "z1", Store: "b"})
		if refusal != nil {
			t.Fatal(refusal)
		}
		defer second.End(breaker.OK)
		_, refusal = g.Admit(context.Background(), breaker.Request{Zone: "z1", Store: "c"})
		if refusal == nil {
			t.Fatal("admitted beyond the pool")
		}
		if wait := g.Counters().Wait; wait.Count != 2 || math.Abs(wait.Sum-0.14) > 1e-9 {
			t.Errorf("%d waited for %g s, want 2 for 0.14 s", wait.Count, wait.Sum)
		}
	})
}

// TestCountersOfChecks counts by result.
func TestCountersOfChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := config.App{Workers: 32, Zones: []config.Zone{{Name: "z1", Check: &config.Check{Protocol: "http", Address: "http://db"}}}}
		policy, err := app.Policy()
		if err != nil {
			t.Fatal(err)
		}
		results := []error{errors.New("no answer"), errors.New("no answer"), nil}
		g := breaker.New(policy, breaker.Options{Check: func(context.Context, string, *config.Check) error {
			result := results[0]
			results = results[1:]
			return result
		}})
		defer g.Close()
		for _, store := range []string{"a", "b", "c"} {
			slot, _ := g.Admit(context.Background(), breaker.Request{Zone: "z1", Store: store})
			defer slot.End(breaker.OK)
		}
		time.Sleep(6 * time.Second)
		c := g.Counters()
		if c.ChecksFailed != 2 || c.ChecksPassed != 1 || !c.Zones[0].Checked || !c.Zones[0].CheckOK {
			t.Errorf("checks: %d failed, %d passed; zone %+v", c.ChecksFailed, c.ChecksPassed, c.Zones[0])
		}
	})
}
