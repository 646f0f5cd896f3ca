package breaker_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/config"
)

// cancelling is a guard whose zones' queries are cancelled, and the latest Cancel that
// it has handed to the database z1.
func cancelling(t *testing.T, limits config.OnHung) (g *breaker.Guard, cancel func(request, store string) bool, report func(breaker.Findings)) {
	t.Helper()
	app := twoSeconds()
	limits.Action = config.CancelQuery
	app.Zones[0].Check = &config.Check{Protocol: "postgres", Address: "postgres://db/shop", OnHung: &limits}
	var mu sync.Mutex // guards below
	var latest *breaker.Inquiry
	var tell func(breaker.Findings)
	g = newGuard(t, app, breaker.Options{Ask: func(ctx context.Context, zone string, _ *config.Check, q *breaker.Inquiry, report func(breaker.Findings)) error {
		mu.Lock()
		defer mu.Unlock()
		if zone == "z1" {
			latest, tell = q, report
		}
		return nil
	}})
	s := admit(t, g, "z1", "well")
	s.End(breaker.OK)
	for range 200 {
		admit(t, g, "z1", "well").End(breaker.OK)
		time.Sleep(time.Second)
	}
	cancel = func(request, store string) bool {
		mu.Lock()
		q := latest
		mu.Unlock()
		return q.Cancel(request, store)
	}
	return g, cancel, func(f breaker.Findings) {
		mu.Lock()
		report := tell
		mu.Unlock()
		report(f)
	}
}

// tagged is a request with a tag that hangs.
func tagged(t *testing.T, g *breaker.Guard, store, request string) *breaker.Slot {
	t.Helper()
	s := admit(t, g, "z1", store)
	s.Track()
	s.Tag(request)
	return s
}

// TestCancelOnlyWhatHangs: a query is cancelled once its request's client was answered,
// if it is known for sure to be of that request, and again only after a second.
func TestCancelOnlyWhatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, cancel, report := cancelling(t, config.OnHung{})
		defer g.Close()
		s := tagged(t, g, "s1", "A")
		time.Sleep(time.Second)
		if cancel("A", "") {
			t.Error("cancelled although the client still waits")
		}
		time.Sleep(time.Second)
		s.Hang()
		for _, other := range [][2]string{{"", ""}, {"B", ""}, {"A", "s2"}, {"a", ""}} {
			if cancel(other[0], other[1]) {
				t.Errorf("cancelled for request %q of store %q", other[0], other[1])
			}
		}
		if !cancel("A", "s1") {
			t.Fatal("not cancelled")
		}
		if cancel("A", "s1") {
			t.Error("cancelled twice at once")
		}
		time.Sleep(1100 * time.Millisecond)
		if !cancel("A", "") {
			t.Error("the second try of the API server is not cancelled")
		}
		report(breaker.Findings{Cancelled: &breaker.Cancellation{Request: "A", PID: 7, For: time.Second}})
		s.End(breaker.Failure)
		if cancel("A", "") {
			t.Error("cancelled after it has ended")
		}
		if z, _ := g.Zone("z1"); z.Cancelled != 1 || z.Hung != 0 {
			t.Errorf("%d queries are counted, %d workers hang", z.Cancelled, z.Hung)
		}
		// Two requests with the same tag.
		one, two := tagged(t, g, "s1", "C"), tagged(t, g, "s1", "C")
		time.Sleep(2 * time.Second)
		one.Hang()
		two.Hang()
		if cancel("C", "s1") {
			t.Error("cancelled although two requests have the tag")
		}
	})
}

// TestCancelHasABudget: no more queries a minute than the settings say, nor a larger
// share of the requests, but one.
func TestCancelHasABudget(t *testing.T) {
	for _, test := range []struct {
		limits config.OnHung
		want   int
	}{
		{config.OnHung{PerMinute: 3, MaxShare: 100}, 3},
		{config.OnHung{PerMinute: 100, MaxShare: 5}, 4}, // of 60 to 90 requests a minute
		{config.OnHung{PerMinute: 100, MaxShare: 0.1}, 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			g, cancel, _ := cancelling(t, test.limits)
			defer g.Close()
			got, asked := 0, 0
			for round := range 2 {
				for i := range 8 {
					id := fmt.Sprintf("R%d-%d", round, i)
					s, refusal := g.Admit(t.Context(), breaker.Request{Zone: "z1", Store: "well"})
					if refusal != nil {
						continue
					}
					asked++
					s.Track()
					s.Tag(id)
					s.Hang()
					if cancel(id, "") {
						got++
					}
					s.End(breaker.OK)
				}
				if round == 0 {
					if got < test.want-1 || got > test.want || asked < test.want+2 {
						t.Errorf("%+v: %d of %d queries were cancelled in a minute, want %d", test.limits, got, asked, test.want)
					}
					time.Sleep(61 * time.Second)
					got, asked = 0, 0
				}
			}
			if got == 0 {
				t.Errorf("%+v: none in the next minute", test.limits)
			}
		})
	}
}

// TestCancelledIsNoAnswer: the end of a request whose query was cancelled neither ends
// the quarantine of its store nor the isolation of its zone, whatever the API server
// answers then.
func TestCancelledIsNoAnswer(t *testing.T) {
	for _, answer := range []breaker.Outcome{breaker.OK, breaker.Failure} {
		synctest.Test(t, func(t *testing.T) {
			g, cancel, _ := cancelling(t, config.OnHung{})
			defer g.Close()
			slots := make(map[string]*breaker.Slot)
			for i := range 6 {
				id := fmt.Sprintf("R%d", i)
				if s, _ := g.Admit(t.Context(), breaker.Request{Zone: "z1", Store: fmt.Sprintf("s%d", i)}); s != nil {
					s.Track()
					s.Tag(id)
					slots[id] = s
				}
			}
			time.Sleep(2 * time.Second)
			for _, s := range slots {
				s.Hang()
			}
			time.Sleep(100 * time.Millisecond)
			if z, _ := g.Zone("z1"); z.State != breaker.Open {
				t.Fatalf("zone is %s", z.State)
			}
			for id, s := range slots {
				if !cancel(id, "") {
					t.Errorf("%s is not cancelled", id)
				}
				s.End(answer)
			}
			if z, _ := g.Zone("z1"); z.State != breaker.Open || z.Hung != 0 {
				t.Errorf("after %s zone is %s, %d workers hang", answer, z.State, z.Hung)
			}
		})
	}
}
