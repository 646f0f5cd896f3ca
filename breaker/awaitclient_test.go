package breaker_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
)

// TestAwaitingClientIsNoEvidence lets every worker of a zone wait for clients
// that do not finish their requests: the zone is well.
func TestAwaitingClientIsNoEvidence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t, twoSeconds(), breaker.Options{})
		defer g.Close()
		for round := range 20 {
			var slots []*breaker.Slot
			for i := range 7 {
				s := admit(t, g, "z1", fmt.Sprintf("s%d", i))
				s.AwaitClient(true)
				slots = append(slots, s)
			}
			time.Sleep(4 * time.Second) // past slow_after, the timeout and the lease
			if z, _ := g.Zone("z1"); z.State != breaker.Calm || z.Hung != 0 || z.Live != 7 {
				t.Fatalf("round %d: zone is %s with %d live, %d hung; want calm, 7 live", round, z.State, z.Live, z.Hung)
			}
			for i, s := range slots {
				switch i % 3 {
				case 0:
					s.End(breaker.Hung)
				case 1:
					s.Leave()
					s.End(breaker.Broken)
				case 2:
					s.End(breaker.Failure)
				}
			}
		}
		z, _ := g.Zone("z1")
		if z.Outcomes["gone"] != 140 || z.Live+z.Hung != 0 {
			t.Errorf("outcomes %v, %d live, %d hung; want 140 gone and no slot left", z.Outcomes, z.Live, z.Hung)
		}
	})
}

// TestClockStandsStillForClient: what counts is the time since the request was
// sent, and the deadline after it.
func TestClockStandsStillForClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t, twoSeconds(), breaker.Options{})
		defer g.Close()
		slow := admit(t, g, "z1", "a")
		for range 5 { // ten seconds of upload, and half a second of work
			slow.AwaitClient(true)
			slow.AwaitClient(true)
			time.Sleep(2 * time.Second)
			slow.AwaitClient(false)
			slow.AwaitClient(false)
			time.Sleep(100 * time.Millisecond)
		}
		slow.Answer(breaker.OK)
		slow.End(breaker.OK)
		if z, _ := g.Zone("z1"); z.Outcomes["ok"] != 1 {
			t.Errorf("outcomes %v, want one ok", z.Outcomes)
		}
		// Three that are stuck once they were sent are evidence as ever.
		for _, store := range []string{"a", "b", "c"} {
			s := admit(t, g, "z1", store)
			s.AwaitClient(true)
			time.Sleep(3 * time.Second)
			s.AwaitClient(false)
			s.AwaitClient(true)
			s.AwaitClient(false)
			defer s.End(breaker.Gone)
		}
		time.Sleep(1200 * time.Millisecond)
		if got := state(g, "z1"); got != breaker.Open {
			t.Errorf("the zone is %s, want open", got)
		}
	})
}

// TestAwaitingKeepsOrder: the requests of a zone that began after one that
// waited for its client are older than it.
func TestAwaitingKeepsOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t, twoSeconds(), breaker.Options{})
		defer g.Close()
		first := admit(t, g, "z1", "a")
		first.AwaitClient(true)
		time.Sleep(100 * time.Millisecond)
		var others []*breaker.Slot
		for _, store := range []string{"b", "c"} {
			others = append(others, admit(t, g, "z1", store))
		}
		time.Sleep(500 * time.Millisecond)
		last := admit(t, g, "z1", "d")
		first.AwaitClient(false)
		time.Sleep(700 * time.Millisecond) // b and c are aging, a and d are not
		if z, _ := g.Zone("z1"); z.State == breaker.Open {
			t.Errorf("the zone is open for two aging requests: %s", z.Evidence)
		}
		for _, s := range append(others, last, first) {
			s.End(breaker.OK)
		}
		if z, _ := g.Zone("z1"); z.Live+z.Hung != 0 {
			t.Errorf("%d live, %d hung slots left", z.Live, z.Hung)
		}
		if _, refusal := g.Admit(context.Background(), breaker.Request{Zone: "z1", Store: "a"}); refusal != nil {
			t.Errorf("refused: %s", refusal.Reason)
		}
	})
}
