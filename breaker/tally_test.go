package breaker_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/config"
)

// TestTally: an episode's first event says what was counted before the first
// request that went wrong, its last one what was counted until its end.
func TestTally(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := config.App{Workers: 32, Zones: []config.Zone{{Name: "z1", Timeout: config.Duration(2 * time.Second)}}}
		policy, err := app.Policy()
		if err != nil {
			t.Fatal(err)
		}
		g := breaker.New(policy, breaker.Options{})
		defer g.Close()
		g.Apply(policy, []string{"z1", "z2"})
		ask := func(store string) (*breaker.Slot, *breaker.Refusal) {
			return g.Admit(context.Background(), breaker.Request{Zone: "z1", Store: store})
		}
		for range 20 { // all is well
			slot, _ := ask("a")
			slot.Answer(breaker.OK)
			slot.End(breaker.OK)
			time.Sleep(100 * time.Millisecond)
		}
		began := time.Now()
		var stuck []*breaker.Slot
		refused := uint64(0)
		for n := range 40 {
			slot, refusal := ask(string(rune('a' + n%5)))
			if refusal != nil {
				refused++
			} else {
				slot.Track()
				stuck = append(stuck, slot)
			}
			time.Sleep(50 * time.Millisecond)
		}
		for _, slot := range stuck {
			slot.Hang()
			slot.End(breaker.OK)
		}
		time.Sleep(3 * time.Minute)
		var first, last breaker.Event
		for len(g.Events()) > 0 {
			switch e := <-g.Events(); e.Kind {
			case breaker.EventZoneTroubled:
				first = e
			case breaker.EventZoneCalm:
				last = e
			}
		}
		if first.Tally == nil || last.Tally == nil {
			t.Fatal("no episode, or its events tell nothing")
		}
		if n := first.Tally.Outcomes["ok"]; n < 18 || n > 20 || len(first.Tally.Refusals) > 0 || !first.First.Equal(began) {
			t.Errorf("before %s: %+v; want nearly 20 ok, none refused, before %s", first.First, first.Tally, began)
		}
		sum := uint64(0)
		for _, n := range last.Tally.Refusals {
			sum += n
		}
		if hung := last.Tally.Outcomes["hung"]; hung != uint64(len(stuck)) || sum != refused || last.Tally.Worst != len(stuck) {
			t.Errorf("at the end: %+v; want %d hung, %d refused", last.Tally, len(stuck), refused)
		}
	})
}
