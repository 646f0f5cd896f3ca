package breaker

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/firebreak-proxy/firebreak/config"
)

func TestPanicsAreSurvived(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := config.App{Workers: 32, Zones: []config.Zone{{
			Name: "*", Timeout: config.Duration(2 * time.Second),
			Check: &config.Check{Protocol: "tcp", Address: "db:1", Send: "x"},
		}}}
		p, err := app.Policy()
		if err != nil {
			t.Fatal(err)
		}
		g := New(p, Options{Check: func(context.Context, string, *config.Check) error { panic("in a check") }})
		defer g.Close()
		for _, store := range []string{"a", "b", "c"} { // opens the zone, which asks its check
			s, _ := g.Admit(t.Context(), Request{Zone: "z1", Store: store})
			defer s.End(OK)
		}
		time.Sleep(3 * time.Second)
		inCheck := g.Status().InternalErrors
		if inCheck == 0 {
			t.Error("the panic of a check is not counted")
		}
		s, _ := g.Admit(t.Context(), Request{Zone: "z2", Store: "a"})
		s.do(func(*zone, int64) { panic("under the lock") })
		if got := g.Status().InternalErrors; got <= inCheck {
			t.Errorf("%d internal errors, want more than %d", got, inCheck)
		}
		s.End(OK) // the lock is free again
		if z, _ := g.Zone("z2"); z.Live != 0 {
			t.Errorf("%d slots live after the end", z.Live)
		}
	})
}
