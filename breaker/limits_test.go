package breaker_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/config"
)

// The tests in this file show that firebreak does not inherit the known limits
// of the breaker that is its state machine.

func newGuard(t *testing.T, app config.App, opts breaker.Options) *breaker.Guard {
	t.Helper()
	p, err := app.Policy()
	if err != nil {
		t.Fatal(err)
	}
	return breaker.New(p, opts)
}

func admit(t *testing.T, g *breaker.Guard, zone, store string) *breaker.Slot {
	t.Helper()
	s, refusal := g.Admit(context.Background(), breaker.Request{Zone: zone, Store: store})
	if refusal != nil {
		t.Fatalf("%s/%s refused: %s: %s", zone, store, refusal.Reason, refusal.Detail)
	}
	s.Track()
	return s
}

func refused(g *breaker.Guard, zone, store string) breaker.Reason {
	s, refusal := g.Admit(context.Background(), breaker.Request{Zone: zone, Store: store})
	if refusal == nil {
		s.End(breaker.OK)
		return ""
	}
	return refusal.Reason
}

func state(g *breaker.Guard, zone string) breaker.State {
	s, _ := g.Zone(zone)
	return s.State
}

// It judges only calls that have completed.
func TestJudgesRequestsThatNeverComplete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t, twoSeconds(), breaker.Options{})
		defer g.Close()
		for _, store := range []string{"a", "b", "c"} {
			admit(t, g, "z1", store)
		}
		time.Sleep(1100 * time.Millisecond)
		if got := state(g, "z1"); got != breaker.Open {
			t.Errorf("no request has completed and the zone is %s, want open", got)
		}
	})
}

// A probe that never reports wedges it in half-open for ever.
func TestLostProbeDoesNotWedge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t, twoSeconds(), breaker.Options{})
		defer g.Close()
		var stuck []*breaker.Slot
		for _, store := range []string{"a", "b", "c"} {
			stuck = append(stuck, admit(t, g, "z1", store))
		}
		time.Sleep(8 * time.Second)
		if got := state(g, "z1"); got != breaker.HalfOpen {
			t.Fatalf("zone is %s, want half_open", got)
		}
		admit(t, g, "z1", "d") // its owner never says another word
		time.Sleep(5 * time.Minute)
		for _, s := range stuck {
			s.End(breaker.Broken)
		}
		time.Sleep(2 * time.Minute)
		if got := refused(g, "z1", "e"); got != "" {
			t.Errorf("refused with %q long after the lost probe", got)
		}
	})
}

// Any failure in half-open reopens it; here one store's does not.
func TestQuickErrorEndsTheOpenState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t, twoSeconds(), breaker.Options{})
		defer g.Close()
		openZone(t, g)
		admit(t, g, "z1", "bad").End(breaker.Failure) // at once: the zone keeps no worker
		if got := state(g, "z1"); got != breaker.Troubled {
			t.Errorf("zone is %s, want closed (troubled)", got)
		}
		if got := refused(g, "z1", "bad"); got != "" {
			t.Errorf("the store that failed: %q, want it admitted", got)
		}
	})
}

// openZone freezes z1, and breaks its connections: it is tried again then.
func openZone(t *testing.T, g *breaker.Guard) {
	t.Helper()
	var stuck []*breaker.Slot
	for _, store := range []string{"a", "b", "c"} {
		stuck = append(stuck, admit(t, g, "z1", store))
	}
	time.Sleep(1200 * time.Millisecond)
	if got := refused(g, "z1", "x"); got != breaker.ReasonZoneOpen {
		t.Fatalf("got %q, want zone_open", got)
	}
	for _, s := range stuck {
		s.Hang()
		s.End(breaker.Broken)
	}
	time.Sleep(time.Second)
	if got := state(g, "z1"); got != breaker.HalfOpen {
		t.Fatalf("zone is %s, want half_open", got)
	}
}

// A straggler from before the opening must not decide the triage.
func TestLateResultOfAnOldGenerationChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t, twoSeconds(), breaker.Options{})
		defer g.Close()
		old, _ := g.Admit(context.Background(), breaker.Request{Zone: "z1", Store: "old"})
		old.Track()
		openZone(t, g)
		old.End(breaker.Failure)
		if got, _ := g.Zone("z1"); got.State != breaker.HalfOpen {
			t.Errorf("a late failure from before the opening made it %s", got.State)
		}
	})
}

// Its callbacks run under its lock, so that asking for its state in one hangs.
func TestEventsMayBeAnsweredWithQuestions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t, twoSeconds(), breaker.Options{})
		defer g.Close()
		kinds, stop := make(chan string, 10), make(chan struct{})
		go func() {
			for {
				select {
				case e := <-g.Events():
					g.Zone(e.Zone)
					g.Status()
					kinds <- e.Kind
				case <-stop:
					return
				}
			}
		}()
		defer close(stop)
		openZone(t, g)
		for _, want := range []string{breaker.EventZoneTroubled, breaker.EventZoneOpened, breaker.EventZoneHalfOpen} {
			if got := <-kinds; got != want {
				t.Errorf("event %s, want %s", got, want)
			}
		}
	})
}

func TestIdleZoneDoesNotStayRed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t, twoSeconds(), breaker.Options{})
		defer g.Close()
		openZone(t, g)
		time.Sleep(3 * time.Minute)
		if got := state(g, "z1"); got != breaker.Calm {
			t.Errorf("without a request the zone is %s after 3 minutes, want calm", got)
		}
	})
}

func TestOpenTimeGrowsOncePerTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t, twoSeconds(), breaker.Options{})
		defer g.Close()
		openZone(t, g)
		last := 2 * time.Second
		for i := range 4 {
			probe := admit(t, g, "z1", fmt.Sprint("probe", i))
			time.Sleep(1100 * time.Millisecond)
			s, _ := g.Zone("z1")
			if s.State != breaker.Open {
				t.Fatalf("the request that tried it is aging, and the zone is %s", s.State)
			}
			probe.Hang()
			d, want := time.Duration(s.RetryAfterMS)*time.Millisecond, 5*last // the probe hangs
			if d < want*9/10-time.Second || d > want*11/10 {
				t.Errorf("open for %s, want %s +-10 %%", d, want)
			}
			last = want
			time.Sleep(d - 2*time.Second)
			if probe.End(breaker.Broken); state(g, "z1") != breaker.HalfOpen {
				t.Errorf("a worker that hung is free again, and the zone is %s", state(g, "z1"))
			}
		}
	})
}

// atHand says whether another answer is at hand.
type atHand bool

func (a atHand) AtHand() bool { return bool(a) }

// atHandPanics has a bug.
type atHandPanics struct{}

func (atHandPanics) AtHand() bool { panic("a bug") }

// A panic of what is asked for another answer leaves nothing that waits.
func TestOtherwisePanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t, twoSeconds(), breaker.Options{})
		defer g.Close()
		openZone(t, g)
		probe := admit(t, g, "z1", "probe")
		func() {
			defer func() {
				if recover() == nil {
					t.Error("the panic did not go on")
				}
			}()
			_, _ = g.Admit(t.Context(), breaker.Request{Zone: "z1", Store: "x", Otherwise: atHandPanics{}})
		}()
		before, _ := g.Zone("z1")
		probe.End(breaker.OK)
		time.Sleep(time.Second)
		if after, _ := g.Zone("z1"); before.Waiting != 0 || after.Waiting != 0 || after.Live != before.Live-1 {
			t.Errorf("%d requests waited; %d, then %d workers are occupied", before.Waiting, before.Live, after.Live)
		}
	})
}

// A request with another answer at hand does not wait for the outcome of a trial.
func TestOtherwiseDoesNotWaitForATrial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t, twoSeconds(), breaker.Options{})
		defer g.Close()
		openZone(t, g)
		probe := admit(t, g, "z1", "probe")
		refusedAfter := func(otherwise atHand) time.Duration {
			began := time.Now()
			s, r := g.Admit(t.Context(), breaker.Request{Zone: "z1", Store: "x", Otherwise: otherwise})
			if s != nil || r.Reason != breaker.ReasonBusy {
				t.Fatalf("%v, %v; want a refusal as busy", s, r)
			}
			return time.Since(began)
		}
		if took := refusedAfter(true); took != 0 {
			t.Errorf("with another answer at hand the request waited %s", took)
		}
		if took := refusedAfter(false); took == 0 {
			t.Error("without another answer the request did not wait")
		}
		if z, _ := g.Zone("z1"); z.Refusals["busy"] != 2 || z.Waiting != 0 {
			t.Errorf("%d requests are counted as refused and %d wait, want 2 and 0", z.Refusals["busy"], z.Waiting)
		}
		probe.End(breaker.OK)
	})
}

func TestCheckCostsNoWorker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := twoSeconds()
		app.Zones[0].Check = &config.Check{Protocol: "tcp", Address: "db:1", Send: "x"}
		well := make(chan error, 1)
		sick := context.DeadlineExceeded
		well <- sick
		g := newGuard(t, app, breaker.Options{Check: func(context.Context, string, *config.Check) error {
			err := <-well
			well <- err
			return err
		}})
		defer g.Close()
		for _, store := range []string{"a", "b", "c"} {
			admit(t, g, "z1", store)
		}
		time.Sleep(2 * time.Minute)
		if got := refused(g, "z1", "x"); got != breaker.ReasonZoneOpen {
			t.Errorf("while the check fails: %q, want zone_open", got)
		}
		if z, _ := g.Zone("z1"); z.Turn < 3 || strings.Count(z.Evidence, "check still fails") != 1 {
			t.Errorf("after %d turns the evidence is %q, want the first with one word on the check", z.Turn, z.Evidence)
		}
		<-well
		well <- nil
		time.Sleep(2 * time.Second)
		if got := state(g, "z1"); got != breaker.HalfOpen {
			t.Errorf("2 s after the check passes the zone is %s, want half_open", got)
		}
	})
}

func TestObserveRefusesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := twoSeconds()
		app.Zones[0].Mode = config.ModeObserve
		g := newGuard(t, app, breaker.Options{})
		defer g.Close()
		for range 20 {
			for _, store := range []string{"a", "b", "c"} {
				admit(t, g, "z1", store)
			}
			time.Sleep(100 * time.Millisecond)
		}
		s, _ := g.Zone("z1")
		if s.State != breaker.Open || s.WouldRefuse["zone_open"] == 0 || len(s.Refusals) != 0 {
			t.Errorf("state %s, would refuse %v, refused %v", s.State, s.WouldRefuse, s.Refusals)
		}
	})
}

func TestUntrackedSlotIsHeldForHungHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := twoSeconds()
		app.Zones[0].HungHold = config.Duration(20 * time.Second)
		g := newGuard(t, app, breaker.Options{})
		defer g.Close()
		s, _ := g.Admit(context.Background(), breaker.Request{Zone: "z1", Store: "a"})
		time.Sleep(2 * time.Second)
		s.Hang()
		s.End(breaker.Broken) // the handler returned, which says nothing of the worker
		time.Sleep(19 * time.Second)
		if z, _ := g.Zone("z1"); z.Hung != 1 {
			t.Errorf("%d hung before hung_hold is over, want 1", z.Hung)
		}
		time.Sleep(2 * time.Second)
		if z, _ := g.Zone("z1"); z.Hung != 0 {
			t.Errorf("%d hung after hung_hold, want 0", z.Hung)
		}
	})
}

// One hung request is no reason to refuse a store whose neighbours say nothing.
func TestLoneStoreMayTryAgainBeforeMaxHung(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t, twoSeconds(), breaker.Options{})
		defer g.Close()
		admit(t, g, "z1", "a")
		time.Sleep(2 * time.Second)
		admit(t, g, "z1", "a").End(breaker.OK)
	})
}

// A freeze of ten minutes costs a zone with a check no more than a short one.
func TestLongFreezeWithCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := twoSeconds()
		app.Zones[0].Check = &config.Check{Protocol: "tcp", Address: "db:1", Send: "x"}
		app.Zones[0].AbandonAfter = config.Duration(15 * time.Minute)
		g := newGuard(t, app, breaker.Options{Check: func(ctx context.Context, _ string, _ *config.Check) error {
			<-ctx.Done() // a frozen database
			return ctx.Err()
		}})
		defer g.Close()
		for range 30 {
			s := admit(t, g, "z1", "a")
			time.Sleep(20 * time.Millisecond)
			s.End(breaker.OK)
		}
		var stuck []*breaker.Slot
		for i := range 10 * 60 * 10 {
			if s, _ := g.Admit(context.Background(), breaker.Request{Zone: "z1", Store: string(rune('a' + i%26))}); s != nil {
				s.Track()
				stuck = append(stuck, s)
			}
			time.Sleep(100 * time.Millisecond)
		}
		if len(stuck) > 4 {
			t.Errorf("%d workers were lost in 10 minutes, want at most 4", len(stuck))
		}
	})
}

// In a small pool, too, a frozen zone never gets the last worker.
func TestProbesLeaveAWorkerOfASmallPool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := twoSeconds()
		app.Workers = 4
		g := newGuard(t, app, breaker.Options{})
		defer g.Close()
		var slots []*breaker.Slot
		for n := range 600 { // a minute of knocking, several triages
			s, _ := g.Admit(t.Context(), breaker.Request{Zone: "z1", Store: string(rune('a' + n%20))})
			if s != nil {
				s.Track()
				slots = append(slots, s)
				time.AfterFunc(2*time.Second, s.Hang)
			}
			time.Sleep(100 * time.Millisecond)
		}
		if len(slots) > 3 {
			t.Errorf("a frozen zone took %d of 4 workers, want at most 3", len(slots))
		}
		for _, s := range slots {
			s.End(breaker.Broken)
		}
	})
}
