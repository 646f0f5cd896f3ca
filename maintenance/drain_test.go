package maintenance_test

import (
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/maintenance"
)

const api1, api2 = "10.0.0.1:9000", "unix//run/api2.sock"

func drained(b *maintenance.Board) string {
	return strings.Join(slices.Sorted(maps.Keys(b.Draining())), " ")
}

// TestDrainingRefusesNothing wants a drained server to be known as such, and to
// be no reason to refuse any request.
func TestDrainingRefusesNothing(t *testing.T) {
	b := maintenance.New(maintenance.Options{Backend: newMemory()})
	if got := drained(b); got != "" {
		t.Errorf("a new board drains %s", got)
	}
	mustChange(t, b, &maintenance.Edit{Set: []maintenance.Switch{
		{Target: target(maintenance.Server, api1), Reason: "deploy", By: "ann"},
		{Target: target(maintenance.Server, api2), Mode: maintenance.Drain},
	}})
	if got, want := drained(b), api1+" "+api2; got != want {
		t.Errorf("drained are %q, want %q", got, want)
	}
	if sw := b.Draining()[api1]; sw.Mode != maintenance.Drain || sw.Reason != "deploy" || sw.By != "ann" || sw.Since.IsZero() {
		t.Errorf("the switch is %+v", sw)
	}
	if sw := b.Lookup(api1, api1); sw != nil {
		t.Errorf("a drained server refuses requests: %+v", sw)
	}
	mustChange(t, b, &maintenance.Edit{Clear: []maintenance.Target{target(maintenance.Server, api1)}})
	if got := drained(b); got != api2 {
		t.Errorf("drained are %q, want %q", got, api2)
	}
}

// TestDrainEndsAndTells wants a drain to end when its time is over, on every
// sidecar, and every change to be told to the guard that acts on it.
func TestDrainEndsAndTells(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told atomic.Int32
		backend := newMemory()
		var other *maintenance.Board
		var seen atomic.Value
		other = maintenance.New(maintenance.Options{Backend: backend, InForce: func() {
			told.Add(1)
			seen.Store(drained(other))
		}})
		if err := other.Load(t.Context()); err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() { other.Run(t.Context()); close(done) }()
		t.Cleanup(func() { <-done })
		b := run(t, maintenance.Options{Backend: backend})
		mustChange(t, b, &maintenance.Edit{Set: []maintenance.Switch{
			{Target: target(maintenance.Server, api1), Until: b.Now().Add(time.Minute)},
		}})
		time.Sleep(2 * time.Second)
		if got := seen.Load(); got != api1 || told.Load() == 0 {
			t.Errorf("another sidecar was told %d times, last of %q", told.Load(), got)
		}
		time.Sleep(57 * time.Second)
		if drained(b) != api1 || seen.Load() != api1 {
			t.Errorf("a drain of a minute is over after 59 seconds")
		}
		time.Sleep(2 * time.Second)
		if got := drained(b); got != "" || seen.Load() != "" {
			t.Errorf("after a minute %q and elsewhere %q are drained", got, seen.Load())
		}
	})
}

func TestImpossibleDrains(t *testing.T) {
	b := maintenance.New(maintenance.Options{Backend: newMemory()})
	for want, sw := range map[string]maintenance.Switch{
		"must be drain":        {Target: target(maintenance.Server, api1), Mode: maintenance.Full},
		"must be full or":      {Target: target(maintenance.Zone, "z1"), Mode: maintenance.Drain},
		"needs a name":         {Target: target(maintenance.Server, "")},
		"spaces or control":    {Target: target(maintenance.Server, "10.0.0.1:9000 10.0.0.2:9000")},
		"takes no retry_after": {Target: target(maintenance.Server, api1), RetryAfter: config.Duration(time.Second)},
		"at most 300":          {Target: target(maintenance.Server, strings.Repeat("x", 301))},
	} {
		if _, _, err := b.Change(t.Context(), maintenance.Author{}, &maintenance.Edit{Set: []maintenance.Switch{sw}}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want an error with %q", sw.Target, err, want)
		}
	}
}
