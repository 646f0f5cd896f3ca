package breaker_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
)

func ask(t *testing.T, p *pool, zone, store string) *breaker.Refusal {
	t.Helper()
	slot, refusal := p.guard.Admit(context.Background(), breaker.Request{Zone: zone, Store: store})
	if slot != nil {
		slot.Answer(breaker.OK)
		slot.End(breaker.OK)
	}
	return refusal
}

func TestHoldZoneOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t, twoSeconds())
		defer p.close()
		p.load(time.Second, 300, allZones)
		p.guard.HoldZone("z7", breaker.Open, 0, "ann", "disk full")
		if r := ask(t, p, "z7", "s1"); r == nil || r.Reason != breaker.ReasonZoneOpen || !strings.Contains(r.Detail, "by ann: disk full") || r.RetryAfter != time.Minute {
			t.Fatalf("held open, but a request got %+v", r)
		}
		if r := ask(t, p, "z8", "s1"); r != nil {
			t.Errorf("another zone got %+v", r)
		}
		p.load(thorough(time.Hour, 5*time.Minute), 1, allZones)
		if s := p.state("z7"); s.State != breaker.Open || s.Hold == nil {
			t.Errorf("a long time later it is %s, hold %+v; a hold never ends by itself", s.State, s.Hold)
		}
		p.guard.ResetZone("z7", "ann", "disk replaced")
		if r := ask(t, p, "z7", "s1"); r != nil {
			t.Errorf("after the reset a request got %+v", r)
		}
	})
}

func TestHoldExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t, twoSeconds())
		defer p.close()
		p.guard.HoldZone("z7", breaker.Open, time.Minute, "", "")
		p.guard.HoldStore("z8", "s1", breaker.Open, time.Minute, "", "")
		time.Sleep(30 * time.Second)
		for _, where := range []struct {
			zone, store string
			want        breaker.Reason
		}{{"z7", "s1", breaker.ReasonZoneOpen}, {"z8", "s1", breaker.ReasonQuarantine}} {
			if r := ask(t, p, where.zone, where.store); r == nil || r.Reason != where.want || r.RetryAfter != 30*time.Second {
				t.Errorf("%s of %s got %+v, want %s and 30 s", where.store, where.zone, r, where.want)
			}
		}
		if r := ask(t, p, "z8", "s2"); r != nil {
			t.Errorf("a store beside a held one got %+v", r)
		}
		time.Sleep(30*time.Second + 100*time.Millisecond)
		if s := p.state("z7"); s.State != breaker.HalfOpen || s.Hold != nil {
			t.Errorf("after its hold the zone is %s; it is tried again like any other", s.State)
		}
		if r := ask(t, p, "z8", "s1"); r != nil {
			t.Errorf("after its hold the store got %+v", r)
		}
		p.load(5*time.Second, 300, allZones)
		if s := p.state("z7"); s.State == breaker.HalfOpen || s.State == breaker.Open {
			t.Errorf("5 s later it is %s", s.State)
		}
	})
}

func TestHoldClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t, twoSeconds())
		defer p.close()
		p.load(3*time.Second, 300, allZones)
		p.freeze("z7")
		p.load(2*time.Second, 300, allZones)
		if s := p.state("z7"); s.State != breaker.Open {
			t.Fatalf("the zone is %s before the hold", s.State)
		}
		p.guard.HoldZone("z7", breaker.Calm, 0, "ann", "")
		began := time.Now()
		p.load(30*time.Second, 300, allZones)
		if s := p.state("z7"); s.State == breaker.Open || s.State == breaker.HalfOpen {
			t.Errorf("held closed, and it is %s: %s", s.State, s.Evidence)
		}
		if p.worstOf("z7") > 10 {
			t.Errorf("held closed, the zone took %d workers; its limits hold all the same", p.worstOf("z7"))
		}
		if got := okPercent(p, began, func(r result) bool { return r.zone != "z7" }); got < 99.99 {
			t.Errorf("other zones %.3f %% ok", got)
		}
		p.guard.HoldStore("z8", "s7", breaker.Calm, 0, "", "")
		p.heal("z7")
		p.guard.ResetZone("z7", "", "")
	})
}

// TestHeldStoreIsNotJudged: a store held closed is never put into quarantine.
func TestHeldStoreIsNotJudged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t, twoSeconds())
		defer p.close()
		p.load(time.Second, 300, allZones)
		p.freeze("z7/bad")
		p.freeze("z7/free")
		p.guard.HoldStore("z7", "free", breaker.Calm, 0, "", "")
		for range 20 {
			p.send("z7", "bad")
			p.send("z7", "free")
			p.load(100*time.Millisecond, 300, allZones)
		}
		if s := p.guard.Store("z7", "bad"); s.State == breaker.Calm {
			t.Errorf("the store that is judged is %s", s.State)
		}
		if s := p.guard.Store("z7", "free"); s.State != breaker.Calm {
			t.Errorf("the store held closed is %s: %s", s.State, s.Evidence)
		}
	})
}

// TestResetKeepsSlots: a reset forgets verdicts, never workers. It may let in
// requests that wait, so more workers may be occupied after it.
func TestResetKeepsSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t, twoSeconds())
		defer p.close()
		p.load(3*time.Second, 300, allZones)
		p.freeze("z7")
		p.load(3*time.Second, 300, allZones)
		before := p.guard.Status()
		p.guard.ResetZone("z7", "", "")
		after := p.guard.Status()
		if before.Hung == 0 || after.Hung != before.Hung || after.Occupied < before.Occupied {
			t.Errorf("hung %d and occupied %d became %d and %d", before.Hung, before.Occupied, after.Hung, after.Occupied)
		}
		p.heal("z7")
		p.load(20*time.Second, 300, allZones)
		if s := p.guard.Status(); s.Hung != 0 || p.state("z7").State != breaker.Calm {
			t.Errorf("20 s after the heal %d hung, zone %s", s.Hung, p.state("z7").State)
		}
	})
}
