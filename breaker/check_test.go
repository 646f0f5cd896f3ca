package breaker_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
)

// check asks for a slot for a check, or says why there is none.
func check(g *breaker.Guard, store string) (*breaker.Slot, breaker.Reason) {
	s, refusal := g.AdmitCheck(breaker.CheckRequest{Zone: "z1", Store: store, Timeout: time.Second})
	if refusal != nil {
		return nil, refusal.Reason
	}
	s.Track()
	return s, ""
}

// hungChecks sends n checks that hang.
func hungChecks(t *testing.T, g *breaker.Guard, n int) (slots []*breaker.Slot) {
	t.Helper()
	for i := range n {
		s, reason := check(g, fmt.Sprint("hung", i))
		if reason != "" {
			t.Fatalf("check %d refused: %s", i, reason)
		}
		slots = append(slots, s)
	}
	time.Sleep(time.Second)
	for _, s := range slots {
		s.Hang()
	}
	return slots
}

// TestChecksAreNoEvidence: whatever their result, it is no evidence.
func TestChecksAreNoEvidence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t, twoSeconds(), breaker.Options{})
		defer g.Close()
		stuck := hungChecks(t, g, 4)
		for i, o := range breaker.Outcomes() {
			s, reason := check(g, fmt.Sprint("s", i))
			if reason != "" {
				break // four hang and none has passed
			}
			s.End(o)
		}
		time.Sleep(10 * time.Second)
		if z, _ := g.Zone("z1"); z.State != breaker.Calm || z.StoresBad > 0 || z.QuarantinedCount > 0 || len(z.Culprits) > 0 || z.Hung != 4 {
			t.Errorf("the zone is %+v", z)
		}
		if s := g.Status(); s.PoolSuspect {
			t.Errorf("the pool is suspect: %s", s.PoolSuspectText)
		}
		// Bursts of the stores that are back already are as welcome as ever.
		for range 4 {
			defer admit(t, g, "z1", "back").End(breaker.OK)
		}
		for _, s := range stuck {
			s.End(breaker.OK)
		}
		if z, _ := g.Zone("z1"); z.Hung != 0 {
			t.Errorf("%d slots are hung for ever", z.Hung)
		}
	})
}

// TestChecksKeepToTheirZone: hung checks hold at most an eighth of the pool while
// nothing explains them, and a quarter in all; the zone's own requests have room
// beside them.
func TestChecksKeepToTheirZone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t, twoSeconds(), breaker.Options{})
		defer g.Close()
		hungChecks(t, g, 4)
		if _, reason := check(g, "a"); reason != breaker.ReasonBusy {
			t.Errorf("with half of the slots hung and unexplained a check got %q", reason)
		}
		if _, reason := check(g, "hung0"); reason != breaker.ReasonChecking {
			t.Errorf("a second check of a store got %q", reason)
		}
		admit(t, g, "z1", "back").End(breaker.OK) // the zone is well
		time.Sleep(100 * time.Millisecond)
		more := 0
		for ; ; more++ {
			s, _ := check(g, fmt.Sprint("more", more))
			if s == nil {
				break
			}
			time.AfterFunc(time.Second, s.Hang)
		}
		if more != 4 {
			t.Errorf("%d more checks were admitted, want 4: a quarter of the pool in all", more)
		}
		if s, refusal := g.Admit(context.Background(), breaker.Request{Zone: "z1", Store: "back"}); refusal != nil {
			t.Errorf("a store that is back is refused: %s: %s", refusal.Reason, refusal.Detail)
		} else {
			time.Sleep(1500 * time.Millisecond)
			s.End(breaker.OK)
		}
		time.Sleep(100 * time.Millisecond) // now all of them are explained
		if _, reason := check(g, "a"); reason != breaker.ReasonBusy {
			t.Errorf("with eight workers stuck a check got %q", reason)
		}
	})
}

// TestRequestsComeBeforeChecks: while a request waits for a slot no check gets
// one.
func TestRequestsComeBeforeChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t, twoSeconds(), breaker.Options{})
		defer g.Close()
		var slots []*breaker.Slot
		admit(t, g, "z1", "s").End(breaker.OK)
		for i := range 32 {
			slots = append(slots, admit(t, g, "z1", fmt.Sprint("s", i)))
		}
		done := make(chan breaker.Reason)
		go func() { done <- refused(g, "z1", "waits") }()
		synctest.Wait()
		if _, reason := check(g, "a"); reason != breaker.ReasonBusy {
			t.Errorf("while a request waits a check got %q", reason)
		}
		for _, s := range slots {
			s.End(breaker.OK)
		}
		if reason := <-done; reason != "" {
			t.Errorf("the request that waited was refused: %s", reason)
		}
		if s, reason := check(g, "a"); s == nil {
			t.Errorf("nothing waits, and a check got %q", reason)
		} else {
			s.End(breaker.OK)
		}
	})
}

// TestChecksInTriage: they use up no probe of a triage.
func TestChecksInTriage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t, twoSeconds(), breaker.Options{})
		defer g.Close()
		openZone(t, g)
		s, reason := check(g, "a")
		if reason != "" {
			t.Fatal(reason)
		}
		if got := refused(g, "z1", "b"); got != "" || state(g, "z1") == breaker.Open {
			t.Errorf("beside a check the first request of a triage got %q", got)
		}
		s.End(breaker.OK)
	})
}

func TestReinstate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t, twoSeconds(), breaker.Options{})
		defer g.Close()
		for range 2 {
			defer admit(t, g, "z1", "a").End(breaker.OK)
		}
		time.Sleep(time.Millisecond)
		admit(t, g, "z1", "b").End(breaker.OK)
		time.Sleep(1100 * time.Millisecond)
		if list, _, _ := g.Troubles("z1"); len(list) != 1 || list[0].Store != "a" || list[0].State != breaker.Open || list[0].BadInRow != 2 {
			t.Errorf("troubles: %+v", list)
		}
		g.Reinstate("z1", "a", "checked")
		if got := refused(g, "z1", "a"); got != "" {
			t.Errorf("reinstated, and refused: %s", got)
		}
		g.HoldStore("z1", "a", breaker.Open, 0, "ann", "")
		g.Reinstate("z1", "a", "checked")
		if got := refused(g, "z1", "a"); got != breaker.ReasonQuarantine {
			t.Errorf("a hold by hand was ended by a check: %q", got)
		}
	})
}
