package breaker_test

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
)

func manyZones(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("z%d", i)
	}
	return names
}

// TestZonesCostNothingUntilTheyAreAskedFor: with a database for each tenant most
// zones have no request for hours. They are not made before, and not swept after
// their requests.
func TestZonesCostNothingUntilTheyAreAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := twoSeconds()
		p, err := app.Policy()
		if err != nil {
			t.Fatal(err)
		}
		g := breaker.New(p, breaker.Options{})
		defer g.Close()
		named, asked := thorough(60_000, 6000), thorough(3000, 300)
		g.Apply(p, manyZones(named))
		if n := len(g.Zones()); n != 0 {
			t.Errorf("%d zones were made that no request has come for", n)
		}
		if n := g.ZoneCount(); n != named {
			t.Errorf("%d zones, want %d", n, named)
		}
		for i := range asked {
			slot, refusal := g.Admit(t.Context(), breaker.Request{Zone: fmt.Sprintf("z%d", i), Store: "s"})
			if refusal != nil {
				t.Fatal(refusal)
			}
			slot.Answer(breaker.OK)
			slot.End(breaker.OK)
		}
		time.Sleep(time.Second)
		if n := g.Swept(); n != asked {
			t.Errorf("%d zones are swept, want the %d with requests", n, asked)
		}
		time.Sleep(time.Minute)
		if n := g.Swept(); n != 0 {
			t.Errorf("%d zones are swept a minute after the last request", n)
		}
		if n := len(g.Zones()); n != asked {
			t.Errorf("%d zones are listed, want the %d with requests", n, asked)
		}
		slot, _ := g.Admit(t.Context(), breaker.Request{Zone: "z7", Store: "s"})
		time.Sleep(time.Second)
		if n := g.Swept(); n != 1 {
			t.Errorf("%d zones are swept, want the one with a request", n)
		}
		slot.End(breaker.OK)
	})
}

// TestNewZonesWhileOthersAreApplied: no request and no zone is lost while zones are
// made on their first requests and the configuration is reloaded.
func TestNewZonesWhileOthersAreApplied(t *testing.T) {
	app := twoSeconds()
	p, err := app.Policy()
	if err != nil {
		t.Fatal(err)
	}
	g := breaker.New(p, breaker.Options{})
	defer g.Close()
	names := manyZones(2000)
	var wg sync.WaitGroup
	for first := range 4 {
		wg.Go(func() {
			for i := first; i < len(names); i += 4 {
				slot, refusal := g.Admit(t.Context(), breaker.Request{Zone: names[i], Store: "s"})
				if refusal != nil {
					t.Error(refusal)
					return
				}
				slot.Answer(breaker.OK)
				slot.End(breaker.OK)
			}
		})
	}
	for range 20 {
		g.Apply(p, names)
		g.Zones()
	}
	wg.Wait()
	if got := g.Counters().Admitted; got != uint64(len(names)) {
		t.Errorf("%d requests counted, want %d", got, len(names))
	}
	if n := len(g.Zones()); n != len(names) {
		t.Errorf("%d zones, want %d", n, len(names))
	}
}
