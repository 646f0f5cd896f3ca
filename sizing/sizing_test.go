package sizing_test

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/firebreak-proxy/firebreak/sizing"
)

func example() sizing.Load {
	return sizing.Load{Workers: 32, Zones: 12, Rate: 300, P50: 20 * time.Millisecond, P99: 400 * time.Millisecond, KillAfter: 30 * time.Second}
}

func compute(t *testing.T, load sizing.Load, have sizing.Settings) *sizing.Plan {
	t.Helper()
	p, err := sizing.Compute(load, have)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestExample is worked out by hand in docs/sizing.md.
func TestExample(t *testing.T) {
	p := compute(t, example(), sizing.Settings{})
	if p.Mean < 45*time.Millisecond || p.Mean > 47*time.Millisecond {
		t.Errorf("mean %s, want 46ms", p.Mean)
	}
	if p.Occupied < 13.5 || p.Occupied > 14 || p.ZoneNeed != 6 {
		t.Errorf("%.1f workers busy, %d for the busiest zone, want 13.8 and 6", p.Occupied, p.ZoneNeed)
	}
	if p.Timeout != 3*time.Second || p.SlowAfter != 1500*time.Millisecond || p.MaxInflight != 0 {
		t.Errorf("timeout %s, slow_after %s, max_inflight %d", p.Timeout, p.SlowAfter, p.MaxInflight)
	}
	if p.Worst != 13 || len(p.Warnings) != 0 {
		t.Errorf("worst %d, warnings %q", p.Worst, p.Warnings)
	}
}

func TestWarnings(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*sizing.Load, *sizing.Settings)
		want   string
	}{
		"too small":    {func(l *sizing.Load, _ *sizing.Settings) { l.Rate = 900 }, "the pool is too small for its load"},
		"small":        {func(l *sizing.Load, _ *sizing.Settings) { l.Rate = 550 }, "the pool is small for its load"},
		"never killed": {func(l *sizing.Load, _ *sizing.Settings) { l.KillAfter = 0 }, "nothing replaces a stuck worker"},
		"killed early": {func(l *sizing.Load, _ *sizing.Settings) { l.KillAfter = time.Second }, "before firebreak answers"},
		"low limit":    {func(_ *sizing.Load, s *sizing.Settings) { s.MaxInflight = 3 }, "less than the busiest zone needs"},
		"burst": {func(l *sizing.Load, s *sizing.Settings) {
			l.Burst, s.MaxWait, s.MaxInflight = 60, 10*time.Millisecond, 8
		}, "a burst of 60 requests"},
		"window":          {func(_ *sizing.Load, s *sizing.Settings) { s.Timeout, s.Window = 5*time.Second, 10*time.Second }, "more than a third of the window"},
		"short timeout":   {func(_ *sizing.Load, s *sizing.Settings) { s.Timeout = 300 * time.Millisecond }, "one healthy request of 1,000"},
		"long timeout":    {func(_ *sizing.Load, s *sizing.Settings) { s.Timeout = 20 * time.Second }, "is long"},
		"slow_after late": {func(_ *sizing.Load, s *sizing.Settings) { s.Timeout, s.SlowAfter = time.Second, time.Second }, "not shorter than the timeout"},
		"one zone":        {func(l *sizing.Load, _ *sizing.Settings) { l.Zones = 1; l.Rate = 30 }, "one zone only"},
		"nothing left":    {func(l *sizing.Load, s *sizing.Settings) { l.Rate = 500; _ = s }, "the other zones would feel it"},
	} {
		t.Run(name, func(t *testing.T) {
			load, have := example(), sizing.Settings{}
			tt.change(&load, &have)
			got := strings.Join(compute(t, load, have).Warnings, "\n")
			if !strings.Contains(got, tt.want) {
				t.Errorf("no warning with %q: %s", tt.want, got)
			}
		})
	}
}

func TestErrors(t *testing.T) {
	for want, change := range map[string]func(*sizing.Load){
		"--workers 32": func(l *sizing.Load) { l.Workers = 0 },
		"--zones 12":   func(l *sizing.Load) { l.Zones = 0 },
		"--rate 300":   func(l *sizing.Load) { l.Rate = 0 },
		"--p99 400ms":  func(l *sizing.Load) { l.P99 = 0 },
		"the shorter":  func(l *sizing.Load) { l.P50 = time.Second },
		"--servers 4":  func(l *sizing.Load) { l.Servers = -1 },
		"that of all":  func(l *sizing.Load) { l.Servers = 64 },
		"a share":      func(l *sizing.Load) { l.Busiest = 1.5 },
	} {
		load := example()
		change(&load)
		if _, err := sizing.Compute(load, sizing.Settings{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
}

// TestAnyLoad: whatever the load, the suggestion is one that firebreak takes.
func TestAnyLoad(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p99 := time.Duration(rapid.IntRange(1, 20000).Draw(t, "p99")) * time.Millisecond
		load := sizing.Load{
			Workers: rapid.IntRange(1, 2000).Draw(t, "workers"), Zones: rapid.IntRange(1, 200).Draw(t, "zones"),
			Rate: rapid.Float64Range(.01, 50000).Draw(t, "rate"), P99: p99, P50: p99 / time.Duration(rapid.IntRange(1, 50).Draw(t, "spread")),
		}
		p, err := sizing.Compute(load, sizing.Settings{})
		if err != nil {
			t.Fatal(err)
		}
		if p.MaxInflight != 0 || p.SlowAfter >= p.Timeout || p.Window < 3*p.Timeout {
			t.Fatalf("firebreak would refuse %+v", p.Settings)
		}
		for k, taken := range p.Taken {
			if taken > p.Workers {
				t.Fatalf("%d zones take %d of %d workers", k+1, taken, p.Workers)
			}
		}
	})
}
